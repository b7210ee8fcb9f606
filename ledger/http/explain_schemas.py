"""The shapes of explanations, for their documentation."""

from pydantic import BaseModel

from ledger.domain.codes import About
from ledger.domain.statement import Level
from ledger.domain.status import Reason
from ledger.explain.catalogue import Language
from ledger.http.schemas import AsOfBody, CauseBody, StatusName


class StatementBody(BaseModel):
    """One statement: `params` are its facts, `positions` the events that bear it out, `text` the sentence."""

    code: str
    about: About
    text: str
    params: dict[str, str | float]
    positions: list[int]


class ExplanationBody(BaseModel):
    """Why a user was shown what he was: the first statement is the answer, the next says how sure it is."""

    uid: str
    status: StatusName
    since: str | None
    cause: CauseBody | None
    reason: Reason | None
    confidence: Level
    language: Language
    statements: list[StatementBody]
    as_of: AsOfBody

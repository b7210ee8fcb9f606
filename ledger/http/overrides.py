"""The routes of an operator's word: a status said in place of what the evidence says, and taken back."""

import asyncio
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ledger.domain.instants import to_text
from ledger.domain.override import MAX_OVERRIDE_SECONDS
from ledger.domain.override_events import Word
from ledger.http import questions, responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem, invalid
from ledger.http.record_answers import OverrideBody, OverrideEndBody
from ledger.http.responses import answered
from ledger.http.state import get_services
from ledger.http.uid import Uid
from ledger.ingest import overrides
from ledger.ingest.overrides import NeverObserved, NoOverride, OverrideOrder
from projections.models.current import can_be_stored

router = APIRouter(tags=["overrides"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)

MAX_REASON_CHARACTERS = 1_000


def checked_reason(reason: str) -> str:
    """A reason that can be kept and says something. Raises ValueError."""
    if not reason.strip():
        raise ValueError("empty; say why, for whoever reads the record")
    if not can_be_stored(reason):
        raise ValueError("holds NUL or half a character")
    return reason


class OverrideQuery(BaseModel):
    """What is to be shown of a user, why, and for how long; with `until_evidence`, newer evidence ends it, too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"status": "offline", "reason": "phone lost, ticket 4711", "expires_seconds": 3600}]
        },
    )

    status: Word
    reason: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS), AfterValidator(checked_reason)]
    expires_seconds: Annotated[float, Field(strict=True, ge=1, le=MAX_OVERRIDE_SECONDS, allow_inf_nan=False)]
    until_evidence: Annotated[bool, Field(strict=True)] = False


@router.put(
    "/v1/users/{uid:uid}/override",
    summary="Say what is shown of a user",
    responses=answered(OverrideBody)
    | questions.REFUSED
    | responses.refused(
        responses.UID, "a user who was never observed", "`reason` is blank, or holds NUL", responses.JSON
    ),
    openapi_extra=questions.described(OverrideQuery),
)
async def put_override(request: Request, uid: Uid) -> Response:
    """From now on the user is shown so, with the cause `override`, until it expires; it replaces the one before.

    Their devices go on showing evidence, by which alone everything is judged. It is on record with its author, the API
    key's name, and ends by itself: nothing has to be running for that.
    """
    refuse_parameters(request)
    _check(uid)
    services = get_services(request)
    asked = await questions.take(OverrideQuery, request, questions.SMALL_BYTES, "an override is a word and its reason")
    if asked is None:
        raise invalid("body", 'say what and for how long, as in {"status": "offline", "reason": …}')
    by: str = request.state.key_name
    order = OverrideOrder(asked.status, asked.reason, by, asked.expires_seconds, asked.until_evidence)
    put = partial(overrides.put, services.ledger, uid, order, services.clock.now())
    try:
        event, position = await asyncio.to_thread(put)
    except NeverObserved as error:
        raise invalid("uid", "this user was never observed: there is no status to override") from error
    return as_json(
        OverrideBody(
            uid=uid,
            status=event.status,
            reason=event.reason,
            by=event.by,
            since=to_text(event.received_at),
            expires_at=to_text(event.expires_at),
            until_evidence=event.until_evidence,
            position=position,
        )
    )


@router.delete(
    "/v1/users/{uid:uid}/override",
    summary="Show a user by evidence again",
    responses=answered(OverrideEndBody)
    | {404: responses.problem("No override of the user holds")}
    | responses.refused(responses.UID),
)
async def delete_override(request: Request, uid: Uid) -> Response:
    """The override that holds ends now; that it did, and by whose key, is on record."""
    refuse_parameters(request)
    _check(uid)
    services = get_services(request)
    end = partial(overrides.end, services.ledger, uid, request.state.key_name, services.clock.now())
    try:
        position = await asyncio.to_thread(end)
    except NoOverride as error:
        raise Problem(404, "no override of this user holds") from error
    return as_json(OverrideEndBody(uid, position))


def _check(uid: str) -> None:
    problem = questions.uid_problem(uid)
    if problem is not None:
        raise invalid("uid", problem)

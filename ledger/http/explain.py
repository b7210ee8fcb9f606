"""The route that says why a user was shown so, as JSON for machines or as a page for people."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BeforeValidator, Field

from ledger.domain.evidence import Evidence
from ledger.domain.explain import explain
from ledger.domain.explain_reach import answer_then, reach_statement
from ledger.domain.instants import from_datetime, optional, to_text
from ledger.domain.observation import Instant
from ledger.domain.statement import Explanation, Param, Statement, is_instant
from ledger.explain.catalogue import Catalogue, catalogue
from ledger.explain.negotiation import TEXT, negotiate_language, wants_text
from ledger.explain.page import page
from ledger.http import responses
from ledger.http.answers import CauseBody, as_json, as_of_body
from ledger.http.archive_header import archived
from ledger.http.auth import require
from ledger.http.instants import When, resolve_point
from ledger.http.record_answers import ExplanationBody, StatementBody
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.uid import Uid
from ledger.languages import TAG, Language, parse_language
from ledger.store.archive.beside import Wanted
from ledger.working_state import looks
from projections.models.shown import AnswerPoint
from projections.queries import history
from projections.queries.archived import Asked as Answer
from projections.queries.archived import to_explain
from projections.queries.evidence import gather
from projections.queries.evidence_rows import RecordedHistory

router = APIRouter(tags=["audit"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)


class ExplainQuery(When):
    """The instant in question, and in which language to explain it."""

    lang: Annotated[
        Language | None,
        BeforeValidator(parse_language, json_schema_input_type=Annotated[str, Field(pattern=TAG)] | None),
        Query(description="`en` or `zh`, or a tag such as `zh-CN`; else the best of `Accept-Language`"),
    ] = None


@router.get(
    "/v1/users/{uid:uid}/explain",
    summary="Why was this user shown so?",
    responses=answered(ExplanationBody, TEXT) | responses.refused(responses.MOMENT),
)
def explain_presence(request: Request, uid: Uid, query: Annotated[ExplainQuery, Query()]) -> Response:
    """Why the status was what it was at `at` (now by default), statement by statement, each with the events behind it.

    Without `known_at` and `position` it is what was shown at that instant; with one of them, what is said of the
    instant from the ledger up to there. With `Accept: text/plain`, a page for people.
    """
    services = get_services(request)
    (made, explanation), before = _explanation(services, uid, query)
    words = catalogue(query.lang or negotiate_language(request.headers.get("accept-language")))
    headers = {"Content-Language": words.language, "Vary": "Accept, Accept-Language"} | archived(before)
    if wants_text(request.headers.get("accept")):
        return Response(page(explanation, words), headers=headers, media_type=TEXT)
    return as_json(_body(explanation, made, words), headers=headers)


def _explanation(services: Services, uid: str, asked: ExplainQuery) -> "Answer[tuple[AnswerPoint, Explanation]]":
    """The explanation that a request asks for, all of one snapshot."""
    now = services.clock.now()

    def needs(connection: Connection[TupleRow], before: int) -> Wanted | None:
        return to_explain(connection, before, uid, _made(connection, asked, now))

    def question(connection: Connection[TupleRow]) -> tuple[AnswerPoint, Explanation]:
        made = _made(connection, asked, now)
        found = RecordedHistory(connection, services.ledger.events_mapper, services.rule_folds)
        known_at = None if asked.known_at is None else from_datetime(asked.known_at)
        evidence = gather(found, uid, made.at, made.position, known_at)
        return made, explain(evidence, [_reach(services, connection, evidence, is_past=asked.is_past)])

    with services.past:
        return services.archive.ask("current, snapshots, drifts", needs, question)


def _reach(services: Services, connection: Any, evidence: Evidence, *, is_past: bool) -> Statement:
    """Whether a push notification was called for: now, what `POST /v1/reach/query` answers."""
    policy = services.settings.reach
    if not is_past:
        return reach_statement(evidence, services.reach.seen_by(connection, [evidence.uid]).answers[0].answer, policy)
    watches = looks.in_any_source(connection, [evidence.uid]).get(evidence.uid, {})
    verified = {source: watch.verified_at for source, watch in watches.items() if watch.verified_at is not None}
    return reach_statement(evidence, answer_then(evidence, verified, policy), policy)


def _made(connection: Any, asked: ExplainQuery, now: Instant) -> AnswerPoint:
    """The instant in question, and up to where the ledger was known: by default, what was recorded by then."""
    if not asked.is_past:
        head = history.head(connection)
        return AnswerPoint(max(now, head.recorded_at), head.position)
    made = resolve_point(connection, asked, now)
    if asked.known_at is None and asked.position is None:
        return AnswerPoint(made.at, history.position_at(connection, made.at))
    return made


def _body(explanation: Explanation, made: AnswerPoint, words: Catalogue) -> ExplanationBody:
    shown, cause = explanation.shown, explanation.cause
    return ExplanationBody(
        uid=explanation.uid,
        status=shown.status,
        since=optional(shown.since),
        cause=None if cause is None else CauseBody(cause.kind, to_text(cause.at), cause.position),
        reason=shown.reason,
        confidence=explanation.confidence,
        language=words.language,
        statements=[
            StatementBody(
                code=statement.code,
                about=statement.about,
                text=words.sentence(explanation, statement),
                params={name: _fact(name, value) for name, value in statement.params.items()},
                positions=statement.positions,
            )
            for statement in explanation.statements
        ],
        as_of=as_of_body(made.at, made.position),
    )


def _fact(name: str, value: Param) -> Param:
    return to_text(int(value)) if is_instant(name) else value

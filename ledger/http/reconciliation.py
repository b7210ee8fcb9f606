"""The routes of reconciliation: its runs and drifts on record, a run asked for, a user's tier."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.domain.instants import optional
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, Tier
from ledger.http import questions, responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.paging import PageQuery, bad_cursor, from_cursor, number_from_cursor, refuse_parameters, to_cursor
from ledger.http.problems import Problem, invalid
from ledger.http.record_answers import DriftBody, DriftPage, RunPage, TierBody, UserTierBody
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.uid import Storable, Uid
from ledger.reconcile.requests import request_run, set_tier
from ledger.settings import SourceSettings
from ledger.store.ledger import translated
from ledger.store.mapper import source_stream
from ledger.working_state import runs
from ledger.working_state.runs import RunBody
from projections.models import current, drifts
from projections.models.current import can_be_stored
from projections.models.drifts import DriftFilter

record = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)
orders = APIRouter(tags=["reconciliation"], dependencies=[Depends(require("admin"))], responses=responses.PROBLEMS)

NO_SOURCE = "no such source"


class DriftQuery(PageQuery):
    """Which drifts."""

    state: Outcome | None = None
    kind: DriftKind | None = None
    source: Annotated[Storable | None, Query(max_length=64)] = None
    node: Annotated[Storable | None, Query(max_length=1024, description="whose answer first reported it")] = None
    attributed_to: Attribution | None = None
    uid: str | None = None


@record.get(
    "/v1/sources/{source}/runs",
    summary="A source's reconciliation runs",
    responses=answered(RunPage) | {404: responses.problem("No such source")} | responses.refused(responses.CURSOR),
)
def list_runs(request: Request, source: str, query: Annotated[PageQuery, Query()]) -> Response:
    """Every run in the order of their begin, also of a source that the settings no longer name."""
    services = get_services(request)
    after = number_from_cursor(query.after) or 0
    if not _is_known(services, source):
        raise Problem(404, NO_SOURCE)
    with services.ledger.connection() as connection:
        found = runs.page(connection, services.ledger.events_mapper, source, after, query.limit)
    following = str(found[-1].position) if len(found) == query.limit else None
    return as_json(RunPage(found, following))


@record.get(
    "/v1/runs/{run}",
    summary="One reconciliation run",
    responses=answered(RunBody) | {404: responses.problem("No such run")},
)
def get_run(request: Request, run: str) -> Response:
    """The run as it stands: while it is `running`, its counts are those of a moment ago."""
    refuse_parameters(request)
    return as_json(_run(get_services(request), run))


@record.get(
    "/v1/drift",
    summary="Drifts",
    responses=answered(DriftPage) | responses.refused(responses.CURSOR, "`source` or `node` holds NUL"),
)
def list_drifts(request: Request, query: Annotated[DriftQuery, Query()]) -> Response:
    """Differences between presence and polls, in the order in which they were first reported."""
    wanted = DriftFilter(query.state, query.kind, query.source, query.node, query.attributed_to, query.uid)
    after = _place(query.after)
    found: list[drifts.Drift] = []
    if all(value is None or can_be_stored(value) for value in wanted):
        with get_services(request).ledger.connection() as connection:
            found = drifts.page(connection, wanted, after, query.limit)
    following = to_cursor(f"{found[-1].position}.{found[-1].uid}") if len(found) == query.limit else None
    return as_json(DriftPage([drift_body(drift) for drift in found], following))


@orders.post(
    "/v1/sources/{source}/reconcile",
    status_code=202,
    summary="Look at users now",
    responses={
        202: answered(RunBody)[200]
        | {"headers": {"Location": {"description": "The run's own address", "schema": {"type": "string"}}}},
        404: responses.problem("No such source"),
        409: responses.problem("No node of the source has an `api_url`"),
    }
    | questions.REFUSED
    | responses.refused(responses.UID, responses.JSON),
    openapi_extra=questions.described(questions.RunQuery, required=False),
)
async def start_run(request: Request, source: str) -> Response:
    """A run over these users, or without a body over all; the instance that leads the reconciliation makes it.

    A user who was never observed is looked at like any other. The answer is the run as it begins.
    """
    refuse_parameters(request)
    services = get_services(request)
    configured = next((each for each in services.settings.sources if each.name == source), None)
    if configured is None:
        raise Problem(404, NO_SOURCE)
    named = await questions.take(questions.RunQuery, request, questions.UIDS_BYTES, "name fewer users")
    wanted = named or questions.RunQuery()
    if not any(node.api_url for node in configured.nodes):
        raise Problem(409, f"no node of '{source}' has an api_url in the settings: there is nothing to ask")
    run = await asyncio.to_thread(_request_run, services, configured, wanted.uids or ())
    return as_json(run, status=202, headers={"Location": f"/v1/runs/{run.run}"})


@record.get(
    "/v1/users/{uid:uid}/tier",
    summary="How soon a user is looked at again, if somebody has said so",
    responses=answered(UserTierBody),
)
def get_tier(request: Request, uid: Uid) -> Response:
    """The tier that was set last; `null` where none was, or it was left to the rules again."""
    refuse_parameters(request)
    found = None
    if can_be_stored(uid):
        with get_services(request).ledger.connection() as connection:
            found = current.load_outlines(connection, [uid]).get(uid)
    return as_json(UserTierBody(uid, None if found is None else found.tier))


@orders.put(
    "/v1/users/{uid:uid}/tier",
    summary="How soon a user is looked at again",
    responses=answered(TierBody) | questions.REFUSED | responses.refused(responses.UID, responses.JSON),
    openapi_extra=questions.described(questions.TierQuery),
)
async def put_tier(request: Request, uid: Uid) -> Response:
    """An event of the user, who need not have been observed; `null` leaves it to the rules again."""
    refuse_parameters(request)
    problem = questions.uid_problem(uid)
    if problem is not None:
        raise invalid("uid", problem)
    services = get_services(request)
    asked = await questions.take(questions.TierQuery, request, questions.SMALL_BYTES, "a tier is a word")
    if asked is None:
        raise invalid("body", 'name the tier as in {"tier": "vip"}')
    tier = asked.tier
    position = await asyncio.to_thread(_set_tier, services, uid, tier, request.state.key_name)
    return as_json(TierBody(uid, tier, position))


def drift_body(drift: drifts.Drift) -> DriftBody:
    """A drift as the API shows it."""
    instants = {name: optional(getattr(drift, name)) for name in ("agreed_at", "disagreed_at", "ended_at")}
    return DriftBody(**{**drift._asdict(), **instants})


def _is_known(services: Services, source: str) -> bool:
    """Whether the settings name the source, or its stream does."""
    if any(each.name == source for each in services.settings.sources):
        return True
    if not can_be_stored(source):
        return False
    with translated():
        return bool(services.ledger.events_recorder.stream_rows(source_stream(source), limit=1))


def _run(services: Services, run: str) -> RunBody:
    if can_be_stored(run):
        with services.ledger.connection() as connection:
            found = runs.one(connection, services.ledger.events_mapper, run)
        if found is not None:
            return found
    raise Problem(404, "no such run")


def _request_run(services: Services, source: SourceSettings, uids: Sequence[str]) -> RunBody:
    run = request_run(services.ledger, source.name, uids, services.instance, services.clock.now())
    return _run(services, run)


def _set_tier(services: Services, uid: str, tier: Tier | None, by: str) -> int:
    return set_tier(services.ledger, uid, tier, by, services.clock.now())


def _place(cursor: str | None) -> tuple[int, str]:
    """The position and the uid of a drift cursor."""
    key = from_cursor(cursor)
    if key is None:
        return 0, ""
    position, dot, uid = key.partition(".")
    if not (dot and position.isascii() and position.isdigit()) or len(position) > 18 or not can_be_stored(uid):
        raise bad_cursor()
    return int(position), uid

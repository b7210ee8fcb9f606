"""The routes for those who run the service: health, metrics, sources."""

import asyncio

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.instants import optional
from ledger.domain.observation import SECOND
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.http import progress, responses
from ledger.http.answers import as_json
from ledger.http.auth import require
from ledger.http.ledger_figures import LedgerFigures
from ledger.http.paging import refuse_parameters
from ledger.http.problems import Problem
from ledger.http.readiness import CannotLead
from ledger.http.responses import answered
from ledger.http.source_answers import LiveBody, ReadyBody, SourceItems, SpoolBody
from ledger.http.source_view import SourceView
from ledger.http.state import Services, get_services
from ledger.spool.spool import Spool, SpoolState
from ledger.store.ledger import Ledger
from ledger.store.preflight import SKEW_SECONDS, skew_in_words
from ledger.working_state import canaries, instance_figures, node_health, sources
from ledger.working_state.sources import SourceUnreadable

READY_SECONDS = 2.0

health = APIRouter(tags=["operations"])
router = APIRouter(tags=["operations"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)


@health.get("/health/live", summary="Does the process run?", responses=answered(LiveBody))
async def get_liveness(request: Request) -> Response:
    """200 as long as the process answers. `ledger`: which one it serves, for an instance that is to share its port."""
    services = get_services(request)
    return as_json(LiveBody("live", services.instance, services.ledger_id))


@health.get(
    "/health/ready",
    summary="Can it take webhooks and answer?",
    responses=answered(ReadyBody)
    | {
        503: {
            "description": "PostgreSQL does not answer or takes no writes, and the spool takes none; a source's state "
            "cannot be read, the instance can neither lead reconciliation nor see that another does, or the service "
            "is stopping"
        }
    },
)
async def get_readiness(request: Request) -> Response:
    """200 while the database answers and takes writes, the writer runs and every source's webhooks can be judged; or,
    with the status `spooling`, while webhooks are taken into the spool instead.

    `head` is the ledger's last position. Where a source's stream holds an event, or was left in a state, that this
    version cannot read, the answer names it and the way out; who is online is answered all the same.
    A projection that lags or has stopped is shown, and makes no instance unready. `ledger` says which one this is and,
    where its database once lacked commits that were known, as after a fail-over, when it `went_back` and how far.
    `database_clock_offset_seconds` is by how much the database's clock is ahead of this machine's, at least; more than
    a second is among the `warnings`.
    """
    services = get_services(request)
    if not services.writer.is_alive():
        raise Problem(503, "the writer has stopped")
    try:
        return as_json(await _ready(services))
    except CannotLead:
        raise
    except StoreUnavailable as error:
        if services.spool is None or not services.spool.takes:
            raise
        return as_json(_spooling(services, services.spool, str(error)))


async def _ready(services: Services) -> ReadyBody:
    missing = "PostgreSQL did not answer"
    try:
        async with asyncio.timeout(READY_SECONDS):
            found = await progress.read(services)
            offset = await services.database.look()
            missing = "the sources' streams were not read to their ends"
            await asyncio.to_thread(services.streams.check)
    except TimeoutError as error:
        raise StoreUnavailable(f"{missing} within {READY_SECONDS:g} s") from error
    spool = None if services.spool is None else services.spool.state
    return ReadyBody(
        status="ready" if spool is None or spool.since is None else "spooling",
        instance=services.instance,
        head=found[0].head,
        projections=progress.views(found),
        ledger=await progress.identity_view(services),
        database_clock_offset_seconds=round(offset, 3),
        spooling=None if spool is None else _spool_body(spool),
        warnings=[skew_in_words(offset)] if abs(offset) > SKEW_SECONDS else [],
    )


def _spooling(services: Services, spool: Spool, reason: str) -> ReadyBody:
    """PostgreSQL is away, and webhooks are taken all the same."""
    state = spool.state
    return ReadyBody(
        status="spooling",
        instance=services.instance,
        head=None,
        projections={},
        ledger=None,
        database_clock_offset_seconds=None,
        spooling=_spool_body(state) or SpoolBody(None, 0, 0, state.max_bytes, None),
        warnings=[reason],
    )


def _spool_body(state: SpoolState) -> SpoolBody | None:
    if state.since is None and not state.contents.deliveries:
        return None
    contents = state.contents
    return SpoolBody(
        optional(state.since), contents.deliveries, contents.size, state.max_bytes, optional(contents.oldest_at)
    )


async def get_metrics(request: Request) -> Response:
    """What this instance counts, in Prometheus' text format.

    What is read from PostgreSQL is read anew after two seconds at the soonest, however often this is asked for, and
    left out while it does not answer, but for alerts.
    """
    figures: LedgerFigures = request.app.state.figures
    await figures.refresh()
    # In a thread, since thousands of lines take longer than a webhook should wait.
    text = await asyncio.to_thread(get_services(request).counters.exposition)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/sources", summary="The sources and their nodes", responses=answered(SourceItems))
def list_sources(request: Request) -> Response:
    """Each source of the settings as the ledger has it, how its query APIs fare, and what this instance counted."""
    refuse_parameters(request)
    services = get_services(request)
    with services.ledger.connection() as connection:
        since = services.clock.now() - round(instance_figures.NOTED_SECONDS * SECOND)
        notes = list(instance_figures.read(connection, since).values())
        found = [
            SourceView(
                services,
                settings,
                _read(connection, services.ledger, settings.name),
                node_health.of_source(connection, settings.name),
                [note.get("posts_as_other", {}).get(settings.name, {}) for note in notes],
                canaries.read(connection, settings.name),
            )
            for settings in services.settings.sources
        ]
    return as_json(SourceItems([source.view() for source in found], services.refusals.number()))


def _read(connection: Connection[TupleRow], ledger: Ledger, name: str) -> SourceState | SourceUnreadable:
    """A source's state, or what keeps it from being read."""
    try:
        return sources.load(connection, ledger, name, to_judge=False)
    except SourceUnreadable as error:
        return error

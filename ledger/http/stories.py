"""The routes that tell a user's story: the timeline, and the sessions from begin to end."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, LiteralString, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.device_names import DEVICE_NAMES
from ledger.domain.instants import optional, to_text
from ledger.domain.observation import SECOND
from ledger.http import responses
from ledger.http.answers import AsOfBody, as_json, as_of_body
from ledger.http.archive_header import archived
from ledger.http.audit import EventFilter
from ledger.http.auth import require
from ledger.http.instants import At
from ledger.http.paging import PageQuery, bad_cursor, number_from_cursor
from ledger.http.responses import answered
from ledger.http.state import Services, get_services
from ledger.http.story_answers import EdgeBody, SessionBody, SessionPage, TimelinePage
from ledger.http.uid import Storable, Uid
from ledger.store.archive.beside import Wanted
from ledger.store.ledger import translated
from projections.models.current import can_be_stored
from projections.models.session_bounds import SessionRow, sureness
from projections.models.session_pages import Place, SessionQuery
from projections.queries import timeline, user_sessions
from projections.queries.archived import Asked, of_user

router = APIRouter(tags=["audit"], dependencies=[Depends(require("audit"))], responses=responses.PROBLEMS)

T = TypeVar("T")

NO_USER = ""
"""The uid to read of where no user can have the one that is asked for."""


class SessionFilter(PageQuery):
    """Which of a user's sessions; without `open`, those that have ended, too; with `from`, none whose end was recorded
    before it.
    """

    order: Literal["asc", "desc"] = "asc"
    open: bool | None = None
    from_: Annotated[At | None, Query(alias="from")] = None
    source: Annotated[Storable | None, Query(max_length=64)] = None


@router.get(
    "/v1/users/{uid:uid}/timeline",
    summary="A user's story",
    responses=answered(TimelinePage) | responses.refused(responses.CURSOR, responses.BACKWARDS),
)
async def get_timeline(request: Request, uid: Uid, query: Annotated[EventFilter, Query()]) -> Response:
    """What changed and why: transitions, sessions, corrections, sweeps, tiers; drifts and the times in which the user's
    sources were in doubt, as intervals. Events in a row that changed nothing are one entry with their number.

    In the order of their first events. With `from` and `to`, what was recorded between them, and what reaches into it.
    """
    query.refuse_backwards()
    services = get_services(request)
    wanted = timeline.TimelineQuery(
        number_from_cursor(query.after), query.limit, query.order == "desc", query.from_, query.to
    )
    before = None
    try:
        with translated():
            async with services.pool.connection() as connection:
                page = await timeline.page(connection, _known(uid), wanted)
    except timeline.ArchiveNeeded:
        whole = partial(timeline.whole_page, uid=_known(uid), wanted=wanted)
        page, before = await run_in_threadpool(_with_archive, services, timeline.TABLES, _known(uid), whole)
    following = str(page.last) if page.more else None
    items = msgspec.Raw(b"[%b]" % page.items)
    body = TimelinePage(items, following, _followed(services, page.position), page.lag)
    return as_json(body, headers=archived(before))


@router.get(
    "/v1/users/{uid:uid}/sessions",
    summary="A user's sessions",
    responses=answered(SessionPage) | responses.refused(responses.CURSOR, "`source` holds NUL"),
)
async def list_sessions(request: Request, uid: Uid, query: Annotated[SessionFilter, Query()]) -> Response:
    """Each connection with its begin and its end, by what rule each is known, and how sure the instant is.

    In the order of the events that first reported them. Those that ended in an archived time are made of its events.
    """
    services = get_services(request)
    wanted = SessionQuery(_place(query.after), query.limit, query.order == "desc", query.open, query.source)
    before = None
    try:
        with translated():
            async with services.pool.connection() as connection:
                if query.from_ is not None:
                    wanted = wanted._replace(since=await user_sessions.position_before(connection, query.from_))
                page = await user_sessions.page(connection, _known(uid), wanted)
    except user_sessions.EventsNeeded:
        whole = partial(user_sessions.whole_page, uid=_known(uid), wanted=wanted)
        page, before = await run_in_threadpool(_with_archive, services, user_sessions.TABLES, _known(uid), whole)
    full = len(page.rows) == query.limit
    following = f"{page.rows[-1].position}.{page.rows[-1].ordinal}" if full else None
    items = [session_body(row) for row in page.rows]
    body = SessionPage(items, following, _followed(services, page.position), page.lag)
    return as_json(body, headers=archived(before))


def _with_archive(
    services: Services, tables: LiteralString, uid: str, whole: Callable[[Connection[TupleRow]], T]
) -> Asked[T]:
    """A page for which events of the user are needed that were archived; `tables`: what it is made of besides."""

    def needs(connection: Connection[TupleRow], _: int) -> Wanted | None:
        return of_user(connection, uid)

    with services.past:
        return services.archive.ask(tables, needs, whole)


def _known(uid: str) -> str:
    return uid if can_be_stored(uid) else NO_USER


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    position, dot, ordinal = cursor.partition(".")
    if not dot:
        raise bad_cursor()
    return number_from_cursor(position) or 0, number_from_cursor(ordinal) or 0


def _followed(services: Services, position: int) -> AsOfBody:
    """How far a projection had followed the ledger."""
    return as_of_body(services.clock.now(), position)


def session_body(row: SessionRow) -> SessionBody:
    """A session as the API shows it."""
    ended = None
    if row.ended_at is not None and row.ended_by is not None and row.ended_position is not None:
        ended = _edge(row.ended_at, row.ended_after, row.ended_by, row.ended_position)
    return SessionBody(
        source=row.source,
        device_flag=row.device_flag,
        device=DEVICE_NAMES.get(row.device_flag, "custom"),
        conn_id=row.conn_id,
        told_by=row.node,
        held_by=row.held_by,
        began=_edge(row.opened_at, row.opened_after, row.opened_by, row.position),
        seen_at=to_text(row.seen_at),
        ended=ended,
        duration_seconds=None if row.ended_at is None else (row.ended_at - row.opened_at) / SECOND,
        concurrent=row.concurrent,
        flaps=row.flaps,
    )


def _edge(at: int, after: int | None, rule: str, position: int) -> EdgeBody:
    return EdgeBody(to_text(at), optional(after), sureness(rule), rule, position)

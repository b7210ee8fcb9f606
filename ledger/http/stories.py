"""The routes that tell a user's story: his timeline, and his sessions from begin to end."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response

from ledger.domain.instants import to_text
from ledger.http import schemas, story_schemas
from ledger.http.audit import EventFilter
from ledger.http.auth import require
from ledger.http.paging import Page, bad_cursor, number_from_cursor
from ledger.http.state import Services, get_services
from ledger.http.uid import Storable, Uid
from ledger.store.ledger import translated
from projections.models import sessions, timeline
from projections.models.current import can_be_stored

router = APIRouter(tags=["audit"], dependencies=[Depends(require("audit"))], responses=schemas.PROBLEMS)

NOBODY = ""
"""Whom to read of where nobody can have the uid that is asked for."""

_encode = msgspec.json.Encoder().encode


class SessionFilter(Page):
    """Which of a user's sessions; without `open`, those that have ended, too."""

    order: Literal["asc", "desc"] = "asc"
    open: bool | None = None
    source: Annotated[Storable | None, Query(max_length=64)] = None


@router.get(
    "/v1/users/{uid:uid}/timeline",
    summary="A user's story",
    response_model=story_schemas.TimelinePage,
    responses=schemas.refused(schemas.CURSOR, schemas.BACKWARDS),
)
async def user_timeline(request: Request, uid: Uid, query: Annotated[EventFilter, Query()]) -> Response:
    """What changed of him and why: transitions, sessions, corrections, sweeps, tiers; drifts and the times in which his
    sources were in doubt, as intervals. Events in a row that changed nothing are one entry with their number.

    In the order of their first events. With `from` and `to`, what was recorded between them, and what reaches into it.
    """
    query.refuse_backwards()
    services = get_services(request)
    wanted = timeline.TimelineQuery(
        number_from_cursor(query.after), query.limit, query.order == "desc", query.from_, query.to
    )
    with translated():
        async with services.pool.connection() as connection:
            page = await timeline.page(connection, _known(uid), wanted)
    following = str(page.last) if page.number >= query.limit else None
    return _answer(services, page.items, following, page.position, page.lag)


@router.get(
    "/v1/users/{uid:uid}/sessions",
    summary="A user's sessions",
    response_model=story_schemas.SessionPage,
    responses=schemas.refused(schemas.CURSOR, "`source` holds NUL"),
)
async def user_sessions(request: Request, uid: Uid, query: Annotated[SessionFilter, Query()]) -> Response:
    """Each connection with its begin and its end, by what rule each is known, and how sure the instant is.

    In the order of the events that told of them first.
    """
    services = get_services(request)
    wanted = sessions.SessionQuery(_place(query.after), query.limit, query.order == "desc", query.open, query.source)
    with translated():
        async with services.pool.connection() as connection:
            page = await sessions.page(connection, _known(uid), wanted)
    items = b",".join([_encode(sessions.view(row)) for row in page.rows])
    full = len(page.rows) == query.limit
    following = f"{page.rows[-1].position}.{page.rows[-1].ordinal}" if full else None
    return _answer(services, items, following, page.position, page.lag)


def _known(uid: str) -> str:
    return uid if can_be_stored(uid) else NOBODY


def _place(cursor: str | None) -> sessions.Place | None:
    if cursor is None:
        return None
    position, dot, ordinal = cursor.partition(".")
    if not dot:
        raise bad_cursor()
    return number_from_cursor(position) or 0, number_from_cursor(ordinal) or 0


def _answer(services: Services, items: bytes, following: str | None, position: int, lag: int) -> Response:
    end = {"next": following, "as_of": {"at": to_text(services.clock.now()), "position": position}, "lag": lag}
    return Response(b'{"items":[' + items + b"]," + _encode(end)[1:], media_type="application/json")

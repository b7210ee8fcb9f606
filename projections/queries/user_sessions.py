"""A user's sessions: those of the table, and those that are no longer in it made of the user's events."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple, cast

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.store.mapper import EventMapper, user_stream
from projections.engine import checkpoints
from projections.models import sessions
from projections.models.session_bounds import SessionRow
from projections.models.session_pages import EndedSessions, SessionQuery, merged, needs_events
from projections.models.sessions import TablePage
from projections.queries import history

READ_EVENTS = 1_000
"""So many are read at once."""

TABLES: LiteralString = "current, sessions, sessions_trimmed"
"""What a page is made of besides `events`."""

_EVENTS = """
SELECT position, kind, payload FROM events
 WHERE stream = %s AND position < %s AND position <> ALL(%s) ORDER BY version
"""

_FIRST = "SELECT version, position FROM events WHERE stream = %s ORDER BY version LIMIT 1"

_mapper = EventMapper()


class EventsNeeded(Exception):
    """Sessions of the page may no longer be in the table."""


class SessionRowPage(NamedTuple):
    """Sessions in the order in which they were opened; `lag` events were recorded since `position`."""

    rows: Sequence[SessionRow]
    position: int
    lag: int


async def position_before(connection: AsyncConnection[TupleRow], at: datetime) -> int:
    """The last position recorded before an instant, 0 where there is none."""
    row = await (await connection.execute(history.POSITION_BEFORE, (at,))).fetchone()
    assert row is not None
    return int(row[0])


async def page(connection: AsyncConnection[TupleRow], uid: str, wanted: SessionQuery) -> SessionRowPage:
    """A page of a user's sessions, by the table alone. A uid that can be stored is asked for.

    Raises EventsNeeded.
    """
    cursor = connection.cursor(binary=True)
    found = sessions.page_of(await (await cursor.execute(*sessions.page_query(uid, wanted))).fetchall())
    if needs_events(wanted, found.rows, found.trimmed):
        first = await (await cursor.execute(_FIRST, (user_stream(uid),))).fetchone()
        # Whose first event is there and later has lost no session.
        if first is None or first[0] > 1 or first[1] < found.trimmed:
            raise EventsNeeded
    return SessionRowPage(found.rows, found.position, found.lag)


def whole_page(connection: Connection[TupleRow], uid: str, wanted: SessionQuery) -> SessionRowPage:
    """The same over a connection that sees one moment of it all, with all of the user's events that were archived.

    Raises UnreadableEvent.
    """
    cursor = connection.cursor(binary=True)
    found = sessions.page_of(cursor.execute(*sessions.page_query(uid, wanted)).fetchall())
    rows: Sequence[SessionRow] = found.rows
    if needs_events(wanted, rows, found.trimmed):
        rows = merged(wanted, rows, _ended(connection, uid, wanted, found))
    return SessionRowPage(rows, found.position, found.lag)


def _ended(connection: Connection[TupleRow], uid: str, wanted: SessionQuery, found: TablePage) -> Sequence[SessionRow]:
    """Those of the page that ended so early that the table has them no longer."""
    made = EndedSessions(uid, wanted)
    skipped = sorted(checkpoints.skips(connection.cursor(), sessions.PROJECTION.name))
    with connection.cursor("sessions", binary=True) as events:
        events.execute(_EVENTS, (user_stream(uid), found.trimmed, skipped))
        while rows := events.fetchmany(READ_EVENTS):
            for position, kind, payload in rows:
                # Users' streams hold nothing else.
                made.take(cast(UserEvent, _mapper.event_at(position, kind, payload)), position)
            if made.is_complete(rows[-1][0]):
                break
    return made.rows()

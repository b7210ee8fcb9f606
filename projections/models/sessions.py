"""The projection `sessions`: each session of a user from its begin to its end; its table, handler and queries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple, cast

from msgspec.structs import astuple
from psycopg import Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.observation import SECOND
from ledger.store.arrays import bigints, optional_bigints, optional_texts, texts
from ledger.store.mapper import USER_KINDS
from projections.engine import checkpoints
from projections.engine.projection import Followed
from projections.models.session_bounds import SessionRow
from projections.models.session_pages import SessionQuery
from projections.models.session_rows import FLAP_SECONDS, UserSessions
from projections.models.session_trimming import TRIMMED

_COLUMNS: LiteralString = """
uid, position, ordinal, source, scope, device_flag, conn_id, node, held_by, opened_at, opened_after, opened_by, seen_at,
ended_at, ended_after, ended_by, ended_position, concurrent, flaps
"""

# One look into the index a user, whatever the statistics say of how many rows they have.
_OPEN_TEMPLATE: LiteralString = """
SELECT s.* FROM unnest(%b::text[]) AS asked (uid)
 CROSS JOIN LATERAL (SELECT {} FROM sessions
                      WHERE uid = asked.uid AND ended_at IS NULL ORDER BY position, ordinal) AS s
"""
_OPEN = _OPEN_TEMPLATE.format(_COLUMNS)
_ENDS = """
SELECT s.* FROM unnest(%b::text[]) AS asked (uid)
 CROSS JOIN LATERAL (SELECT uid, source, device_flag, ended_at FROM sessions
                      WHERE uid = asked.uid AND ended_at >= %s ORDER BY ended_at) AS s
"""

_WRITE_TEMPLATE: LiteralString = """
INSERT INTO sessions ({})
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[],
                     %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[],
                     %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[])
    ON CONFLICT (uid, position, ordinal) DO UPDATE
   SET scope = excluded.scope, device_flag = excluded.device_flag, conn_id = excluded.conn_id, node = excluded.node,
       held_by = excluded.held_by, seen_at = excluded.seen_at, ended_at = excluded.ended_at,
       ended_after = excluded.ended_after, ended_by = excluded.ended_by, ended_position = excluded.ended_position
"""
_WRITE = _WRITE_TEMPLATE.format(_COLUMNS)
_PACKED: tuple[Callable[[Any], bytes], ...] = (
    *(texts, bigints, bigints, texts, texts, optional_bigints, optional_bigints, texts, optional_texts),
    *(bigints, optional_bigints, texts, bigints),
    *(optional_bigints, optional_bigints, optional_texts, optional_bigints, bigints, bigints),
)

_PAGE: LiteralString = """
SELECT {position}, {head}, {trimmed}, s.*
  FROM (VALUES (true)) AS once
  LEFT JOIN (SELECT {columns} FROM sessions
              WHERE uid = %(uid)s AND (ended_position IS NULL OR ended_position >= {trimmed}){conditions}{order}
              LIMIT %(limit)s) AS s ON true
{order}
"""
_POSITION = checkpoints.POSITION_OF.format("sessions")


class Sessions:
    """Follows users' events; its state are the open rows of its table."""

    name = "sessions"
    tables: Sequence[str] = ("sessions", "sessions_trimmed")
    kinds = USER_KINDS

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed]) -> None:
        """Write the sessions that these events begin, end or change."""
        if not events:
            return
        users = _users(cursor, events)
        changed: dict[int, SessionRow] = {}
        for followed in events:
            user = users[cast(str, followed.uid)]
            for row in user.take(cast(UserEvent, followed.event), followed.position):
                changed[id(row)] = row
        if changed:
            columns = zip(*map(astuple, changed.values()), strict=True)
            cursor.execute(_WRITE, [pack(column) for pack, column in zip(_PACKED, columns, strict=True)])


PROJECTION = Sessions()


def _users(cursor: Cursor[Any], events: Sequence[Followed]) -> Mapping[str, UserSessions]:
    """The users of these events, each as before them."""
    users = {uid: UserSessions(uid) for uid in {cast(str, followed.uid) for followed in events}}
    asked = texts(list(users))
    for row in cursor.execute(_OPEN, (asked,), binary=True).fetchall():
        users[row[0]].restore(SessionRow(*row))
    of_users = cast(Sequence[UserEvent], [followed.event for followed in events])
    since = min([event.received_at for event in of_users]) - FLAP_SECONDS * SECOND
    for uid, source, device_flag, ended_at in cursor.execute(_ENDS, (asked, since), binary=True).fetchall():
        users[uid].restore_end(source, device_flag, ended_at)
    return users


class TablePage(NamedTuple):
    """Sessions in the order in which they were opened, but for those that ended before `trimmed`; `lag` events were
    recorded since `position`.
    """

    rows: list[SessionRow]
    position: int
    lag: int
    trimmed: int


def page_query(uid: str, wanted: SessionQuery) -> tuple[LiteralString, dict[str, Any]]:
    """The query of a page with its parameters. A uid that can be stored is asked for."""
    conditions: LiteralString = ""
    order: LiteralString = (
        " ORDER BY position DESC, ordinal DESC" if wanted.descending else " ORDER BY position, ordinal"
    )
    params: dict[str, Any] = {"uid": uid, "limit": wanted.limit, "source": wanted.source, "since": wanted.since}
    if wanted.after is not None:
        conditions += _BEFORE if wanted.descending else _BEYOND
        params |= {"position": wanted.after[0], "ordinal": wanted.after[1]}
    if wanted.open is not None:
        conditions += " AND ended_at IS NULL" if wanted.open else " AND ended_at IS NOT NULL"
    if wanted.since:
        conditions += " AND (ended_position IS NULL OR ended_position > %(since)s)"
    if wanted.source is not None:
        conditions += " AND source = %(source)s"
    query = _PAGE.format(
        position=_POSITION,
        head=checkpoints.HEAD,
        trimmed=TRIMMED,
        columns=_COLUMNS,
        conditions=conditions,
        order=order,
    )
    return query, params


def page_of(rows: Sequence[TupleRow]) -> TablePage:
    """The page in that query's rows."""
    position, head, trimmed = rows[0][:3]
    found = [SessionRow(*row[3:]) for row in rows if row[3] is not None]
    return TablePage(found, position, head - position, trimmed)


_BEYOND: LiteralString = " AND (position, ordinal) > (%(position)s, %(ordinal)s)"
_BEFORE: LiteralString = " AND (position, ordinal) < (%(position)s, %(ordinal)s)"

"""The projection `sessions`: each session of a user from its begin to its end; its table, handler and queries."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, LiteralString, NamedTuple, cast

from psycopg import Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.observation import SECOND, Instant
from ledger.store.arrays import bigints, optional_bigints, optional_words, texts, words
from ledger.store.mapper import USER_KINDS
from projections.engine import checkpoints
from projections.engine.memory import Memory
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

_BEGIN_TEMPLATE: LiteralString = """
INSERT INTO sessions ({})
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[],
                     %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[],
                     %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[])
"""
_BEGIN = _BEGIN_TEMPLATE.format(_COLUMNS)

_Pack = Callable[[Any], bytes]

_BEGUN: Mapping[str, _Pack] = {
    "uid": texts,
    "position": bigints,
    "ordinal": bigints,
    "source": words,
    "scope": words,
    "device_flag": optional_bigints,
    "conn_id": optional_bigints,
    "node": words,
    "held_by": optional_words,
    "opened_at": bigints,
    "opened_after": optional_bigints,
    "opened_by": words,
    "seen_at": bigints,
    "ended_at": optional_bigints,
    "ended_after": optional_bigints,
    "ended_by": optional_words,
    "ended_position": optional_bigints,
    "concurrent": bigints,
    "flaps": bigints,
}
_KEY = ("uid", "position", "ordinal")
_ENDED: Mapping[str, _Pack] = {
    name: _BEGUN[name] for name in (*_KEY, "conn_id", "ended_at", "ended_after", "ended_by", "ended_position")
}
_CHANGED: Mapping[str, _Pack] = {
    **_ENDED,
    **{name: _BEGUN[name] for name in ("scope", "device_flag", "node", "held_by", "seen_at")},
}

_UPDATE_TEMPLATE: LiteralString = """
UPDATE sessions AS s
   SET conn_id = c.conn_id, ended_at = c.ended_at, ended_after = c.ended_after, ended_by = c.ended_by,
       ended_position = c.ended_position{}
  FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::text[],
              %b::bigint[]{})
       AS c (uid, position, ordinal, conn_id, ended_at, ended_after, ended_by, ended_position{})
 WHERE s.uid = c.uid AND s.position = c.position AND s.ordinal = c.ordinal
"""
# Most of what changes has ended, and is else as it was.
_END = _UPDATE_TEMPLATE.format("", "", "")
_CHANGE = _UPDATE_TEMPLATE.format(
    ", scope = c.scope, device_flag = c.device_flag, node = c.node, held_by = c.held_by, seen_at = c.seen_at",
    ", %b::text[], %b::bigint[], %b::text[], %b::text[], %b::bigint[]",
    ", scope, device_flag, node, held_by, seen_at",
)

_UID = attrgetter("uid")

EARLIER_SECONDS = 30
"""Ends are read from so much earlier on than is asked for: what comes next may have come a little earlier."""

_PAGE: LiteralString = """
SELECT {position}, {head}, {trimmed}, s.*
  FROM (VALUES (true)) AS once
  LEFT JOIN (SELECT {columns} FROM sessions
              WHERE uid = %(uid)s AND (ended_position IS NULL OR ended_position >= {trimmed}){conditions}{order}
              LIMIT %(limit)s) AS s ON true
{order}
"""
_POSITION = checkpoints.POSITION_OF.format("sessions")


class RowsMissing(Exception):
    """What was believed to stand in the table does not."""


class Sessions:
    """Follows users' events; its state are the open rows of its table."""

    name = "sessions"
    tables: Sequence[str] = ("sessions", "sessions_trimmed")
    kinds = USER_KINDS

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Write the sessions that these events begin, end or change."""
        if not events:
            return
        users = _users(cursor, events, memory)
        begun, ended, changed = dict[int, SessionRow](), dict[int, SessionRow](), dict[int, SessionRow]()
        for followed in events:
            position = followed.position
            for row in users[cast(str, followed.uid)].take(cast(UserEvent, followed.event), position):
                if row.position == position:
                    begun[id(row)] = row
                elif id(row) in begun:
                    continue
                elif row.ended_position == position and id(row) not in changed:
                    ended[id(row)] = row
                else:
                    changed[id(row)] = row
        _write(cursor, _BEGIN, _BEGUN, begun.values())
        _write(cursor, _END, _ENDED, ended.values())
        _write(cursor, _CHANGE, _CHANGED, changed.values())
        memory.keep({uid: user for uid, user in users.items() if user.is_small})


PROJECTION = Sessions()


def _users(cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> Mapping[str, UserSessions]:
    """The users of these events, each as before them."""
    uids = {cast(str, followed.uid) for followed in events}
    since = min([cast(UserEvent, followed.event).received_at for followed in events]) - FLAP_SECONDS * SECOND
    known: dict[str, UserSessions] = memory.take(uids)
    users = {uid: user for uid, user in known.items() if user.ends_since <= since}
    if unknown := uids - users.keys():
        users |= _read(cursor, unknown, since - EARLIER_SECONDS * SECOND)
    return users


def _read(cursor: Cursor[Any], uids: Collection[str], since: Instant) -> Mapping[str, UserSessions]:
    """Users as their rows tell; `since`: from when on all ends are to be known."""
    users = {uid: UserSessions(uid, since) for uid in uids}
    asked = texts(list(users))
    for row in cursor.execute(_OPEN, (asked,), binary=True).fetchall():
        users[row[0]].restore(SessionRow(*row))
    for uid, source, device_flag, ended_at in cursor.execute(_ENDS, (asked, since), binary=True).fetchall():
        users[uid].restore_end(source, device_flag, ended_at)
    return users


def _write(cursor: Cursor[Any], query: LiteralString, fields: Mapping[str, _Pack], rows: Iterable[SessionRow]) -> None:
    """Write rows by uid, as the indexes are ordered: one page of these after another is changed.

    Raises RowsMissing where not all of them are there to be changed: read back, the projection goes on.
    """
    in_order = sorted(rows, key=_UID)
    if not in_order:
        return
    columns = zip(*map(attrgetter(*fields), in_order), strict=True)
    cursor.execute(query, [pack(column) for pack, column in zip(fields.values(), columns, strict=True)])
    if cursor.rowcount != len(in_order):
        raise RowsMissing(f"{cursor.rowcount} of {len(in_order)} sessions were written")


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

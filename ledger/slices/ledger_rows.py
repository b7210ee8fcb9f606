"""What a slice takes from the ledger's tables, streamed over one connection in a transaction that sees one moment."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.alert_events import SERVICE
from ledger.slices.share import WHOLE, Share
from ledger.store.archive.table import RECORDED_AT
from ledger.store.arrays import bigints, texts
from ledger.store.mapper import user_stream
from ledger.store.recorder import StoredRow

FETCHED = 2_000
"""Rows a round trip."""

# `from` belongs to the slice and `to` does not.
_BOUNDS: LiteralString = """
SELECT coalesce(position_at(%(since)s::timestamptz - interval '1 microsecond'), 0),
       coalesce(position_at(%(until)s::timestamptz - interval '1 microsecond'), last.position, 0),
       coalesce(last.position, 0), last.recorded_at
  FROM (VALUES (1)) AS always (one)
  LEFT JOIN last_event() AS last ON true
"""

_SOURCES = "SELECT source FROM source_states WHERE source <> %s ORDER BY source"

_OF_SOURCE: LiteralString = """
SELECT position, stream, version, kind, payload, recorded_at FROM events
 WHERE stream = %s AND position <= %s ORDER BY version
"""

# A user's share, as `Share.has` tells it.
_DIGIT: LiteralString = "get_byte(sha256(convert_to({}, 'UTF8')), 0) %% %s = %s"

# Each user's last event up to there; sorted by the server, which can do so on its disk.
_LAST: LiteralString = """
SELECT e.position, c.uid, e.version, e.recorded_at
  FROM current AS c, LATERAL last_event_of('user:' || c.uid, %s) AS e
 WHERE true{} ORDER BY e.position
"""
_LAST_OF_ALL: LiteralString = _LAST.format("")
_LAST_OF_SOME: LiteralString = _LAST.format(" AND c.uid = ANY(%b)")
_LAST_OF_SHARE: LiteralString = _LAST.format(" AND " + _DIGIT.format("'user:' || c.uid"))

# What befell a service itself is nothing to another one, which has its own.
_BETWEEN: LiteralString = """
SELECT position, stream, version, kind, payload, recorded_at FROM events
 WHERE position > %s AND position <= %s AND stream <> 'source:(service)'{} ORDER BY position
"""
_ALL_BETWEEN: LiteralString = _BETWEEN.format("")
_SOME_BETWEEN: LiteralString = _BETWEEN.format(" AND (stream LIKE 'source:%%' OR stream = ANY(%b))")
_SHARE_BETWEEN: LiteralString = _BETWEEN.format(" AND (stream LIKE 'source:%%' OR " + _DIGIT.format("stream") + ")")

_PLACE = "SELECT position FROM events WHERE stream = %s AND version = %s AND kind = %s"

_LAST_RECORDED_AT = "SELECT recorded_at FROM last_event()"

_AT_POSITIONS = "SELECT position, stream, version, kind, payload FROM events WHERE position = ANY(%b)"

# Its first or its last event was there before.
_OF_OTHERS = """
SELECT asked.stream
  FROM unnest(%b::text[]) AS asked (stream),
       LATERAL (SELECT position FROM first_event_of(asked.stream)
                UNION ALL
                SELECT position FROM last_event_of(asked.stream)
                UNION ALL
                -- Where its first events are archived.
                SELECT position FROM snapshot_at(substr(asked.stream, 6), %s) WHERE asked.stream LIKE 'user:%%') AS e
 WHERE e.position <= %s LIMIT 1
"""


class Bounds(NamedTuple):
    """The positions that a slice lies between, `start` not included, and the ledger's head."""

    start: int
    stop: int
    head: int
    head_recorded_at: datetime | None


class Last(NamedTuple):
    """The place of a user's last event up to a position."""

    position: int
    uid: str
    version: int
    recorded_at: datetime


def bounds(connection: Connection[TupleRow], since: datetime | None, until: datetime | None) -> Bounds:
    """Between which positions what was recorded from `since` on and before `until` lies."""
    row = connection.execute(_BOUNDS, {"since": since, "until": until}).fetchone()
    assert row is not None
    start, stop, head, recorded_at = row
    return Bounds(start, max(start, stop), head, recorded_at)


def recorded_at(connection: Connection[TupleRow], position: int) -> datetime | None:
    """When the event of a position was recorded; None where there is none."""
    row = connection.execute(RECORDED_AT, {"position": position}).fetchone()
    return None if row is None else row[0]


def source_names(connection: Connection[TupleRow]) -> list[str]:
    """All sources."""
    return [name for (name,) in connection.execute(_SOURCES, (SERVICE,)).fetchall()]


def stream_events(connection: Connection[TupleRow], stream: str, up_to: int) -> Iterator[StoredRow]:
    """A stream's events up to a position."""
    for row in _streamed(connection, _OF_SOURCE, (stream, up_to)):
        yield StoredRow(*row)


def last_events(
    connection: Connection[TupleRow], up_to: int, uids: Sequence[str] | None, share: Share = WHOLE
) -> Iterator[Last]:
    """Each user's last event up to a position, in the order of their positions: of all, of these, or of a share."""
    if uids is not None:
        rows = _streamed(connection, _LAST_OF_SOME, (up_to, texts(uids)))
    elif share.of > 1:
        rows = _streamed(connection, _LAST_OF_SHARE, (up_to, share.of, share.number))
    else:
        rows = _streamed(connection, _LAST_OF_ALL, (up_to,))
    for row in rows:
        yield Last(*row)


def between(
    connection: Connection[TupleRow], after: int, up_to: int, uids: Sequence[str] | None, share: Share = WHOLE
) -> Iterator[StoredRow]:
    """The events between two positions: all, or those of these users, or of a share, and of all sources."""
    if uids is not None:
        rows = _streamed(connection, _SOME_BETWEEN, (after, up_to, texts([user_stream(uid) for uid in uids])))
    elif share.of > 1:
        rows = _streamed(connection, _SHARE_BETWEEN, (after, up_to, share.of, share.number))
    else:
        rows = _streamed(connection, _ALL_BETWEEN, (after, up_to))
    for row in rows:
        yield StoredRow(*row)


def find_position(cursor: Cursor[TupleRow], stream: str, version: int, kind: str) -> int | None:
    """The position of a stream's event of that version and kind, if there is one."""
    row = cursor.execute(_PLACE, (stream, version, kind)).fetchone()
    return None if row is None else row[0]


def last_recorded_at(cursor: Cursor[TupleRow]) -> datetime | None:
    """When the ledger's last event was recorded; None while it is empty."""
    row = cursor.execute(_LAST_RECORDED_AT).fetchone()
    return None if row is None else row[0]


def at_positions(cursor: Cursor[TupleRow], positions: Sequence[int]) -> dict[int, tuple[str, int, str, bytes]]:
    """Stream, version, kind and payload of the events of these positions."""
    rows = cursor.execute(_AT_POSITIONS, (bigints(positions),)).fetchall()
    return {position: (stream, version, kind, payload) for position, stream, version, kind, payload in rows}


def other_stream(cursor: Cursor[TupleRow], streams: Sequence[str], head: int) -> str | None:
    """One of these streams that has events up to a position, if any has."""
    row = cursor.execute(_OF_OTHERS, (texts(streams), head, head)).fetchone()
    return None if row is None else row[0]


def _streamed(connection: Connection[TupleRow], query: LiteralString, params: Sequence[Any]) -> Iterator[TupleRow]:
    """Rows as they come, however many."""
    with connection.cursor(f"slice_{id(params)}") as cursor:
        cursor.itersize = FETCHED
        yield from cursor.execute(query, params, binary=True)

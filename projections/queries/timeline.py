"""The story of a user, made of their events when it is asked for, with drifts and the outages of their sources."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, cast

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.store.mapper import EventMapper, user_stream
from projections.engine import checkpoints
from projections.models import drifts, outages
from projections.queries.telling import STRETCH_VERSIONS, Telling, Told, stretch_of

MAX_FOLDED_EVENTS = 10_000
"""A page ends, though it holds fewer entries than were asked for, where so many events more than these have been read."""

MAX_READ_EVENTS = 512
"""So many are read at once; the event loop is free in between."""

# Of an instant, what was recorded before it. The first version beyond a position is looked for from the last snapshot
# before that on, since events lie in the order of their versions. Where several intervals have one position, which an
# imported source's may, they go onto one page.
_PLACE: LiteralString = """
WITH place AS MATERIALIZED (
    SELECT *, {edge} AS edge
      FROM (SELECT *, coalesce(position_at(%(since)s::timestamptz - interval '1 microsecond'), 0) AS lower,
                   coalesce(position_at(%(until)s::timestamptz - interval '1 microsecond'), head) AS upper
              FROM (SELECT {head} AS head, least({drift}, {outage}) AS followed,
                           (SELECT position FROM events WHERE stream = %(stream)s ORDER BY version LIMIT 1) AS known
                   ) AS ends) AS bounds
)
SELECT head, followed, lower, upper, edge, positions, entries,
       CASE WHEN edge > 0 AND edge < head THEN
            (SELECT version FROM events
              WHERE stream = %(stream)s AND position > edge
                AND version > coalesce((SELECT version FROM snapshots WHERE uid = %(uid)s AND position <= edge
                                         ORDER BY version DESC LIMIT 1), 0)
              ORDER BY version LIMIT 1) END AS beyond
  FROM place
 CROSS JOIN LATERAL (
     SELECT array_agg(position) AS positions, array_agg(entry) AS entries
       FROM (SELECT position, entry
               FROM (SELECT position, entry FROM ({drifts}) AS d WHERE reaches > lower
                     UNION ALL
                     SELECT position, entry FROM ({outages}) AS o WHERE reaches > greatest(lower, known)
                                                                   AND known IS NOT NULL) AS parts
              WHERE position {from_there} %(after)s AND position <= upper
              ORDER BY position {order} FETCH FIRST %(limit)s ROWS WITH TIES) AS intervals
     ) AS found
"""
_PARTS = {
    "head": checkpoints.HEAD,
    "drift": checkpoints.POSITION_OF.format("drift"),
    "outage": checkpoints.POSITION_OF.format("outages"),
    "drifts": drifts.ENTRIES,
    "outages": outages.ENTRIES,
}

_EVENTS: LiteralString = """
SELECT version, position, kind, payload FROM events
 WHERE stream = %s AND version {} %s AND position <= %s ORDER BY version {} LIMIT %s
"""


class _Way(NamedTuple):
    """The queries of one direction."""

    place: LiteralString
    events: LiteralString


_ASCENDING = _Way(
    _PLACE.format(edge="greatest(%(after)s, lower)", from_there=">", order="ASC", **_PARTS), _EVENTS.format(">=", "ASC")
)
_DESCENDING = _Way(
    _PLACE.format(edge="least(%(after)s - 1, upper)", from_there="<", order="DESC", **_PARTS),
    _EVENTS.format("<=", "DESC"),
)

_BEYOND_ALL = 2**63 - 1

_mapper = EventMapper()


class TimelineQuery(NamedTuple):
    """A page: beyond a position, in one direction, between the instants at which events were recorded."""

    after: int | None
    limit: int
    descending: bool = False
    since: datetime | None = None
    until: datetime | None = None

    @property
    def beyond(self) -> int:
        """The position after which it begins."""
        if self.after is not None:
            return self.after
        return _BEYOND_ALL if self.descending else 0


class TimelineEntries(NamedTuple):
    """Entries as JSON, with commas between them; `last` is the position that the page ends at, `more`: others follow.

    Everything up to `position` is in it; `lag` events were recorded since.
    """

    items: bytes
    number: int
    last: int | None
    more: bool
    position: int
    lag: int


class _Place(NamedTuple):
    """Where a page lies: positions, and the user's first version beyond `edge`, which it begins at, if there is one."""

    head: int
    followed: int
    lower: int
    upper: int
    edge: int
    positions: Sequence[int] | None
    entries: Sequence[bytes] | None
    beyond: int | None


async def page(connection: AsyncConnection[TupleRow], uid: str, wanted: TimelineQuery) -> TimelineEntries:
    """A page of a user's story. A uid that can be stored is asked for. Raises UnreadableEvent."""
    reading = _Reading(connection, uid, wanted, await _place(connection, uid, wanted))
    return await reading.page()


async def _place(connection: AsyncConnection[TupleRow], uid: str, wanted: TimelineQuery) -> _Place:
    params = {
        "uid": uid,
        "stream": user_stream(uid),
        "after": wanted.beyond,
        "limit": wanted.limit,
        "since": wanted.since,
        "until": wanted.until,
    }
    query = (_DESCENDING if wanted.descending else _ASCENDING).place
    row = await (await connection.cursor(binary=True).execute(query, params)).fetchone()
    assert row is not None
    return _Place(*row)


class _Reading:
    """Reads the events of a page, until it is full."""

    def __init__(self, connection: AsyncConnection[TupleRow], uid: str, wanted: TimelineQuery, place: _Place) -> None:
        self._connection = connection
        self._stream = user_stream(uid)
        self._wanted = wanted
        self._place = place
        self._told: list[Told] = []
        self._is_cut = False
        """Other entries follow."""

    async def page(self) -> TimelineEntries:
        """All of it."""
        await self._read()
        intervals = list(zip(self._place.positions or (), self._place.entries or (), strict=True))
        if self._is_cut:
            # What lies between two entries comes with the later one.
            intervals = [each for each in intervals if not self._is_beyond(each[0], self._told[-1].position)]
        entries = sorted(
            [*((told.position, told.entry) for told in self._told), *intervals], reverse=self._wanted.descending
        )
        number = _with_ties(entries, self._wanted.limit)
        position = min(self._place.head, self._place.followed)
        return TimelineEntries(
            b",".join([entry for _, entry in entries[:number]]),
            number,
            entries[number - 1][0] if number else None,
            self._is_cut or number >= self._wanted.limit,
            position,
            self._place.head - position,
        )

    async def _read(self) -> None:
        """Tell of the events from the end of a stretch on, so that entries are whole."""
        telling, number = Telling(descending=self._wanted.descending), 0
        version, size = self._first_version(), self._wanted.limit + self._wanted.limit // 2 + 16
        while version is not None:
            size = min(size, MAX_READ_EVENTS)
            rows = await self._rows(version, size)
            for version, position, kind, payload in rows:
                # Users' streams hold nothing else; to look at each would cost as much as to fold it.
                event = cast(UserEvent, _mapper.event_at(position, kind, payload))
                if self._is_over(telling.take(version, position, event)):
                    return
            if len(rows) < size:
                self._is_over(telling.rest())
                return
            number += size
            if number - len(self._told) >= MAX_FOLDED_EVENTS and self._told:
                self._is_cut = True
                return
            version, size = version + (-1 if self._wanted.descending else 1), 2 * size

    def _first_version(self) -> int | None:
        """The end of the stretch of the first event, None where there is none."""
        beyond = self._place.beyond
        if self._wanted.descending:
            return _BEYOND_ALL if beyond is None else stretch_of(beyond - 1) + STRETCH_VERSIONS - 1
        if beyond is None:
            return None if self._place.edge else 0
        return stretch_of(beyond)

    async def _rows(self, version: int, size: int) -> list[TupleRow]:
        way = _DESCENDING if self._wanted.descending else _ASCENDING
        params = self._stream, version, self._place.head, size
        return await (await self._connection.cursor(binary=True).execute(way.events, params)).fetchall()

    def _is_over(self, told: Told | None) -> bool:
        """Keep an entry if it is asked for; whether no other one can be."""
        if told is None:
            return False
        place = self._place
        if told.position > place.upper:
            return not self._wanted.descending
        if told.last_position <= place.lower:
            return self._wanted.descending
        if self._is_beyond(told.position, self._wanted.beyond):
            self._told.append(told)
            self._is_cut = len(self._told) >= self._wanted.limit
        return self._is_cut

    def _is_beyond(self, position: int, other: int) -> bool:
        return position < other if self._wanted.descending else position > other


def _with_ties(entries: Sequence[tuple[int, Any]], limit: int) -> int:
    """How many of the entries a page holds: up to the limit, and those that have the last one's position."""
    number = min(limit, len(entries))
    while 0 < number < len(entries) and entries[number][0] == entries[number - 1][0]:
        number += 1
    return number

"""The story of a user, made of their events when it is asked for, with drifts and the outages of their sources."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, TypeAlias, cast

from psycopg import AsyncConnection, Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.store.mapper import EventMapper, user_stream
from projections.queries import timeline_place
from projections.queries.telling import STRETCH_VERSIONS, EntryTeller, ToldEntry, stretch_of

MAX_FOLDED_EVENTS = 10_000
"""A page ends, though it holds less than was asked for, where so many events more than entries have been read."""

MAX_READ_EVENTS = 512
"""So many are read at once; the event loop is free in between."""

_BEYOND_ALL = 2**63 - 1

_mapper = EventMapper()

TABLES: LiteralString = "current, snapshots, drifts, in_doubt"
"""What a page is made of besides `events`."""

_Question: TypeAlias = tuple[LiteralString, Any]
"""A query with its parameters."""

_Steps: TypeAlias = Generator[_Question, list[TupleRow], "TimelineEntries"]
"""Asks questions, is given their rows, and returns the page."""


class ArchiveNeeded(Exception):
    """The page needs events that were archived, or some were while it was made."""


class TimelineQuery(NamedTuple):
    """A page: beyond a position, in one direction, between the instants at which events were recorded."""

    after: int | None
    limit: int
    descending: bool = False
    since: datetime | None = None
    until: datetime | None = None

    @property
    def start(self) -> int:
        """The position beyond which it begins."""
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


async def page(connection: AsyncConnection[TupleRow], uid: str, wanted: TimelineQuery) -> TimelineEntries:
    """A page of a user's story, by the database alone. A uid that can be stored is asked for.

    Raises ArchiveNeeded, UnreadableEvent.
    """
    cursor, steps = connection.cursor(binary=True), _Reading(uid, wanted, is_whole=False).steps()
    found = _go_on(steps, None)
    while not isinstance(found, TimelineEntries):
        found = _go_on(steps, await (await cursor.execute(*found)).fetchall())
    return found


def whole_page(connection: Connection[TupleRow], uid: str, wanted: TimelineQuery) -> TimelineEntries:
    """The same over a connection that sees one moment of `events`, with all of the user's that were archived.

    Raises UnreadableEvent.
    """
    cursor, steps = connection.cursor(binary=True), _Reading(uid, wanted, is_whole=True).steps()
    found = _go_on(steps, None)
    while not isinstance(found, TimelineEntries):
        found = _go_on(steps, cursor.execute(*found).fetchall())
    return found


def _go_on(steps: _Steps, rows: list[TupleRow] | None) -> _Question | TimelineEntries:
    """The next question, or the page; of the first question there are no rows yet."""
    try:
        return next(steps) if rows is None else steps.send(rows)
    except StopIteration as done:
        return cast(TimelineEntries, done.value)


class _Reading:
    """Reads the events of a page, until it is full; asks queries, and leaves it to others to run them."""

    def __init__(self, uid: str, wanted: TimelineQuery, *, is_whole: bool) -> None:
        self._uid = uid
        self._stream = user_stream(uid)
        self._wanted = wanted
        self._way = timeline_place.DESCENDING if wanted.descending else timeline_place.ASCENDING
        self._is_whole = is_whole
        """Nothing is missing in `events`."""
        self._told: list[ToldEntry] = []
        self._is_cut = False
        """Other entries follow."""

    def steps(self) -> _Steps:
        """All of it. Raises ArchiveNeeded."""
        wanted = self._wanted
        asked = {"after": wanted.start, "limit": wanted.limit, "since": wanted.since, "until": wanted.until}
        [row] = yield self._way.place, {"uid": self._uid, "stream": self._stream, **asked}
        self._place = timeline_place.Place(*row)
        if self._begins_in_archive():
            raise ArchiveNeeded
        yield from self._read()
        return self._page()

    def _page(self) -> TimelineEntries:
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

    def _read(self) -> Generator[_Question, list[TupleRow], None]:
        """Tell of the events from the end of a stretch on, so that entries are whole."""
        telling, number = EntryTeller(descending=self._wanted.descending), 0
        version, size = self._first_version(), self._wanted.limit + self._wanted.limit // 2 + 16
        while version is not None:
            size = min(size, MAX_READ_EVENTS)
            rows = yield self._way.events, (self._stream, version, self._place.head, size)
            if not self._is_whole and rows[0][0] != self._place.archived:
                raise ArchiveNeeded
            for _, version, position, kind, payload in rows:
                if version is None:
                    break
                # Users' streams hold nothing else; to look at each would cost as much as to fold it.
                event = cast(UserEvent, _mapper.event_at(position, kind, payload))
                if self._is_over(telling.take(version, position, event)):
                    return
            if version is None or len(rows) < size:
                if self._wanted.descending and self._has_archived:
                    raise ArchiveNeeded
                self._is_over(telling.rest())
                return
            number += size
            if number - len(self._told) >= MAX_FOLDED_EVENTS and self._told:
                self._is_cut = True
                return
            version, size = version + (-1 if self._wanted.descending else 1), 2 * size

    @property
    def _has_archived(self) -> bool:
        """Whether events of the user may be missing."""
        place = self._place
        return not self._is_whole and place.archived > 0 and (place.first is None or place.first > 1)

    def _begins_in_archive(self) -> bool:
        """Whether events may be missing beyond the place at which the page begins, or before it in their stretch."""
        if not self._has_archived:
            return False
        place = self._place
        if place.first is None or place.edge < place.archived - 1:
            return True
        return (
            not self._wanted.descending
            and place.next_version is not None
            and stretch_of(place.next_version) < place.first
        )

    def _first_version(self) -> int | None:
        """The end of the stretch of the first event, None where there is none."""
        following, edge = self._place.next_version, self._place.edge
        if not self._wanted.descending:
            # At the very beginning the first version is not looked for.
            return stretch_of(following) if following is not None else None if edge else 0
        if edge <= 0:
            return None
        return _BEYOND_ALL if following is None else stretch_of(following - 1) + STRETCH_VERSIONS - 1

    def _is_over(self, told: ToldEntry | None) -> bool:
        """Keep an entry if it is asked for; whether no other one can be."""
        if told is None:
            return False
        place = self._place
        if told.position > place.upper:
            return not self._wanted.descending
        if told.last_position <= place.lower:
            return self._wanted.descending
        if self._is_beyond(told.position, self._wanted.start):
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

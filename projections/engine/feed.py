"""The ledger as projections read it: stretches of events after a position, decoded once for all of them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Cursor

from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.engine import checkpoints
from projections.engine.projection import Followed

EVENTS_OF_KINDS: LiteralString = """
SELECT position, stream, version, kind, recorded_at, payload FROM events WHERE (kind = ANY(%s) OR kind <> ALL(%s))
"""
"""The beginning of a query for an EventRow of each event of the kinds that are read, and of those that nobody knows."""

# Positions are committed in their order, so nothing up to a head that was seen is still to come.
_READ_TEMPLATE: LiteralString = "{} AND position > %s AND position <= %s ORDER BY position LIMIT %s"
_READ = _READ_TEMPLATE.format(EVENTS_OF_KINDS)

_USERS_BETWEEN: LiteralString = """
SELECT DISTINCT substr(stream, 6) FROM (
    SELECT stream FROM events WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
) AS moved WHERE stream LIKE 'user:%%'
"""

SPAN = 2
"""A stretch reaches over so many positions for each event that it may hold, so that an index serves for it."""


class Poison(NamedTuple):
    """An event that a projection cannot take, and why."""

    position: int
    reason: str


def poison(position: int, error: Exception) -> Poison:
    """What stops a projection, as it is put on record."""
    return Poison(position, f"{type(error).__name__}: {error}")


class FeedRow(NamedTuple):
    """An event as it was read."""

    position: int
    stream: str
    version: int
    kind: str
    recorded_at: datetime
    payload: bytes


class Stretch:
    """The events that are read after one position and up to another; `more`: the ledger goes on there."""

    def __init__(self, after: int, last: int, more: bool, rows: list[FeedRow], mapper: EventMapper) -> None:
        self.after = after
        self.last = last
        self.more = more
        self._rows = rows
        self._mapper = mapper
        self._decoded: dict[int, Followed] = {}
        self._kinds = {row.kind for row in rows}
        self._unknown = self._kinds - mapper.known_kinds
        self._of_kinds: dict[frozenset[str], list[FeedRow]] = {}

    def followed(self, kinds: frozenset[str], skipped: Collection[int]) -> tuple[list[Followed], Poison | None]:
        """The events of these kinds, up to the first that cannot be read or is of a kind that nobody knows."""
        events: list[Followed] = []
        for row in self._rows_of((kinds | self._unknown) & self._kinds):
            position = row[0]
            if position in skipped:
                continue
            try:
                events.append(self._decoded.get(position) or self._decode(row))
            except Exception as error:  # noqa: BLE001  (whatever it is, it stops this projection and no other)
                return events, poison(row.position, error)
        return events, None

    def _rows_of(self, kinds: frozenset[str]) -> list[FeedRow]:
        if kinds == self._kinds:
            return self._rows
        found = self._of_kinds.get(kinds)
        if found is None:
            found = self._of_kinds[kinds] = [row for row in self._rows if row.kind in kinds]
        return found

    def _decode(self, row: FeedRow) -> Followed:
        position, stream, version, kind, recorded_at, payload = row
        event = self._mapper.event(kind, payload)
        uid = stream[len(USER_PREFIX) :] if stream.startswith(USER_PREFIX) else None
        followed = self._decoded[position] = Followed(position, stream, version, recorded_at, event, uid)
        return followed


class Feed:
    """Reads stretches. Projections that stand at the same place share one."""

    def __init__(self, mapper: EventMapper, kinds: Iterable[str]) -> None:
        self._mapper = mapper
        self._kinds = sorted(kinds)
        self._known = sorted(mapper.known_kinds)
        self._kept: Stretch | None = None
        self._erased_at = 0
        """Of the last erasure when it was read."""

    def after(self, cursor: Cursor[Any], position: int, limit: int, erased_at: int = 0) -> Stretch:
        """What follows a position, so many events at most; `erased_at` is the position of the last erasure."""
        if erased_at != self._erased_at:
            self._kept, self._erased_at = None, erased_at
        if self._kept is not None and self._kept.after == position and self._kept.last > position:
            return self._kept
        head = checkpoints.head(cursor)
        bound = max(position, min(head, position + SPAN * limit))
        rows = cursor.execute(_READ, (self._kinds, self._known, position, bound, limit)).fetchall()
        last = rows[-1][0] if len(rows) == limit else bound
        self._kept = Stretch(position, last, last < head, [FeedRow._make(row) for row in rows], self._mapper)
        return self._kept


def users_between(cursor: Cursor[Any], after: int, up_to: int, limit: int) -> set[str]:
    """The users of whom events tell after a position and up to another; of so many events at most."""
    return {uid for (uid,) in cursor.execute(_USERS_BETWEEN, (after, up_to, limit)).fetchall()}

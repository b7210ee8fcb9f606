"""The ledger as projections read it: stretches of events after a position, decoded once for all of them."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Cursor

from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.projection import Followed

# One statement, one snapshot: positions are committed in their order, so nothing below its last one is still to come.
# Payloads that nobody reads may be large and stay where they are.
_READ = """
SELECT position, stream, version, kind, recorded_at, CASE WHEN kind = ANY(%s) THEN payload END
  FROM events WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
"""


END = 2**63 - 1
"""Beyond every position."""


class Poison(NamedTuple):
    """An event that a projection cannot take, and why."""

    position: int
    reason: str


def poison(position: int, error: Exception) -> Poison:
    """What stops a projection, as it is put on record."""
    return Poison(position, f"{type(error).__name__}: {error}")


class Row(NamedTuple):
    """An event as it was read; its payload only where somebody wants it."""

    position: int
    stream: str
    version: int
    kind: str
    recorded_at: datetime
    payload: bytes | None


class Stretch:
    """Events that follow one another after a position, up to `last`."""

    def __init__(self, after: int, rows: list[Row], mapper: EventMapper) -> None:
        self.after = after
        self.last = rows[-1].position if rows else after
        self.number = len(rows)
        self._rows = rows
        self._mapper = mapper
        self._decoded: dict[int, Followed] = {}

    def followed(self, kinds: Collection[str], skipped: Collection[int]) -> tuple[list[Followed], Poison | None]:
        """The events of these kinds, up to the first that cannot be read or is of a kind that nobody knows."""
        events: list[Followed] = []
        for row in self._rows:
            if row.kind not in kinds and self._mapper.knows(row.kind):
                continue
            if row.position in skipped:
                continue
            try:
                events.append(self._decoded.get(row.position) or self._decode(row))
            except Exception as error:  # noqa: BLE001  (whatever it is, it stops this projection and no other)
                return events, poison(row.position, error)
        return events, None

    def _decode(self, row: Row) -> Followed:
        event = self._mapper.event(row.kind, row.payload or b"")
        uid = row.stream[len(USER_PREFIX) :] if row.stream.startswith(USER_PREFIX) else None
        followed = Followed(row.position, row.stream, row.version, row.recorded_at, event, uid)
        self._decoded[row.position] = followed
        return followed


class Feed:
    """Reads stretches. Projections that stand at the same place share one."""

    def __init__(self, mapper: EventMapper, kinds: Iterable[str]) -> None:
        self._mapper = mapper
        self._kinds = sorted(kinds)
        self._last: tuple[int, Stretch] | None = None

    def after(self, cursor: Cursor[Any], position: int, limit: int, upto: int | None = None) -> Stretch:
        """The next events after a position, so many at most, and none beyond `upto`."""
        if self._last is not None:
            kept_limit, kept = self._last
            if kept.after == position and kept_limit == limit and kept.number:
                return kept
        rows = cursor.execute(_READ, (self._kinds, position, END if upto is None else upto, limit)).fetchall()
        stretch = Stretch(position, [Row(*row) for row in rows], self._mapper)
        self._last = (limit, stretch)
        return stretch

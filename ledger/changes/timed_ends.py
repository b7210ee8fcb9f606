"""When what is shown of a user changes without an event: a grace period or an operator's word ends."""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from ledger.changes.moment import Moment
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.status import next_change_at


class TimedEnd(NamedTuple):
    """When that of a user is, as was known when it was noted."""

    at: Instant
    uid: str


class TimedEnds:
    """Those that are waited for, the next one first."""

    def __init__(self) -> None:
        self._ends: list[TimedEnd] = []
        self._noted: set[TimedEnd] = set()
        """The same: an operator's word may hold for days, in which its user is noted time and again."""

    @property
    def next_at(self) -> Instant | None:
        """When the next one is."""
        return self._ends[0].at if self._ends else None

    def note(self, presence: Presence, moment: Moment, after: Instant | None = None) -> None:
        """Wait for a user's, if there is one, after the moment or after another instant."""
        at = next_change_at(presence, moment.rules.sources, moment.made.at if after is None else after)
        if at is not None:
            self._put(TimedEnd(at, presence.uid))

    def take(self, up_to: Instant) -> list[TimedEnd]:
        """Those that are over; they are no longer waited for."""
        ended = []
        while self._ends and self._ends[0].at <= up_to:
            ended.append(heapq.heappop(self._ends))
            self._noted.remove(ended[-1])
        return ended

    def put_back(self, ended: Iterable[TimedEnd]) -> None:
        """Nobody has been told of these."""
        for end in ended:
            self._put(end)

    def _put(self, end: TimedEnd) -> None:
        if end not in self._noted:
            self._noted.add(end)
            heapq.heappush(self._ends, end)

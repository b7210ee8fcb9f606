"""When grace periods end: what is shown of a user changes then, without an event."""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from ledger.changes.moment import Moment
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.status import next_change_at


class GraceEnd(NamedTuple):
    """When that of a user ends, as was known when it was noted."""

    at: Instant
    uid: str


class GraceEnds:
    """Those that are waited for, the next one first."""

    def __init__(self) -> None:
        self._ends: list[GraceEnd] = []

    @property
    def next_at(self) -> Instant | None:
        """When the next one ends."""
        return self._ends[0].at if self._ends else None

    def note(self, presence: Presence, moment: Moment, after: Instant | None = None) -> None:
        """Wait for a user's, if they are in one, at the moment or after another instant."""
        end = next_change_at(presence, moment.rules.sources, moment.made.at if after is None else after)
        if end is not None:
            heapq.heappush(self._ends, GraceEnd(end, presence.uid))

    def take(self, up_to: Instant) -> list[GraceEnd]:
        """Those that have ended; they are no longer waited for."""
        ended = []
        while self._ends and self._ends[0].at <= up_to:
            ended.append(heapq.heappop(self._ends))
        return ended

    def put_back(self, ended: Iterable[GraceEnd]) -> None:
        """Nobody has been told of these."""
        for end in ended:
            heapq.heappush(self._ends, end)

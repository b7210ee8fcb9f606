"""Counts of everybody: as of now, or as they were of late where that is enough for whoever asks.

Every row is looked at for them, which takes seconds where there are millions of users.
"""

import re
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from ledger.http.kept import Kept
from projections.queries.listing import PresenceSummary

PATIENCE_SECONDS = 0.1
"""So long newer counts are waited for by those whom older ones are enough for."""

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:$|[\s,])")


class Counts(NamedTuple):
    """What was counted, and how many seconds ago."""

    summary: PresenceSummary
    age: float


class Summaries:
    """`count` counts. Of one event loop."""

    def __init__(
        self, count: Callable[[], Awaitable[PresenceSummary]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._clock = clock
        self._kept = Kept(self._counted, clock, patience_seconds=PATIENCE_SECONDS)

    async def within(self, seconds: float | None) -> Counts:
        """Counts that are no older than so many seconds; None: as of now. Raises StoreUnavailable."""
        if seconds:
            await self._kept.refresh()
            if self._kept.value is not None:
                at, summary = self._kept.value
                if (age := self._clock() - at) <= seconds:
                    return Counts(summary, age)
        return Counts(await self._count(), 0.0)

    def forget(self) -> None:
        """The ledger is not the one that was counted."""
        self._kept.forget()

    async def _counted(self) -> tuple[float, PresenceSummary]:
        began = self._clock()
        return began, await self._count()


def max_age(cache_control: str | None) -> int | None:
    """Seconds that an answer may be old for whoever sends this `Cache-Control`, as RFC 9111, 5.2.1.1, has it."""
    found = None if cache_control is None else _MAX_AGE.search(cache_control.lower())
    return None if found is None else int(found[1])

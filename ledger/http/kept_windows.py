"""Loss within windows of up to thirty days, kept for a while: a page that asks for it again and again costs little."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from projections.queries.loss import LossCount

Windows = Mapping[str, Mapping[float, LossCount]]

MAX_AGE_SECONDS = 60.0
"""What was counted stands for no longer, …"""
COST = 50.0
"""… and for so many times as long as counting took: no more than a fiftieth of a session is spent on it."""
CHEAP_SECONDS = 0.2
"""What takes less is not kept."""


class KeptWindows:
    """Of all requests' threads. Kept by source, of these alone, and of all sources together."""

    def __init__(self, sources: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._sources = {None, *sources}
        self._clock = clock
        self._kept: dict[str | None, tuple[float, Windows]] = {}
        self._guards: defaultdict[str | None, threading.Lock] = defaultdict(threading.Lock)

    def of(self, source: str | None, count: Callable[[], Windows]) -> Windows:
        """What was counted, or else is: once at a time, and others wait for it."""
        if source not in self._sources:
            return count()
        with self._guards[source]:
            began = self._clock()
            if (kept := self._kept.get(source)) is not None and began < kept[0]:
                return kept[1]
            found = count()
            ended = self._clock()
            if ended - began >= CHEAP_SECONDS:
                self._kept[source] = (ended + min(MAX_AGE_SECONDS, COST * (ended - began)), found)
            return found

"""What the log says of things that happen often: not each time, and how often in between; of what lasts, both ends."""

import threading
import time
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger()

SAY_SECONDS = 60.0
QUIET_SECONDS = 2.0
"""Success does not end a trouble that was met less than this ago: one of several parts may be in it still."""
MOST_REASONS = 8
"""A reason may hold a number; further ones are counted and not said."""


class Seldom:
    """When to say something again: at most once in a while for each key. The keys must be few."""

    def __init__(self, seconds: float = SAY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._said_at: dict[Hashable, float] = {}
        self._times: dict[Hashable, int] = {}

    def due(self, key: Hashable) -> int:
        """How often it has happened since it was said last, this time included; 0 where it is not to be said now."""
        times = self._times[key] = self._times.get(key, 0) + 1
        now = self._clock()
        if now - self._said_at.get(key, -self._seconds) < self._seconds:
            return 0
        self._said_at[key], self._times[key] = now, 0
        return times


class Lasting:
    """A trouble that lasts: one line when it begins, one for each further reason, one when it is over."""

    def __init__(self, began: str, ended: str, clock: Callable[[], float] = time.monotonic, **about: str) -> None:
        self._began = began
        self._ended = ended
        self._clock = clock
        self._about = about
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last = 0.0
        self._times = 0
        self._reasons: set[str] = set()

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def met(self, reason: str) -> None:
        """It has happened, once more or for the first time."""
        with self._lock:
            self._last = self._clock()
            self._since = self._last if self._since is None else self._since
            self._times += 1
            if reason in self._reasons or len(self._reasons) >= MOST_REASONS:
                return
            self._reasons.add(reason)
        log.warning(self._began, reason=reason, **self._about)

    def succeeded(self) -> None:
        """What failed has worked: the trouble is over, unless it was met a moment ago."""
        with self._lock:
            since, now = self._since, self._clock()
            if since is None or now - self._last < QUIET_SECONDS:
                return
            times, self._since, self._times = self._times, None, 0
            self._reasons.clear()
        log.warning(self._ended, seconds=round(now - since, 1), times=times, **self._about)

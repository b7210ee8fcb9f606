"""Logs what happens often: now and then, with how often in between; what lasts, when it begins and when it ends."""

import threading
import time
from collections.abc import Callable, Hashable

import structlog

log = structlog.get_logger()

LOG_INTERVAL_SECONDS = 60.0
MIN_QUIET_SECONDS = 2.0
"""A success does not end an outage whose last failure is more recent: one of several parts may still be failing."""
MAX_REASONS = 8
"""A reason may hold a number; further ones are counted and not logged."""


class LogThrottle:
    """When to log something again: at most once an interval for each key. The keys must be few."""

    def __init__(self, seconds: float = LOG_INTERVAL_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._logged_at: dict[Hashable, float] = {}
        self._times: dict[Hashable, int] = {}

    def due(self, key: Hashable) -> int:
        """How often it has happened since it was last logged, this time included; 0 where it is not due."""
        times = self._times[key] = self._times.get(key, 0) + 1
        now = self._clock()
        if now - self._logged_at.get(key, -self._seconds) < self._seconds:
            return 0
        self._logged_at[key], self._times[key] = now, 0
        return times


class LoggedOutage:
    """An outage: one line when it begins, one for each further reason, one when it is over. Thread-safe."""

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
    def is_ongoing(self) -> bool:
        return self._since is not None

    def failed(self, reason: str) -> None:
        """Something has failed, for the first time or again."""
        with self._lock:
            self._last = self._clock()
            self._since = self._last if self._since is None else self._since
            self._times += 1
            if reason in self._reasons or len(self._reasons) >= MAX_REASONS:
                return
            self._reasons.add(reason)
        log.warning(self._began, reason=reason, **self._about)

    def succeeded(self) -> None:
        """What failed has worked: the outage is over, unless something failed a moment ago."""
        with self._lock:
            since, now = self._since, self._clock()
            if since is None or now - self._last < MIN_QUIET_SECONDS:
                return
            times, self._since, self._times = self._times, None, 0
            self._reasons.clear()
        log.warning(self._ended, seconds=round(now - since, 1), times=times, **self._about)

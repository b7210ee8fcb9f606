"""The circuit breaker of one node: after failures in a row its query API is left alone for a while."""

import time
from collections.abc import Callable
from random import Random
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]

FAILURES = 5
"""In a row; fewer are a hiccup, which retries are for."""

FIRST_OPEN_SECONDS = 1.0
MAX_OPEN_SECONDS = 30.0
"""The default bound of the `vip` tier: a node that answers again is found again within it."""

JITTER = (0.5, 1.0)
"""Share of the time that it stays open, so that many nodes' breakers do not try at one instant."""


class NodeBreaker:
    """Closed, it lets every call through. Open, none. Half open, one at a time, on which it depends.

    A call asks `admit` and says with what it got how it ended. Probes always pass. A good one closes the breaker
    where one before it had failed, for then the node is back. Where probes have been good all along, a good one is no
    news about the calls that fail.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, random: Random | None = None) -> None:
        self._monotonic, self._random = monotonic, random or Random()  # noqa: S311
        self._admissions = 0
        self._trial: int | None = None
        self._probe_failed = False
        self._open_until: float | None = None
        self._open_seconds = FIRST_OPEN_SECONDS
        self.failures_in_a_row = 0

    @property
    def state(self) -> BreakerState:
        if self._open_until is None:
            return "closed"
        return "open" if self.open_seconds() > 0 else "half_open"

    def open_seconds(self) -> float:
        """How long nobody will be let through; 0 unless it is open."""
        # Read once: another thread may ask while a call's end closes the breaker.
        until = self._open_until
        return 0.0 if until is None else max(0.0, until - self._monotonic())

    @property
    def is_passable(self) -> bool:
        """Whether `admit` would let a call through."""
        return self.state == "closed" or (self.state == "half_open" and self._trial is None)

    def admit(self) -> int | None:
        """Let a call through or not; what it is let through with is to be given back once."""
        if not self.is_passable:
            return None
        self._admissions += 1
        if self.state == "half_open":
            self._trial = self._admissions
        return self._admissions

    def is_trial(self, admission: int) -> bool:
        """Whether this is the one call on which a half open breaker depends."""
        return admission == self._trial

    def succeeded(self) -> None:
        """A call was answered: close, whichever call it was."""
        self.close()

    def failed(self, admission: int) -> None:
        """A call failed. Those let through before the breaker opened do not open it for longer."""
        self.failures_in_a_row += 1
        if admission == self._trial:
            self._trial = None
            self._open(min(MAX_OPEN_SECONDS, self._open_seconds * 2))
        elif self._open_until is None and self.failures_in_a_row >= FAILURES:
            self._open(FIRST_OPEN_SECONDS)

    def abandoned(self, admission: int) -> None:
        """A call was given up and says nothing; another one may be tried."""
        if admission == self._trial:
            self._trial = None

    def probed(self, good: bool) -> None:
        """A probe, which passes in any state, was answered or was not."""
        if good and self._probe_failed:
            self.close()
        self._probe_failed = not good

    def close(self) -> None:
        """Forget the failures, as when the cause of them is known to be gone."""
        self._trial = self._open_until = None
        self._open_seconds = FIRST_OPEN_SECONDS
        self.failures_in_a_row = 0

    def _open(self, seconds: float) -> None:
        self._open_seconds = seconds
        self._open_until = self._monotonic() + seconds * self._random.uniform(*JITTER)

"""When to try again: at random, and the later the more tries have failed, so that not all clients come at once."""

import random
from collections.abc import Callable

FIRST_SECONDS = 0.5
MOST_SECONDS = 30.0


class Backoff:
    """The pauses of one client. `draw` gives a number from 0 to 1."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._failed = 0

    def succeeded(self) -> None:
        """The next failure is the first one again."""
        self._failed = 0

    def pause(self, told: float | None) -> float:
        """Seconds to wait before the next try; at least what the service has `told`, which spreads that itself."""
        bound = min(MOST_SECONDS, FIRST_SECONDS * float(2**self._failed))
        self._failed = min(self._failed + 1, 16)
        return max(told or 0.0, bound * (0.25 + 0.75 * self._draw()))

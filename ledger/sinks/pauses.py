"""How long to wait after a failed attempt: longer each time, at random, as soon as the receiver says where it does."""

import random
from collections.abc import Callable

FIRST_SECONDS = 1.0
MAX_SECONDS = 3600.0
GROWTH = 2.0
MIN_SECONDS = 0.1


class Pauses:
    """Of one sink; `draw` gives numbers from 0 to 1."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._next = FIRST_SECONDS

    def after(self, asked_seconds: float | None = None) -> float:
        """Seconds to wait after another failure; `asked_seconds`: the receiver's own word."""
        pause = self._next * (0.5 + self._draw() / 2)
        self._next = min(self._next * GROWTH, MAX_SECONDS)
        return pause if asked_seconds is None else min(max(asked_seconds, MIN_SECONDS), MAX_SECONDS)

    def succeeded(self) -> None:
        """The next failure is the first again."""
        self._next = FIRST_SECONDS

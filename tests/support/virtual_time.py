"""A monotonic clock of the test's own: sleeping moves it, and nobody waits."""

import asyncio
import heapq
import itertools
from typing import Any

TURNS = 50
"""Of the event loop: more than any chain of callbacks in these tests needs to settle."""


class VirtualTime:
    """`monotonic` and `sleep` for what takes them; `advance` lets time pass and wakes sleepers in order."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at
        self.slept: list[float] = []
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Until `advance` has let so much time pass."""
        self.slept.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.at + seconds, next(self._order), woken))
        await woken

    async def skip(self, seconds: float) -> None:
        """In place of `sleep`, where the test need not see it: time passes at once."""
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let time pass; those who have slept long enough go on, and so does what follows from it."""
        until = self.at + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, woken = heapq.heappop(self._sleepers)
            self.at = max(self.at, at)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self.at = until


async def settle() -> None:
    """Let everything run that is ready to."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def done_after(time: VirtualTime, task: "asyncio.Task[Any]", limit: float, step: float = 0.01) -> float:
    """Seconds until a task is done. Raises AssertionError beyond the limit."""
    began = time.at
    await settle()
    while not task.done():
        assert time.at - began < limit, "the task is not done in time"
        await time.advance(step)
    return time.at - began

"""The two clocks of a stream that has begun: when a heartbeat is due, and how long its reader may take nothing."""

import asyncio
from types import TracebackType
from typing import Self

from ledger.front.streams import HEARTBEAT_SECONDS
from ledger.front.watcher import Watcher
from ledger.server.stuck import STUCK_SECONDS

PATIENCE_SECONDS = 5.0
"""Seen so often that they take something: a deadline for each write would cost as much as the write."""


class Beats:
    """Within it a watcher is woken for each heartbeat. TimeoutError ends it where the reader is stuck."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._loop = asyncio.get_running_loop()
        self._patience = asyncio.timeout(STUCK_SECONDS)
        self._seen_at = self._loop.time()
        self._wait()

    async def __aenter__(self) -> Self:
        await self._patience.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._patience.__aexit__(kind, error, trace)

    @property
    def is_due(self) -> bool:
        """Whether it is time for a heartbeat."""
        return self._loop.time() >= self._due_at

    def seen(self) -> None:
        """The reader takes what they are sent."""
        now = self._loop.time()
        if now >= self._seen_at + PATIENCE_SECONDS:
            self._seen_at = now
            self._patience.reschedule(now + STUCK_SECONDS)

    def beaten(self) -> None:
        """A heartbeat has been sent."""
        self._wait()

    def _wait(self) -> None:
        self._due_at = self._loop.time() + HEARTBEAT_SECONDS
        self._timer = self._loop.call_at(self._due_at, self._watcher.wake)

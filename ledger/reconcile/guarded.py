"""One source's part of leading, guarded: a defect that it meets ends it alone, and it starts again after a while."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import structlog

from ledger.errors import StoreUnavailable
from ledger.reconcile.leader_context import LeaderContext, Spawn
from ledger.reconcile.reconciler import Reconciler
from ledger.working_state.sources import SourceUnreadable

log = structlog.get_logger()

RETRY_DELAY_SECONDS, MAX_RETRY_DELAY_SECONDS = 2.0, 60.0
"""After a defect, doubling as long as they follow each other so fast."""


class Begun(NamedTuple):
    """A source that is reconciled, and how to let go of its nodes."""

    context: LeaderContext
    reconciler: Reconciler
    close: Callable[[], Awaitable[None]]


Make = Callable[[Spawn], Awaitable[Begun]]
"""Makes a source's part again; what it spawns is guarded."""


class Guarded:
    """A source while this instance leads. That PostgreSQL is away, or a stream unreadable, concerns all sources.

    `seconds` is a clock that only goes forward.
    """

    def __init__(self, name: str, make: Make, group: asyncio.TaskGroup, seconds: Callable[[], float]) -> None:
        self.name = name
        self._make = make
        self._group = group
        self._seconds = seconds
        self._begun: Begun | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._works = False
        self._failed_at = float("-inf")
        self._again_seconds = RETRY_DELAY_SECONDS

    @property
    def context(self) -> LeaderContext:
        """What is known of the source, also while it is not reconciled."""
        assert self._begun is not None
        return self._begun.context

    @property
    def reconciler(self) -> Reconciler | None:
        """None while it waits to start again."""
        return self._begun.reconciler if self._begun is not None and self._works else None

    async def prepare(self) -> None:
        """Read what the ledger says of it."""
        self._begun = await self._make(self._spawn)
        self._works = True

    async def begin(self) -> None:
        """Take the source over."""
        if self.reconciler is not None:
            await self._guard(self.reconciler.begin())

    async def tick(self) -> None:
        """Do what is due now; after a defect, start again once its time has come."""
        if self.reconciler is not None:
            await self._guard(self.reconciler.tick())
        elif self._seconds() - self._failed_at >= self._again_seconds:
            await self._guard(self._start_again())

    async def end(self) -> None:
        """An orderly stop."""
        if self.reconciler is not None:
            await self._guard(self.reconciler.end())

    async def close(self) -> None:
        """Let go of its nodes."""
        if self._begun is not None:
            await self._begun.close()

    async def _start_again(self) -> None:
        await self.close()
        await self.prepare()
        await self.begin()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._group.create_task(self._guard(coroutine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (StoreUnavailable, SourceUnreadable):
            raise
        except Exception:  # a defect must be seen, and must neither end this source's reconciliation nor another's
            self._fail()
            log.exception("source_failed", source=self.name, again_in_seconds=self._again_seconds)

    def _fail(self) -> None:
        now = self._seconds()
        soon = now - self._failed_at < 2 * MAX_RETRY_DELAY_SECONDS
        self._again_seconds = min(MAX_RETRY_DELAY_SECONDS, 2 * self._again_seconds) if soon else RETRY_DELAY_SECONDS
        self._failed_at = now
        self._works = False
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

"""Watches whether the ledger went back, as a fail-over can make it, and has this instance learn it again where it did.

An instance that commits finds out by that; one that only answers does here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger

log = structlog.get_logger()

LOOK_SECONDS = 1.0


class WentBackWatch:
    """`forget` is called first wherever something is kept in memory, `announce` puts the instance on record again."""

    def __init__(
        self, ledger: Ledger, forget: Sequence[Callable[[], None]], announce: Callable[[], Awaitable[None]]
    ) -> None:
        self._ledger = ledger
        self._forget = forget
        self._announce = announce
        self._lineage = ledger.lineage
        self._task: asyncio.Task[None] | None = None
        self._has_failed = False

    def start(self) -> None:
        """Begin to look, once a second."""
        self._task = asyncio.create_task(self._run(), name="went back")

    async def stop(self) -> None:
        """Look no more."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass
            except Exception:  # a defect must be seen, once, and must not end the watch
                if not self._has_failed:
                    self._has_failed = True
                    log.exception("went_back_watch_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. Raises StoreUnavailable; what is left to be done is done the next time."""
        lineage = await asyncio.to_thread(self._ledger.look)
        if lineage == self._lineage:
            return
        for forget in self._forget:
            forget()
        await self._announce()
        self._lineage = lineage

"""What figures are made of, read from the database now and then: however often it is asked for, it costs little."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from ledger.errors import LedgerError

log = structlog.get_logger()

FRESH_SECONDS = 2.0
"""What was read stands for so long at least, …"""
COST = 50.0
"""… and for so many times as long as reading took: no more than a fiftieth of a session is spent on it."""
PATIENCE_SECONDS = 1.0
"""So long a reading is waited for unless said otherwise; it goes on beyond that, and only one at a time."""

T = TypeVar("T")


class Kept(Generic[T]):
    """What `read` gives. Of one event loop."""

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float | None = None,
    ) -> None:
        self._read = read
        self._clock = clock
        self._patience_seconds = PATIENCE_SECONDS if patience_seconds is None else patience_seconds
        self._due_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._has_failed = False
        self.value: T | None = None
        """As it was read last; None where the last reading failed, or there was none yet."""

    @property
    def is_late(self) -> bool:
        """Whether a reading has not come to its end, so that `value` may be of long ago."""
        return self._reading is not None

    def forget(self) -> None:
        """What was read is of something else."""
        self.value, self._due_at = None, float("-inf")

    async def refresh(self) -> None:
        """Read anew where that is due."""
        if self._reading is None and self._clock() >= self._due_at:
            self._reading = asyncio.create_task(self._read_once())
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=self._patience_seconds)

    async def _read_once(self) -> None:
        began = self._clock()
        try:
            self.value = await self._read()
        except LedgerError:
            self.value = None
        except Exception:  # a defect must be seen, once, and must keep nobody from the other figures
            self.value = None
            if not self._has_failed:
                self._has_failed = True
                log.exception("figures_not_read")
        finally:
            now = self._clock()
            self._due_at = now + max(FRESH_SECONDS, COST * (now - began))
            self._reading = None

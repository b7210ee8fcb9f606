"""A value of the database that is read again every second at most, and stays as it was last read while that is away."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ledger.errors import StoreUnavailable

FRESH_SECONDS = 1.0
"""What another process has changed is known after so long at the latest."""

T = TypeVar("T")


class Fresh(Generic[T]):
    """What `load` gives, called in a thread."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._value: T | None = None
        self._read_at = -math.inf
        self._reading = asyncio.Lock()

    async def get(self) -> T:
        """The value. Raises StoreUnavailable where it was never read."""
        if self._value is None or time.monotonic() - self._read_at > FRESH_SECONDS:
            await self._refresh()
        assert self._value is not None
        return self._value

    def forget(self) -> None:
        """What was read no longer holds: it is read again when it is next asked for."""
        self._read_at = -math.inf

    async def _refresh(self) -> None:
        async with self._reading:
            if self._value is not None and time.monotonic() - self._read_at <= FRESH_SECONDS:
                return
            try:
                self._value = await asyncio.to_thread(self._load)
            except StoreUnavailable:
                if self._value is None:
                    raise
            self._read_at = time.monotonic()

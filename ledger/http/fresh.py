"""A value of the database that is read again every second at most, and stays as it was last read while that is away."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ledger.errors import StoreUnavailable

FRESH_SECONDS = 1.0
"""What another process has changed is known after so long at the latest."""
RELOAD_SECONDS = 1.0
"""So long it is waited for where there is an older value: a database that hangs says neither yes nor no."""

T = TypeVar("T")


class Fresh(Generic[T]):
    """What `load` gives, called in a thread."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._value: T | None = None
        self._read_at = -math.inf
        self._reading: asyncio.Task[T] | None = None
        """The last reload, perhaps under way: there is one at a time."""
        self._began_at = -math.inf

    async def get(self) -> T:
        """The value. Raises StoreUnavailable where it was never read."""
        now = time.monotonic()
        if self._value is not None and now - self._read_at <= FRESH_SECONDS:
            return self._value
        if self._reading is None or self._reading.done():
            self._reading, self._began_at = asyncio.create_task(self._read()), now
        reading = self._reading
        if self._value is not None:
            await asyncio.wait({reading}, timeout=max(0.0, self._began_at + RELOAD_SECONDS - now))
            if not reading.done():
                return self._value
        # Whoever asks no longer leaves it to the others who do.
        return await asyncio.shield(reading)

    def forget(self) -> None:
        """What was read no longer holds, or is being read: it is read again when it is next asked for."""
        self._read_at = -math.inf
        self._reading = None

    async def _read(self) -> T:
        try:
            value = await asyncio.to_thread(self._load)
        except StoreUnavailable:
            if self._value is None:
                raise
            value = self._value
        if self._reading is asyncio.current_task():
            self._value, self._read_at = value, time.monotonic()
        return value

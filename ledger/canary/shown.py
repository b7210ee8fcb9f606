"""What a stream tells of a canary: an app that watches it, over the front, as any other does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ledger.client import AsyncClient
from ledger.client.errors import ClientError
from ledger.client.values import Presence, Ready

Sign = Callable[[str], Awaitable[str]]
"""A stream token for a user. Raises StoreUnavailable."""


class CanaryStreams:
    """Streams at the front's address."""

    def __init__(self, url: str, sign: Sign) -> None:
        self._url = url
        self._sign = sign

    @asynccontextmanager
    async def watching(self, uid: str) -> AsyncIterator["Watching"]:
        """What is told of a user meanwhile. Raises StoreUnavailable."""
        async with AsyncClient(self._url, await self._sign(uid)) as client:
            watching = Watching(client, uid)
            task = asyncio.create_task(watching.follow(), name="canary stream")
            try:
                yield watching
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


class Watching:
    """One user's stream."""

    def __init__(self, client: AsyncClient, uid: str) -> None:
        self._client = client
        self._uid = uid
        self._told: list[tuple[int, float]] = []
        self._is_open = False
        self._changed = asyncio.Event()
        self.error: str | None = None
        """Why there is no stream, and will be none."""

    async def follow(self) -> None:
        """Take what is told, until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            async for told in self._client.follow([self._uid]):
                match told.said:
                    case Ready():
                        self._is_open = True
                    case Presence() as presence:
                        self._told.append((presence.as_of.position, loop.time()))
                self._changed.set()
        except ClientError as error:
            self.error = str(error)
            self._changed.set()

    async def opened(self, seconds: float) -> bool:
        """Whether it is open, waited for so long."""
        return await self._wait(seconds, lambda: self._is_open or None) is not None

    async def told(self, position: int, seconds: float) -> float | None:
        """When the user as of that position was told, or a later one, by the event loop's clock."""
        return await self._wait(seconds, lambda: next((at for told, at in self._told if told >= position), None))

    async def _wait(self, seconds: float, look: Callable[[], float | None]) -> float | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while look() is None and self.error is None:
                    self._changed.clear()
                    await self._changed.wait()
        return look()

"""Streams for programs without asyncio: an event loop in a thread of its own, and what is watched over it."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Generator, Iterator
from typing import Any, Self, TypeAlias, TypeVar

from ledger.client.asynchronous import AsyncClient
from ledger.client.closing import Closing
from ledger.client.values import Gone, Presence
from ledger.client.watching import Watch as AsyncWatch

T = TypeVar("T")
Presences: TypeAlias = list[Presence]


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="presence-ledger client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns or raises."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupt of the wait too: what is done already is not changed by it
            future.cancel()
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """The items of an asynchronous iterator, each when it is there."""
        try:
            while (item := self.run(_next(items))) is not None:
                yield item
        finally:
            if not self._loop.is_closed():
                self.run(_closed(items))

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Watch(Closing):
    """Some users, or a list, as they are shown: `ledger.client.AsyncWatch` without asyncio."""

    def __init__(self, watch: AsyncWatch, thread: LoopThread) -> None:
        self._watch = watch
        self._thread = thread

    @property
    def stale(self) -> bool:
        """Whether the stream is away, so that what is known may be out of date."""
        return self._watch.stale

    def get(self, uid: str) -> Presence | None:
        """What is known of a user, without asking; None before the first answer, and of one who is not watched here."""
        return self._watch.get(uid)

    @property
    def presences(self) -> Presences:
        """What is known of all of them."""
        return self._thread.run(_presences(self._watch))

    def ready(self, timeout_seconds: float | None = None) -> Self:
        """Wait until all of them are known and right. Raises ClientError where they cannot be watched, TimedOut."""
        self._thread.run(self._watch.ready(timeout_seconds))
        return self

    def changes(self) -> Iterator[Presence | Gone]:
        """The same as iterating, with Gone for a user who left the list."""
        return self._thread.iterate(self._watch.changes())

    def __iter__(self) -> Iterator[Presence]:
        return self._thread.iterate(aiter(self._watch))

    def close(self) -> None:
        """Watch them no more; who iterates comes to an end. Any thread may call it."""
        self._thread.run(self._watch.close())


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    while True:
        try:
            await items.aclose()
            return
        except RuntimeError:
            # It still runs, since its wait was interrupted a moment ago.
            await asyncio.sleep(0.01)


async def _presences(watch: AsyncWatch) -> Presences:
    return watch.presences


async def watch(client: AsyncClient, uids: Collection[str] | None, name: str | None) -> AsyncWatch:
    """Begin a watch, within the loop."""
    return client.watch(uids, list=name)

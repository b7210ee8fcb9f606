"""Watches that share one stream: what each is told, and how the stream follows what they ask for together."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing, suppress
from typing import Self

from ledger.client import calls
from ledger.client.cache import Cache
from ledger.client.closing import AsyncClosing
from ledger.client.errors import ClientError, TimedOut, is_lasting
from ledger.client.follower import Follower
from ledger.client.values import Disconnected, Gone, Presence, Resumed, Said

GATHER_SECONDS = 0.02
"""Watches that begin within so long of each other share the opening of the stream."""

Query = Callable[[Sequence[str]], Awaitable[Sequence[Presence]]]


class Watch(AsyncClosing):
    """Some users, or a list, as they are shown, kept right as long as it is open.

    `async for presence in watch` gives each user's presence as it is at first, and from then on each that is another;
    of a user who changes faster than they are taken, the latest. `get` and `presences` say what is known without
    asking. While the stream is away they are `stale`.
    """

    def __init__(self, feed: "SharedFeed", uids: frozenset[str] | None) -> None:
        self.uids = uids
        """None: a list's members, whoever they are."""
        self._feed = feed
        self._waiting: OrderedDict[str, Presence | Gone] = OrderedDict()
        self._filled = asyncio.Event()
        self._failed: ClientError | None = None
        self._is_closed = False

    @property
    def stale(self) -> bool:
        """Whether the stream is away, so that what is known may be out of date."""
        return not self._feed.cache.live

    def get(self, uid: str) -> Presence | None:
        """What is known of a user; None before the first answer, and of a user who is not watched here."""
        return self._feed.cache.get(uid) if self._has(uid) else None

    @property
    def presences(self) -> list[Presence]:
        """What is known of all of them."""
        return [each for each in self._feed.cache.presences if self._has(each.uid)]

    async def ready(self, timeout_seconds: float | None = None) -> Self:
        """Wait until all of them are known and right. Raises ClientError where they cannot be watched, TimedOut."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._feed.until_right(self)
        except TimeoutError as error:
            last = self._feed.broken
            raise TimedOut(f"not known after {timeout_seconds:g} s{f': {last}' if last else ''}") from error
        if self._failed is not None:
            raise self._failed
        return self

    async def changes(self) -> AsyncGenerator[Presence | Gone, None]:
        """The same as iterating, with Gone for a user who left the list."""
        while True:
            while self._waiting:
                yield self._waiting.popitem(last=False)[1]
            if self._failed is not None:
                raise self._failed
            if self._is_closed:
                return
            self._filled.clear()
            await self._filled.wait()

    async def __aiter__(self) -> AsyncGenerator[Presence, None]:
        async with aclosing(self.changes()) as changes:
            async for change in changes:
                if isinstance(change, Presence):
                    yield change

    async def close(self) -> None:
        """Watch them no more."""
        if not self._is_closed:
            self._is_closed = True
            self._filled.set()
            await self._feed.remove(self)

    def put(self, change: Presence | Gone) -> None:
        """Have a change taken; newer replaces older."""
        if self._has(change.uid):
            self._waiting.pop(change.uid, None)
            self._waiting[change.uid] = change
            self._filled.set()

    def fail(self, error: ClientError) -> None:
        """Nothing more will come."""
        self._failed = error
        self._filled.set()

    def _has(self, uid: str) -> bool:
        return self.uids is None or uid in self.uids


class SharedFeed:
    """One stream for all watches of users, or of one list.

    Users who are added are asked about once; then the stream is opened again for all of them from where it was, so that
    nobody is told of twice. Users who are no longer wanted leave it with the next opening.
    """

    def __init__(self, follower: Follower, query: Query, name: str | None = None) -> None:
        self.cache = Cache()
        self._follower = follower
        self._query = query
        self._name = name
        self._watches: set[Watch] = set()
        self._wanted: Counter[str] = Counter()
        self._streamed: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        """Somebody is wanted of whom the stream does not tell."""
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.broken: Exception | None = None
        """Why the stream is away, where that is known."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody watches."""
        return not self._watches

    def add(self, uids: Collection[str] | None) -> Watch:
        """Begin to watch these users, or all of the list. Raises Invalid where they are too many together."""
        watch = Watch(self, None if uids is None else frozenset(uids))
        calls.check_number(self._wanted.keys() | (watch.uids or ()))
        self._watches.add(watch)
        self._wanted.update(watch.uids or ())
        for presence in watch.presences:
            watch.put(presence)
        if not self._streamed.issuperset(watch.uids or ()):
            self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return watch

    async def remove(self, watch: Watch) -> None:
        """A watch has been closed."""
        if watch not in self._watches:
            return
        self._watches.discard(watch)
        self._wanted.subtract(watch.uids or ())
        self._wanted += Counter()
        if self.is_idle:
            await self.close()
        async with self._moved:
            self._moved.notify_all()

    async def close(self) -> None:
        """End the stream."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.cache = Cache()
        self._streamed = frozenset()
        self._follower.cursor = None

    async def until_right(self, watch: Watch) -> None:
        """Wait until all whom it watches are known and right, or it has failed."""

        def over() -> bool:
            if watch not in self._watches:
                return True
            known = all(self.cache.is_right(uid) for uid in watch.uids or ())
            return self.cache.live and known

        async with self._moved:
            await self._moved.wait_for(over)

    async def _run(self) -> None:
        try:
            while True:
                await self._gather()
                reading = asyncio.create_task(self._read())
                changing = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({reading, changing}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    reading.cancel()
                    changing.cancel()
                await asyncio.wait({reading})
                if not reading.cancelled():
                    reading.result()
        except ClientError as error:
            await self._fail(self._watches, error)

    async def _gather(self) -> None:
        """Whom the stream is to tell of from now on; those who are new are asked about, unless it begins anyway."""
        if self._name is not None:
            self._changed.clear()
            return
        await asyncio.sleep(GATHER_SECONDS)
        self._changed.clear()
        self.cache.forget(self._streamed - self._wanted.keys())
        if self._follower.cursor is not None and (new := self.cache.unknown_of(self._wanted)):
            await self._ask(new)
        self._streamed = frozenset(self._wanted)

    async def _ask(self, new: Sequence[str]) -> None:
        try:
            answers = await self._query(new)
        except ClientError as error:
            if is_lasting(error):
                # Those who watch others go on.
                await self._fail({watch for watch in self._watches if not (watch.uids or set()).isdisjoint(new)}, error)
            else:
                # Begin anew: then the stream itself tells of all of them.
                self._follower.cursor = None
        else:
            if any(each.stale for each in answers):
                # From the service's memory, which may be of before the cursor.
                self._follower.cursor = None
                return
            for presence in self.cache.fill(answers):
                self._tell(presence)

    async def _read(self) -> None:
        call = calls.stream(None if self._name is not None else sorted(self._streamed), self._name, None)
        async with aclosing(self._follower.follow(call)) as following:
            async for told in following:
                await self._take(told.said)

    async def _take(self, said: Said) -> None:
        if isinstance(said, (Disconnected, Resumed)):
            self.broken = said.error if isinstance(said, Disconnected) else None
        is_news = self.cache.apply(said)
        if is_news and isinstance(said, (Presence, Gone)):
            self._tell(said)
        async with self._moved:
            self._moved.notify_all()

    def _tell(self, change: Presence | Gone) -> None:
        for watch in self._watches:
            watch.put(change)

    async def _fail(self, failed: Collection[Watch], error: ClientError) -> None:
        for watch in list(failed):
            self._watches.discard(watch)
            self._wanted.subtract(watch.uids or ())
            watch.fail(error)
        self._wanted += Counter()
        if self.is_idle:
            self.cache.live = False
            self._streamed = frozenset()
        async with self._moved:
            self._moved.notify_all()

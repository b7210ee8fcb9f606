"""The hub: what a stream of any kind is told first, and how it is opened, changed and ended."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes import cursor as cursors
from ledger.domain.observation import Instant
from ledger.front import frames
from ledger.front.audience import Audience
from ledger.front.everybody import StreamsOfEverybody
from ledger.front.frames import Frame
from ledger.front.listed import ListStreams
from ledger.front.named import NamedStreams
from ledger.front.telling import Telling
from ledger.front.watcher import Watcher


class Hub:
    """All watchers of this process, and the feed that they are told from."""

    def __init__(
        self,
        connect: Callable[[], Connection[TupleRow]],
        epoch: Callable[[Connection[TupleRow]], str],
        now: Callable[[], Instant],
    ) -> None:
        self._telling = Telling(connect, epoch, now)
        self._named = NamedStreams(self._telling)
        self._everybody = StreamsOfEverybody(self._telling)
        self._lists = ListStreams(self._telling)

    def start(self) -> None:
        """Begin to follow the ledger."""
        self._telling.runner.start()

    async def stop(self) -> None:
        """Tell nothing more."""
        for watcher in self._telling.audience:
            watcher.end("stopping")
        await self._telling.runner.stop()

    @property
    def watchers(self) -> int:
        """How many there are."""
        return len(self._telling.audience)

    @property
    def audience(self) -> Audience:
        """Who watches whom."""
        return self._telling.audience

    @property
    def progress(self) -> bytes:
        """What moves the cursor of a reader whose queue is empty."""
        return frames.progress(self._telling.cursor())

    def heartbeat(self) -> Frame | None:
        """What is told to those who have been told everything; None while the feed is catching up."""
        telling = self._telling
        return frames.heartbeat(telling.settled, telling.runner.epoch) if telling.settled >= telling.told else None

    async def open(self, watcher: Watcher, last: str | None, *, snapshot: bool) -> AsyncGenerator[list[Frame], None]:
        """What a watcher is told first, part by part; from the first part on, changes wait in its queue.

        `last` is the cursor that its reader came with. Raises before the first part StoreUnavailable, and Problem where
        there is no such list.
        """
        cursor = None if last is None else cursors.parse(last)
        why_not = "fresh" if last is None else "epoch"
        async for part in self._kind(watcher).open(watcher, cursor, why_not, snapshot=snapshot):
            yield part

    async def add(self, watcher: Watcher, uids: Collection[str]) -> None:
        """Watch more users, who are told of at once. Raises StoreUnavailable."""
        await self._named.add(watcher, uids)

    def remove(self, watcher: Watcher, uids: Iterable[str]) -> None:
        """Watch these users no more."""
        self._named.remove(watcher, uids)

    async def resume(self, watcher: Watcher, last: str) -> None:
        """Have a watcher who is being told already told what has changed since a cursor. Raises StoreUnavailable."""
        await self._kind(watcher).resume(watcher, cursors.parse(last))

    def close(self, watcher: Watcher) -> None:
        """A stream has ended."""
        self._lists.close(watcher)

    def _kind(self, watcher: Watcher) -> NamedStreams | StreamsOfEverybody | ListStreams:
        if watcher.list is not None:
            return self._lists
        return self._everybody if watcher.uids is None else self._named

"""The open streams: how many there may be, whose keys and tokens still hold, and how they end."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ledger.errors import StoreUnavailable
from ledger.front.access import Access, Viewer
from ledger.front.hub import Hub
from ledger.front.watcher import Watcher
from ledger.http.outages import Outages

HEARTBEAT_SECONDS = 15.0
CHECK_SECONDS = 1.0

RETRY_SECONDS = (1.0, 4.0)
"""When a reader whose stream breaks comes again, at random, so that not all come at once."""
STREAMS_A_SECOND = 500
"""Where there are many, they take longer: so many come in a second."""
LATER_SECONDS = 30.0
"""When one comes again for whom there was no room."""


class TooMany(Exception):
    """There are as many streams as there may be."""


class Streams:
    """All streams of this process."""

    def __init__(self, hub: Hub, access: Access, most: int) -> None:
        self.hub = hub
        self.access = access
        self.outages = Outages.none_yet()
        self._most = most
        self._open: dict[Watcher, Viewer] = {}
        self._checking: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def number(self) -> int:
        """How many are open."""
        return len(self._open)

    def retry_seconds(self) -> float:
        """When a reader is to come again whose stream ends."""
        soonest, latest = RETRY_SECONDS
        latest = max(latest, soonest + self.number / STREAMS_A_SECOND)
        return random.uniform(soonest, latest)  # noqa: S311  (spread over time, and no secret)

    def start(self) -> None:
        """Begin to follow the ledger."""
        self.hub.start()
        self._checking = asyncio.create_task(self._check())

    async def stop(self) -> None:
        """End all streams; their readers are told when to come again."""
        self._stopping = True
        if self._checking is not None:
            self._checking.cancel()
        await self.hub.stop()

    @contextmanager
    def opened(self, viewer: Viewer, new: Callable[[], Watcher]) -> Iterator[Watcher]:
        """A watcher as long as its stream is open. Raises TooMany."""
        if self._stopping or len(self._open) >= self._most:
            raise TooMany
        watcher = new()
        self._open[watcher] = viewer
        try:
            yield watcher
        finally:
            del self._open[watcher]
            self.hub.close(watcher)

    async def _check(self) -> None:
        """End the streams of keys and tokens that no longer hold."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            by_viewer: defaultdict[Viewer, list[Watcher]] = defaultdict(list)
            for watcher, viewer in self._open.items():
                by_viewer[viewer].append(watcher)
            for viewer, watchers in by_viewer.items():
                try:
                    ended = await self.access.ended(viewer)
                except StoreUnavailable:
                    continue
                for watcher in watchers if ended else ():
                    watcher.end(ended or "revoked")

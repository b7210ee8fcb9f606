"""A watcher: what one stream has still to be told, in order; of one user newer replaces older, and the last is told."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from ledger.front.asked import Asked
from ledger.front.frames import Frame
from projections.models.shown import AnswerPoint

MAX_WAITING = 50_000
"""Users of whom a watcher has still to be told. Whoever watches everybody and reads no faster is sent to begin anew."""


class Watcher:
    """One stream's queue. It watches users by their uids, or those on a list; without either everybody."""

    def __init__(self, uids: set[str] | None, watch_list: str | None = None) -> None:
        self.uids = uids
        self.list = watch_list
        self.over: str | None = None
        """Why nothing more is told: the stream is to be closed, and its reader comes again."""
        self.closed = False
        """Whether its stream has ended: it is not to be registered any more."""
        self._waiting: OrderedDict[tuple[str, str], tuple[AnswerPoint, Frame]] = OrderedDict()
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How much has still to be told."""
        return len(self._waiting)

    def put(self, kind: str, name: str, made: AnswerPoint, frame: Frame) -> None:
        """Have a frame told; what waits of the same name is no longer of interest."""
        if self.over is not None:
            return
        key = (kind, name)
        self._waiting.pop(key, None)
        self._waiting[key] = (made, frame)
        if len(self._waiting) > MAX_WAITING:
            self.end("slow")
        self._filled.set()

    def drop(self, uids: Iterable[str], made: AnswerPoint) -> None:
        """These users have been told of as of that moment: what waits of them from before it is over."""
        for uid in uids:
            waiting = self._waiting.get(("presence", uid))
            if waiting is not None and waiting[0] <= made:
                del self._waiting["presence", uid]

    def forget(self, uids: Iterable[str]) -> None:
        """Whatever waits of these users is of no interest any more."""
        for uid in uids:
            self._waiting.pop(("presence", uid), None)

    def end(self, reason: str) -> None:
        """Tell nothing more."""
        self.over = reason
        self._waiting.clear()
        self._filled.set()
        self._taken.set()

    def take(self) -> list[Frame]:
        """All that waits."""
        told = [frame for _, frame in self._waiting.values()]
        self._waiting.clear()
        self._filled.clear()
        self._taken.set()
        return told

    async def room(self, most: int) -> None:
        """Until no more than so much waits, or the end has come."""
        while len(self._waiting) > most and self.over is None:
            self._taken.clear()
            await self._taken.wait()

    async def wait(self, seconds: float) -> None:
        """Until something waits, or the end has come; so long at most."""
        if self._waiting or self.over is not None:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._filled.wait()
        except TimeoutError:
            pass


def new_watcher(asked: Asked) -> Watcher:
    """One of whom a stream asks about."""
    return Watcher(None if asked.uids is None else set(asked.uids), asked.list)

"""A watcher: what one stream has still to be told, in order; of one user newer replaces older, and the last is told."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ledger.front.asked import StreamRequest
from ledger.front.frames import Frame
from projections.models.shown import AnswerPoint

MAX_WAITING = 50_000
"""Users of whom a watcher has still to be told. Whoever watches everybody and reads no faster is sent to begin anew."""


Waiting: TypeAlias = dict[tuple[str, str], tuple[AnswerPoint, Frame]]
"""Frames by kind and name, in the order in which they are to be told, each with the moment that it is as of."""


class Watcher:
    """One stream's queue. It watches users by their uids, or those on a list; without either everybody."""

    def __init__(self, uids: set[str] | None, watch_list: str | None = None) -> None:
        self.uids = uids
        self.list = watch_list
        self.over: str | None = None
        """Why nothing more is told: the stream is to be closed, and its reader comes again."""
        self.closed = False
        """Whether its stream has ended: it is not to be registered any more."""
        self._waiting: Waiting = {}
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How much has still to be told."""
        return len(self._waiting)

    def put(self, kind: str, name: str, made: AnswerPoint, frame: Frame) -> None:
        """Have a frame told; what waits of the same name is no longer of interest."""
        self.put_all({(kind, name): (made, frame)})

    def put_all(self, told: Mapping[tuple[str, str], tuple[AnswerPoint, Frame]]) -> None:
        """Have frames told; what waits of the same names is no longer of interest."""
        if self.over is not None:
            return
        waiting = self._waiting
        if waiting:
            # What is newer has its place at the end: its cursor says that everything before it has been told.
            for key in told:
                waiting.pop(key, None)
        waiting.update(told)
        if len(waiting) > MAX_WAITING:
            self.end("slow")
        if not self._filled.is_set():
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

    async def wait(self) -> None:
        """Until something waits, the end has come, or it is woken."""
        if not self._waiting and self.over is None:
            await self._filled.wait()

    def wake(self) -> None:
        """There is something to do for this stream though nothing may wait."""
        self._filled.set()


def new_watcher(asked: StreamRequest) -> Watcher:
    """One of whom a stream asks about."""
    return Watcher(None if asked.uids is None else set(asked.uids), asked.list)

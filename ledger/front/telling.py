"""What all streams of a process are told from: the feed, the audience, and up to where it has been told."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.cursor import Cursor
from ledger.changes.feed import ChangeFeed
from ledger.changes.runner import FeedRunner, Sink
from ledger.changes.step import Answers, Missed, Step
from ledger.domain.observation import Instant
from ledger.front import frames
from ledger.front.audience import Audience
from ledger.front.frames import Frame
from ledger.front.watcher import Waiting, Watcher
from projections.models.shown import AnswerPoint

T = TypeVar("T")

PAGE_USERS = 1_000
"""Told of at a time, while steps go on in between."""

RESUME_WAITING = 2 * PAGE_USERS
"""A reader who goes on from a cursor on the way is told a page more once no more than this waits."""

NOWHERE = AnswerPoint(0, 0)


class StepReads(NamedTuple):
    """What is read with each step besides the feed, and what is to be done when the ledger is another one."""

    read: Callable[[ChangeFeed, Connection[TupleRow]], Callable[[], None] | None]
    restart: Callable[[], None]


class Telling:
    """The feed of this process and everybody who is told from it."""

    def __init__(
        self,
        connect: Callable[[], Connection[TupleRow]],
        epoch: Callable[[Connection[TupleRow]], str],
        now: Callable[[], Instant],
    ) -> None:
        sink = Sink(self._publish, self._restart, self._look_beside)
        self.runner = FeedRunner(connect, epoch, now, sink)
        self.audience = Audience(self.runner.tell)
        self.beside = StepReads(lambda *_: None, lambda: None)
        self.told = NOWHERE
        """Up to here everybody has been told everything, or it waits in their queues."""
        self.settled = NOWHERE
        """The last moment as of which whatever has been told is, all of it."""
        self.lists_told = 0
        """The number of the change of lists up to which streams of lists have been told; 0 where there are none."""
        self._stepped = asyncio.Condition()

    @property
    def nowhere(self) -> Cursor:
        """Of whoever has been told nothing yet that they could go on from."""
        return Cursor(self.runner.epoch, NOWHERE.position, NOWHERE.at)

    def cursor(self, made: AnswerPoint | None = None) -> Cursor:
        """Of whoever has been told everything up to that moment; without one, up to where everybody has been."""
        at = self.told if made is None else made
        return Cursor(self.runner.epoch, at.position, at.at, self.lists_told)

    def since(self, cursor: Cursor | None) -> AnswerPoint | None:
        """Up to where a reader has been told, in this very ledger; None where their cursor is of another one."""
        if cursor is None or cursor.epoch != self.runner.epoch:
            return None
        return AnswerPoint(cursor.at, cursor.position)

    async def ask(self, ask: Callable[[ChangeFeed, Connection[TupleRow]], T]) -> T:
        """What the feed says. Raises StoreUnavailable."""
        return await self.runner.ask(ask, lambda _: None)

    async def settle(self) -> AnswerPoint:
        """Wait until whatever was read by now has been told or waits in a queue -> as of when that is."""
        # A question wakes the feed, which makes a step first.
        reached = await self.ask(lambda feed, _: feed.told)
        async with self._stepped:
            await self._stepped.wait_for(lambda: self.settled >= reached)
        return self.settled

    def put_answers(self, watcher: Watcher, answers: Answers, uids: Iterable[str] | None = None) -> None:
        """Have a watcher told what is answered of its users, or of some of them."""
        cursor, watched = self.cursor(), self.audience.uids_of(watcher)
        only = None if uids is None else set(uids)
        for uid, body in answers.bodies:
            if (watched is None or uid in watched) and (only is None or uid in only):
                watcher.put("presence", uid, answers.made, frames.presence(body, answers.made, cursor))

    def put_changes(self, watcher: Watcher, missed: Missed) -> None:
        """Have a watcher told what it has missed of its users; of sources, one that watches everybody."""
        cursor, watched = self.cursor(), self.audience.uids_of(watcher)
        for source in missed.sources if watched is None else ():
            watcher.put("source", source.source, missed.made, frames.source(source, cursor))
        for change in missed.changes:
            if watched is None or change.uid in watched:
                watcher.put("presence", change.uid, missed.made, frames.change(change, missed.made, cursor))

    def _look_beside(self, feed: ChangeFeed, connection: Connection[TupleRow]) -> Callable[[], None] | None:
        return self.beside.read(feed, connection)

    async def _publish(self, step: Step) -> None:
        self._tell(step)
        self.told = step.told_everybody
        if not step.more:
            self.settled = step.told_everybody
        async with self._stepped:
            self._stepped.notify_all()

    def _tell(self, step: Step) -> None:
        """One frame of each change for all who are told of it, and all of a step at once for each of them."""
        made, cursor = step.made, self.cursor()
        to_everybody: Waiting = {}
        to_others: defaultdict[Watcher, Waiting] = defaultdict(dict)
        for change in step.changes:
            watchers = self.audience.of_user(change.uid)
            is_for_everybody = self.audience.everybody and change.uid not in step.hidden
            if watchers or is_for_everybody:
                key = ("presence", change.uid)
                told = made, frames.change(change, made, cursor)
                if is_for_everybody:
                    to_everybody[key] = told
                for watcher in watchers:
                    to_others[watcher][key] = told
        if self.audience.everybody:
            for change in step.swept:
                if change.uid not in step.hidden:
                    to_everybody["presence", change.uid] = made, frames.change(change, made, cursor)
            for source in step.sources:
                to_everybody["source", source.source] = made, frames.source(source, cursor)
        for watcher in self.audience.everybody:
            watcher.put_all(to_everybody)
        for watcher, waiting in to_others.items():
            watcher.put_all(waiting)

    def _restart(self) -> None:
        for watcher in self.audience:
            watcher.end("epoch")
        self.audience.forget_lists()
        self.told = self.settled = NOWHERE
        self.lists_told = 0
        self.beside.restart()


def without_cursors(told: Iterable[Frame]) -> list[Frame]:
    """The same for whoever is still to be told what came before."""
    return [frame.without_cursor for frame in told]


def changes_since(
    feed: ChangeFeed, connection: Connection[TupleRow], uids: Sequence[str], since: AnswerPoint
) -> Missed:
    """In the feed's thread: what has changed of users since then."""
    return feed.missed(connection, uids, since)

"""The hub: who watches whom, what each is told first, and from then on whatever changes."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes import cursor as cursors
from ledger.changes.cursor import Cursor
from ledger.changes.feed import ChangeFeed
from ledger.changes.runner import FeedRunner, Sink
from ledger.changes.step import Answers, Change, Missed, Page, Step
from ledger.domain.observation import Instant
from ledger.front import frames
from ledger.front.frames import Frame
from ledger.front.watcher import Watcher
from projections.models.shown import AnswerPoint

T = TypeVar("T")

MAX_MISSED_EVENTS = 200_000
"""So many events back, whoever watches everybody is told what has changed."""

PAGE_USERS = 1_000
"""Told of at a time, while steps go on in between."""

NOWHERE = AnswerPoint(0, 0)


RESUME_WAITING = 2 * PAGE_USERS
"""A reader who goes on from a cursor on the way is told a page more once no more than this waits."""


class _Named(NamedTuple):
    """What the feed says of named users who begin to be watched."""

    feed: ChangeFeed
    answers: Answers
    missed: Missed | None


class Hub:
    """All watchers of this process, and the feed that they are told from."""

    def __init__(
        self,
        connect: Callable[[], Connection[TupleRow]],
        epoch: Callable[[Connection[TupleRow]], str],
        now: Callable[[], Instant],
    ) -> None:
        self._runner = FeedRunner(connect, epoch, now, Sink(self._publish, self._restart))
        self._feeds: dict[Watcher, ChangeFeed] = {}
        """Of each watcher the feed that it began with: after a restart there is another one."""
        self._everybody: set[Watcher] = set()
        self._of_user: defaultdict[str, set[Watcher]] = defaultdict(set)
        self._told = NOWHERE
        """Up to here everybody has been told everything, or it waits in their queues."""
        self._settled = NOWHERE
        """The last moment as of which whatever has been told is, all of it."""
        self._stepped = asyncio.Condition()
        self.on_watch: Callable[[Iterable[str]], None] = lambda uids: None
        """Told of users who begin to be watched."""

    def start(self) -> None:
        """Begin to follow the ledger."""
        self._runner.start()

    async def stop(self) -> None:
        """Tell nothing more."""
        for watcher in list(self._feeds):
            watcher.end("stopping")
        await self._runner.stop()

    @property
    def watchers(self) -> int:
        """How many there are."""
        return len(self._feeds)

    @property
    def watched(self) -> Collection[str]:
        """The users who are watched by name."""
        return self._of_user.keys()

    @property
    def progress(self) -> bytes:
        """What moves the cursor of a reader whose queue is empty."""
        return frames.progress(self._cursor(self._told))

    def heartbeat(self) -> Frame | None:
        """What is told to those who have been told everything; None while the feed is catching up."""
        return frames.heartbeat(self._settled, self._runner.epoch) if self._settled >= self._told else None

    async def open(self, watcher: Watcher, last: str | None, *, snapshot: bool) -> AsyncGenerator[list[Frame], None]:
        """What a watcher is told first, part by part; from the first part on, changes wait in its queue.

        `last` is the cursor that its reader came with. Raises StoreUnavailable before the first part.
        """
        cursor = None if last is None else cursors.parse(last)
        opening = self._open_everybody if watcher.uids is None else self._open_named
        async for part in opening(watcher, cursor, "fresh" if last is None else "epoch", snapshot):
            yield part

    async def add(self, watcher: Watcher, uids: Collection[str]) -> None:
        """Watch more users, who are told of at once. Raises StoreUnavailable."""
        assert watcher.uids is not None
        added = sorted(set(uids) - watcher.uids)

        def then(found: _Named) -> None:
            self._register(watcher, added, found.feed)
            self._put_answers(watcher, found.answers)

        if added:
            await self._runner.ask(partial(self._begin_named, added, None), then)

    async def resume(self, watcher: Watcher, last: str) -> None:
        """Have a watcher who is being told already told what has changed since a cursor. Raises StoreUnavailable."""
        cursor = cursors.parse(last)
        if watcher.uids is None:
            await self._resume_everybody(watcher, cursor)
            return
        uids = sorted(watcher.uids)

        def then(found: _Named) -> None:
            made, missed = found.answers.made, found.missed
            watcher.put("resumed", "", made, frames.resumed(made, self._cursor(made), None if missed else "epoch"))
            if missed is None:
                self._put_answers(watcher, found.answers)
            else:
                self._put_changes(watcher, missed)
            watcher.put("ready", "", made, frames.ready(made, self._runner.epoch))

        await self._runner.ask(partial(self._show_named, uids, cursor), then)

    def remove(self, watcher: Watcher, uids: Iterable[str], *, tell: bool = False) -> None:
        """Watch these users no more; `tell` their names, since they are no longer on the list."""
        assert watcher.uids is not None
        removed = [uid for uid in uids if uid in watcher.uids]
        self._unregister(watcher, removed)
        watcher.forget(removed)
        for uid in removed if tell else ():
            watcher.put("gone", uid, self._told, frames.gone(uid, self._cursor(self._told)))

    def close(self, watcher: Watcher) -> None:
        """A stream has ended."""
        watcher.closed = True
        feed = self._feeds.get(watcher)
        if feed is None:
            return
        if watcher.uids is None:
            self._everybody.discard(watcher)
            self._runner.tell(feed, ChangeFeed.unwatch_everybody)
        else:
            self._unregister(watcher, list(watcher.uids))
        del self._feeds[watcher]

    async def _open_named(
        self, watcher: Watcher, cursor: Cursor | None, why_not: str, snapshot: bool
    ) -> AsyncGenerator[list[Frame], None]:
        uids, watcher.uids = sorted(watcher.uids or ()), set()
        found = await self._runner.ask(
            partial(self._begin_named, uids, cursor), lambda got: self._register(watcher, uids, got.feed)
        )
        made, epoch = found.answers.made, self._runner.epoch
        watcher.drop(uids, made)
        if found.missed is not None and cursor is not None:
            yield [frames.resumed(made, cursor, None)]
            yield [frames.change(each, made, cursor).without_cursor for each in found.missed.changes]
        else:
            # Whoever is cut off within what follows has been told nothing yet that they could go on from.
            nowhere = Cursor(epoch, NOWHERE.position, NOWHERE.at)
            yield [frames.resumed(made, nowhere, why_not)]
            if snapshot:
                yield [frames.presence(body, made, nowhere).without_cursor for _, body in found.answers.bodies]
        yield [frames.ready(made, epoch)]

    def _begin_named(
        self, uids: Sequence[str], cursor: Cursor | None, feed: ChangeFeed, connection: Connection[TupleRow]
    ) -> _Named:
        """In the feed's thread: begin to watch these users, with what has changed of them since a cursor."""
        missed = self._missed_since(uids, cursor, feed, connection)
        return _Named(feed, feed.watch(connection, uids), missed)

    def _show_named(
        self, uids: Sequence[str], cursor: Cursor | None, feed: ChangeFeed, connection: Connection[TupleRow]
    ) -> _Named:
        """In the feed's thread: the same of users who are watched already."""
        missed = self._missed_since(uids, cursor, feed, connection)
        return _Named(feed, feed.answers(connection, uids), missed)

    def _missed_since(
        self, uids: Sequence[str], cursor: Cursor | None, feed: ChangeFeed, connection: Connection[TupleRow]
    ) -> Missed | None:
        since = self._since(cursor)
        if since is None or not feed.is_known(connection, since):
            return None
        return feed.missed(connection, uids, since)

    async def _open_everybody(
        self, watcher: Watcher, cursor: Cursor | None, why_not: str, snapshot: bool
    ) -> AsyncGenerator[list[Frame], None]:
        def then(began: tuple[ChangeFeed, AnswerPoint]) -> None:
            feed, _ = began
            if watcher.closed:
                self._runner.tell(feed, ChangeFeed.unwatch_everybody)
                return
            self._feeds[watcher] = feed
            self._everybody.add(watcher)

        _, made = await self._runner.ask(_begin_everybody, then)
        since, moved, why_not = await self._moved_since(cursor, why_not)
        if cursor is not None and since is not None and moved is not None:
            yield [frames.resumed(made, cursor, None)]
            async for part in self._missed(watcher, moved, since, cursor):
                yield part
        else:
            nowhere = Cursor(self._runner.epoch, NOWHERE.position, NOWHERE.at)
            yield [frames.resumed(made, nowhere, why_not)]
            if snapshot:
                async for part in self._all(watcher, nowhere):
                    yield part
        settled = await self._settle()
        yield [*_without_cursors(watcher.take()), frames.ready(settled, self._runner.epoch)]

    async def _moved_since(
        self, cursor: Cursor | None, why_not: str
    ) -> tuple[AnswerPoint | None, list[str] | None, str]:
        """-> (up to where the reader was told, who may be shown otherwise since, why that is not to be had)"""
        since = self._since(cursor)
        if since is None:
            return None, None, why_not
        known, moved = await self._ask(partial(_users_since, since=since))
        return since, moved, "too_many" if known else "epoch"

    async def _missed(
        self, watcher: Watcher, moved: Sequence[str], since: AnswerPoint, cursor: Cursor
    ) -> AsyncGenerator[list[Frame], None]:
        """What has changed of these users since, page after page, and which sources are dark since."""
        for start in range(0, max(1, len(moved)), PAGE_USERS):
            uids = moved[start : start + PAGE_USERS]
            missed = await self._ask(partial(_changes_since, uids=uids, since=since))
            if start == 0:
                yield [frames.source(each, cursor).without_cursor for each in missed.sources]
            watcher.drop(uids, missed.made)
            told = [frames.change(each, missed.made, cursor).without_cursor for each in missed.changes]
            # Where the walk takes long, what has changed meanwhile does not pile up.
            yield told + _without_cursors(watcher.take())

    async def _resume_everybody(self, watcher: Watcher, cursor: Cursor | None) -> None:
        since, moved, why_not = await self._moved_since(cursor, "epoch")
        recovered = since is not None and moved is not None
        resumed = frames.resumed(self._told, self._cursor(self._told), None if recovered else why_not)
        watcher.put("resumed", "", self._told, resumed)
        if since is not None and moved is not None:
            for start in range(0, max(1, len(moved)), PAGE_USERS):
                ask = partial(_changes_since, uids=moved[start : start + PAGE_USERS], since=since)
                await self._runner.ask(ask, partial(self._put_changes, watcher))
                await watcher.room(RESUME_WAITING)
        settled = await self._settle()
        watcher.put("ready", "", settled, frames.ready(settled, self._runner.epoch))

    async def _all(self, watcher: Watcher, cursor: Cursor) -> AsyncGenerator[list[Frame], None]:
        """Everybody there is, page after page."""
        after: str | None = ""
        while after is not None:
            page = await self._ask(partial(_page, after=after))
            watcher.drop([uid for uid, _ in page.bodies], page.made)
            told = [frames.presence(body, page.made, cursor).without_cursor for _, body in page.bodies]
            yield told + _without_cursors(watcher.take())
            after = page.last

    async def _settle(self) -> AnswerPoint:
        """Wait until whatever was read by now has been told or waits in a queue -> as of when that is."""
        # A question wakes the feed, which makes a step first.
        reached = await self._ask(lambda feed, _: feed.told)
        async with self._stepped:
            await self._stepped.wait_for(lambda: self._settled >= reached)
        return self._settled

    async def _ask(self, ask: Callable[[ChangeFeed, Connection[TupleRow]], T]) -> T:
        return await self._runner.ask(ask, lambda _: None)

    def _since(self, cursor: Cursor | None) -> AnswerPoint | None:
        """Up to where a reader has been told, in this very ledger; None where their cursor is of another one."""
        if cursor is None or cursor.epoch != self._runner.epoch:
            return None
        return AnswerPoint(cursor.at, cursor.position)

    def _put_answers(self, watcher: Watcher, answers: Answers) -> None:
        cursor = self._cursor(self._told)
        for uid, body in answers.bodies:
            if watcher.uids is not None and uid in watcher.uids:
                watcher.put("presence", uid, answers.made, frames.presence(body, answers.made, cursor))

    def _put_changes(self, watcher: Watcher, missed: Missed) -> None:
        cursor = self._cursor(self._told)
        for source in missed.sources if watcher.uids is None else ():
            watcher.put("source", source.source, missed.made, frames.source(source, cursor))
        for change in missed.changes:
            if watcher.uids is None or change.uid in watcher.uids:
                watcher.put("presence", change.uid, missed.made, frames.change(change, missed.made, cursor))

    def _register(self, watcher: Watcher, uids: Sequence[str], feed: ChangeFeed) -> None:
        """The feed watches these users once more for it, which one that has ended, or has them, does not need."""
        assert watcher.uids is not None
        if not watcher.closed:
            self._feeds[watcher] = feed
        spare = [uid for uid in uids if watcher.closed or uid in watcher.uids]
        for uid in uids if not watcher.closed else ():
            watcher.uids.add(uid)
            self._of_user[uid].add(watcher)
        if not watcher.closed:
            self.on_watch(uids)
        if spare:
            self._runner.tell(feed, lambda told: told.unwatch(spare))

    def _unregister(self, watcher: Watcher, uids: Sequence[str]) -> None:
        assert watcher.uids is not None
        for uid in uids:
            watcher.uids.discard(uid)
            self._of_user[uid].discard(watcher)
            if not self._of_user[uid]:
                del self._of_user[uid]
        self._runner.tell(self._feeds[watcher], lambda feed: feed.unwatch(uids))

    async def _publish(self, step: Step) -> None:
        cursor = self._cursor(self._told)
        for each in step.changes:
            named = self._of_user.get(each.uid, ())
            if named or self._everybody:
                _tell(each, step.made, cursor, [*named, *self._everybody])
        for each in step.swept:
            _tell(each, step.made, cursor, self._everybody)
        for source in step.sources:
            frame = frames.source(source, cursor)
            for watcher in self._everybody:
                watcher.put("source", source.source, step.made, frame)
        self._told = step.told_everybody
        if not step.more:
            self._settled = step.told_everybody
        async with self._stepped:
            self._stepped.notify_all()

    def _restart(self) -> None:
        for watcher in list(self._feeds):
            watcher.end("epoch")
        self._told = self._settled = NOWHERE

    def _cursor(self, made: AnswerPoint) -> Cursor:
        return Cursor(self._runner.epoch, made.position, made.at)


def _without_cursors(told: Iterable[Frame]) -> list[Frame]:
    return [frame.without_cursor for frame in told]


def _tell(change: Change, made: AnswerPoint, cursor: Cursor, watchers: Iterable[Watcher]) -> None:
    frame = frames.change(change, made, cursor)
    for watcher in watchers:
        watcher.put("presence", change.uid, made, frame)


def _begin_everybody(feed: ChangeFeed, connection: Connection[TupleRow]) -> tuple[ChangeFeed, AnswerPoint]:
    return feed, feed.watch_everybody(connection)


def _users_since(
    feed: ChangeFeed, connection: Connection[TupleRow], since: AnswerPoint
) -> tuple[bool, list[str] | None]:
    """-> (whether this ledger has been there, who may be shown otherwise since)"""
    if not feed.is_known(connection, since):
        return False, None
    return True, feed.users_since(connection, since, MAX_MISSED_EVENTS)


def _changes_since(
    feed: ChangeFeed, connection: Connection[TupleRow], uids: Sequence[str], since: AnswerPoint
) -> Missed:
    return feed.missed(connection, uids, since)


def _page(feed: ChangeFeed, connection: Connection[TupleRow], after: str) -> Page:
    return feed.page(connection, after, PAGE_USERS)

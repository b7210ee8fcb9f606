"""Streams of a watch list: those on it are walked through page by page, and whoever comes or leaves is told at once."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.cursor import Cursor
from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Answers, Missed
from ledger.front import frames
from ledger.front.audience import WatchedList
from ledger.front.frames import Frame
from ledger.front.telling import PAGE_USERS, RESUME_WAITING, StepReads, Telling, without_cursors
from ledger.front.watcher import Watcher
from ledger.http.problems import Problem
from ledger.working_state import watch_list_record, watch_lists
from ledger.working_state.watch_list_record import MembershipChange
from projections.models.shown import AnswerPoint

MAX_ADDED = 10_000
"""Where more come to a list at once, its streams end: their readers come again, and are told page by page."""


class _Following(NamedTuple):
    """Which lists are streamed, and up to which change they have been told; read by the feed's thread."""

    names: tuple[str, ...]
    number: int


class _Began(NamedTuple):
    """A list that begins to be watched; `since` and `moved` where the reader goes on from a cursor."""

    feed: ChangeFeed
    exists: bool
    made: AnswerPoint
    number: int
    since: AnswerPoint | None
    moved: MembershipChange | None


class _Page(NamedTuple):
    """Some of those on a list, from now on watched once more; `missed` since the reader's cursor."""

    feed: ChangeFeed
    uids: Sequence[str]
    answers: Answers
    missed: Missed | None


class _Changed(NamedTuple):
    """What became of a list; `moved` None: it was deleted. Those who came are watched once more."""

    moved: MembershipChange | None
    answers: Answers


class ListStreams:
    """Those of a process."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._runner = telling.runner
        self._audience = telling.audience
        self._following = _Following((), 0)
        telling.beside = StepReads(self._look, self._follow)

    async def open(
        self, watcher: Watcher, cursor: Cursor | None, why_not: str, *, snapshot: bool
    ) -> AsyncGenerator[list[Frame], None]:
        """What a watcher is told first; `why_not`: why a cursor that is none, or not of ours, brings nothing."""
        began = await self._begin(watcher, cursor)
        if cursor is not None and began.moved is not None:
            yield [frames.resumed(began.made, cursor, None)]
            yield [frames.gone(uid, cursor).without_cursor for uid in began.moved.removed]
        else:
            yield [frames.resumed(began.made, self._telling.nowhere, why_not)]
        nowhere = self._telling.nowhere
        async for page in self._pages(watcher, began.since):
            watcher.drop(page.uids, page.answers.made)
            told = []
            if page.missed is not None:
                told += [frames.change(each, page.missed.made, nowhere) for each in page.missed.changes]
            if snapshot or began.moved is not None:
                told += [frames.presence(body, page.answers.made, nowhere) for _, body in _whole(page, began.moved)]
            # Where the walk takes long, what has changed meanwhile does not pile up.
            yield without_cursors([*told, *watcher.take()])
        settled = await self._telling.settle()
        yield [*without_cursors(watcher.take()), frames.ready(settled, self._telling.cursor(settled))]

    async def resume(self, watcher: Watcher, cursor: Cursor | None) -> None:
        """Have a watcher who is being told already told what has changed since a cursor. Raises StoreUnavailable."""
        began = await self._begin(watcher, cursor)
        told = self._telling.cursor()
        resumed = frames.resumed(began.made, told, None if began.moved is not None else "epoch")
        watcher.put("resumed", "", began.made, resumed)
        for uid in began.moved.removed if began.moved is not None else ():
            watcher.put("gone", uid, began.made, frames.gone(uid, told))
        async for page in self._pages(watcher, began.since):
            if page.missed is not None:
                self._telling.put_changes(watcher, page.missed)
            self._telling.put_answers(watcher, page.answers, [uid for uid, _ in _whole(page, began.moved)])
            await watcher.room(RESUME_WAITING)
        settled = await self._telling.settle()
        watcher.put("ready", "", settled, frames.ready(settled, self._telling.cursor(settled)))

    def close(self, watcher: Watcher) -> None:
        """A stream has ended."""
        self._audience.close(watcher)
        self._follow()

    async def _begin(self, watcher: Watcher, cursor: Cursor | None) -> _Began:
        """Watch a list, whose users are still to be walked through. Raises Problem, 404, and StoreUnavailable."""
        name = watcher.list
        assert name is not None

        def then(began: _Began) -> None:
            if began.exists and self._audience.list_of(watcher) is None:
                self._audience.join_list(watcher, name, began.feed)
                # Those who are streamed already have been told up to there: that is looked at before any answer.
                self._telling.lists_told = self._telling.lists_told or began.number
                self._follow()

        began = await self._runner.ask(partial(self._read_list, name, cursor), then)
        if not began.exists:
            raise Problem(404, "no such list")
        return began

    def _read_list(
        self, name: str, cursor: Cursor | None, feed: ChangeFeed, connection: Connection[TupleRow]
    ) -> _Began:
        """In the feed's thread: whether there is a list, and who came and left since a cursor."""
        made, number = feed.answers(connection, ()).made, watch_list_record.head(connection)
        exists = watch_lists.get(connection, name) is not None
        since = self._telling.since(cursor)
        if cursor is None or since is None or not 0 < cursor.lists <= number or not feed.is_known(connection, since):
            return _Began(feed, exists, made, number, None, None)
        return _Began(feed, exists, made, number, since, watch_list_record.moved_since(connection, name, cursor.lists))

    async def _pages(self, watcher: Watcher, since: AnswerPoint | None) -> AsyncGenerator[_Page, None]:
        """Those on a watcher's list, from then on told of whatever changes."""
        name, after = watcher.list, ""
        assert name is not None
        while True:
            page = await self._runner.ask(
                partial(_page, name, after, since),
                lambda found: self._audience.add_to_list(self._audience.list_of(watcher), found.uids, found.feed),
            )
            yield page
            if len(page.uids) < PAGE_USERS or watcher.over is not None:
                return
            after = page.uids[-1]

    def _follow(self) -> None:
        """Let the feed's thread look for changes of the lists that are streamed."""
        if not self._audience.lists:
            self._telling.lists_told = 0
        self._following = _Following(tuple(self._audience.lists), self._telling.lists_told)

    def _look(self, feed: ChangeFeed, connection: Connection[TupleRow]) -> Callable[[], None] | None:
        """In the feed's thread: what has changed of the lists that are streamed, and what is to be done about it."""
        names, number = self._following
        if not names:
            return None
        head = watch_list_record.head(connection)
        if head == number:
            return None
        if head < number:
            # Changes that were told of are no more, as after a fail-over.
            return partial(self._end_all, "epoch")
        found: dict[str, _Changed] = {}
        try:
            for name in watch_list_record.changed_of(connection, names, number):
                found[name] = _changed(name, number, feed, connection)
        except BaseException:  # whatever ends it, nobody else ends these watches
            for changed in found.values():
                feed.unwatch(uid for uid, _ in changed.answers.bodies)
            raise
        return partial(self._tell, feed, head, found)

    def _tell(self, feed: ChangeFeed, head: int, found: Mapping[str, _Changed]) -> None:
        for name, changed in found.items():
            watched = self._audience.lists.get(name)
            self._audience.add_to_list(watched, [uid for uid, _ in changed.answers.bodies], feed)
            if watched is None:
                continue
            if changed.moved is None or len(changed.moved.added) > MAX_ADDED:
                _end(watched, "deleted" if changed.moved is None else "changed")
            else:
                self._tell_watchers(watched, changed.moved.removed, changed.answers)
        self._telling.lists_told = head
        self._follow()

    def _tell_watchers(self, watched: WatchedList, removed: Sequence[str], answers: Answers) -> None:
        cursor = self._telling.cursor()
        self._audience.remove_from_list(watched, removed)
        for watcher in watched.watchers:
            watcher.forget(removed)
            for uid in removed:
                watcher.put("gone", uid, answers.made, frames.gone(uid, cursor))
            self._telling.put_answers(watcher, answers)

    def _end_all(self, reason: str) -> None:
        for watched in self._audience.lists.values():
            _end(watched, reason)


def _end(watched: WatchedList, reason: str) -> None:
    for watcher in watched.watchers:
        watcher.end(reason)


def _page(
    name: str, after: str, since: AnswerPoint | None, feed: ChangeFeed, connection: Connection[TupleRow]
) -> _Page:
    """In the feed's thread: begin to watch some of those on a list, with what has changed of them since then."""
    uids = watch_lists.members_of(connection, name, after, PAGE_USERS)
    missed = None if since is None else feed.missed(connection, uids, since)
    return _Page(feed, uids, feed.watch(connection, uids), missed)


def _changed(name: str, number: int, feed: ChangeFeed, connection: Connection[TupleRow]) -> _Changed:
    """In the feed's thread: what became of a list since a change; those who came begin to be watched."""
    if watch_lists.get(connection, name) is None:
        return _Changed(None, feed.answers(connection, ()))
    moved = watch_list_record.moved_since(connection, name, number)
    added = moved.added if len(moved.added) <= MAX_ADDED else ()
    return _Changed(moved, feed.watch(connection, added))


def _whole(page: _Page, moved: MembershipChange | None) -> list[tuple[str, bytes]]:
    """Of whom the reader is told whether anything has changed or not: all, or those who came since their cursor."""
    if moved is None:
        return page.answers.bodies
    told = {each.uid for each in page.missed.changes} if page.missed is not None else set()
    added = set(moved.added) - told
    return [(uid, body) for uid, body in page.answers.bodies if uid in added]

"""Streams of users who are named: what they are told first, more users and fewer, and going on from a cursor."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.cursor import Cursor
from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Answers, Missed
from ledger.front import frames
from ledger.front.frames import Frame
from ledger.front.telling import Telling
from ledger.front.watcher import Watcher
from projections.models.shown import AnswerPoint

Since = Callable[[], AnswerPoint | None]
"""`Telling.since`, asked in the feed's thread, which knows the ledger's epoch."""


class _Named(NamedTuple):
    """What the feed says of named users who begin to be watched."""

    feed: ChangeFeed
    answers: Answers
    missed: Missed | None


class NamedStreams:
    """Those of a process."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._runner = telling.runner

    async def open(
        self, watcher: Watcher, cursor: Cursor | None, why_not: str, *, snapshot: bool
    ) -> AsyncGenerator[list[Frame], None]:
        """What a watcher is told first; `why_not`: why a cursor that is none, or not of ours, brings nothing."""
        uids, watcher.uids = sorted(watcher.uids or ()), set()
        found = await self._runner.ask(
            partial(_begin, uids, partial(self._telling.since, cursor)),
            lambda got: self._telling.audience.add_users(watcher, uids, got.feed),
        )
        made = found.answers.made
        watcher.drop(uids, made)
        if found.missed is not None and cursor is not None:
            yield [frames.resumed(made, cursor, None)]
            yield [frames.change(each, made, cursor).without_cursor for each in found.missed.changes]
        else:
            # Whoever is cut off within what follows has been told nothing yet that they could go on from.
            nowhere = self._telling.nowhere
            yield [frames.resumed(made, nowhere, why_not)]
            if snapshot:
                yield [frames.presence(body, made, nowhere).without_cursor for _, body in found.answers.bodies]
        yield [frames.ready(made, self._telling.cursor(made))]

    async def add(self, watcher: Watcher, uids: Collection[str]) -> None:
        """Watch more users, who are told of at once. Raises StoreUnavailable."""
        assert watcher.uids is not None
        added = sorted(set(uids) - watcher.uids)

        def then(found: _Named) -> None:
            self._telling.audience.add_users(watcher, added, found.feed)
            self._telling.put_answers(watcher, found.answers)

        if added:
            await self._runner.ask(partial(_begin, added, lambda: None), then)

    def remove(self, watcher: Watcher, uids: Iterable[str]) -> None:
        """Watch these users no more."""
        watcher.forget(self._telling.audience.remove_users(watcher, uids))

    async def resume(self, watcher: Watcher, cursor: Cursor | None) -> None:
        """Have a watcher who is being told already told what has changed since a cursor. Raises StoreUnavailable."""
        uids = sorted(watcher.uids or ())

        def then(found: _Named) -> None:
            made, missed = found.answers.made, found.missed
            told = self._telling.cursor(made)
            watcher.put("resumed", "", made, frames.resumed(made, told, None if missed else "epoch"))
            if missed is None:
                self._telling.put_answers(watcher, found.answers)
            else:
                self._telling.put_changes(watcher, missed)
            watcher.put("ready", "", made, frames.ready(made, told))

        await self._runner.ask(partial(_show, uids, partial(self._telling.since, cursor)), then)


def _begin(uids: Sequence[str], since: Since, feed: ChangeFeed, connection: Connection[TupleRow]) -> _Named:
    """In the feed's thread: begin to watch these users, with what has changed of them since then."""
    missed = _missed_since(uids, since, feed, connection)
    return _Named(feed, feed.watch(connection, uids), missed)


def _show(uids: Sequence[str], since: Since, feed: ChangeFeed, connection: Connection[TupleRow]) -> _Named:
    """In the feed's thread: the same of users who are watched already."""
    missed = _missed_since(uids, since, feed, connection)
    return _Named(feed, feed.answers(connection, uids), missed)


def _missed_since(
    uids: Sequence[str], since: Since, feed: ChangeFeed, connection: Connection[TupleRow]
) -> Missed | None:
    at = since()
    if at is None or not feed.is_known(connection, at):
        return None
    return feed.missed(connection, uids, at)

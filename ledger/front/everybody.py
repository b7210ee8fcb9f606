"""Streams of everybody: what they are told first, page after page, and going on from a cursor."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.cursor import Cursor
from ledger.changes.feed import ChangeFeed
from ledger.changes.step import PresencePage
from ledger.front import frames
from ledger.front.frames import Frame
from ledger.front.telling import PAGE_USERS, RESUME_WAITING, Telling, changes_since, without_cursors
from ledger.front.watcher import Watcher
from projections.models.shown import AnswerPoint

MAX_MISSED_EVENTS = 200_000
"""So many events back, whoever watches everybody is told what has changed."""


class StreamsOfEverybody:
    """Those of a process."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling
        self._runner = telling.runner

    async def open(
        self, watcher: Watcher, cursor: Cursor | None, why_not: str, *, snapshot: bool
    ) -> AsyncGenerator[list[Frame], None]:
        """What a watcher is told first; `why_not`: why a cursor that is none, or not of ours, brings nothing."""
        _, made = await self._runner.ask(_begin, lambda began: self._telling.audience.add_everybody(watcher, began[0]))
        since, moved, why_not = await self._moved_since(cursor, why_not)
        if cursor is not None and since is not None and moved is not None:
            yield [frames.resumed(made, cursor, None)]
            async for part in self._missed(watcher, moved, since, cursor):
                yield part
        else:
            nowhere = self._telling.nowhere
            yield [frames.resumed(made, nowhere, why_not)]
            if snapshot:
                async for part in self._all(watcher, nowhere):
                    yield part
        settled = await self._telling.settle()
        yield [*without_cursors(watcher.take()), frames.ready(settled, self._telling.cursor(settled))]

    async def resume(self, watcher: Watcher, cursor: Cursor | None) -> None:
        """Have a watcher who is being told already told what has changed since a cursor. Raises StoreUnavailable."""
        since, moved, why_not = await self._moved_since(cursor, "epoch")
        recovered = since is not None and moved is not None
        told = self._telling.told
        resumed = frames.resumed(told, self._telling.cursor(), None if recovered else why_not)
        watcher.put("resumed", "", told, resumed)
        if since is not None and moved is not None:
            for start in range(0, max(1, len(moved)), PAGE_USERS):
                ask = partial(changes_since, uids=moved[start : start + PAGE_USERS], since=since)
                await self._runner.ask(ask, partial(self._telling.put_changes, watcher))
                await watcher.room(RESUME_WAITING)
        settled = await self._telling.settle()
        watcher.put("ready", "", settled, frames.ready(settled, self._telling.cursor(settled)))

    async def _moved_since(
        self, cursor: Cursor | None, why_not: str
    ) -> tuple[AnswerPoint | None, list[str] | None, str]:
        """-> (up to where the reader was told, who may be shown otherwise since, why that is not to be had)"""
        since = self._telling.since(cursor)
        if since is None:
            return None, None, why_not
        known, moved = await self._telling.ask(partial(_users_since, since=since))
        return since, moved, "too_many" if known else "epoch"

    async def _missed(
        self, watcher: Watcher, moved: Sequence[str], since: AnswerPoint, cursor: Cursor
    ) -> AsyncGenerator[list[Frame], None]:
        """What has changed of these users since, page after page, and which sources are dark since."""
        for start in range(0, max(1, len(moved)), PAGE_USERS):
            uids = moved[start : start + PAGE_USERS]
            missed = await self._telling.ask(partial(changes_since, uids=uids, since=since))
            if start == 0:
                yield [frames.source(each, cursor).without_cursor for each in missed.sources]
            watcher.drop(uids, missed.made)
            told = [frames.change(each, missed.made, cursor).without_cursor for each in missed.changes]
            # Where the walk takes long, what has changed meanwhile does not pile up.
            yield told + without_cursors(watcher.take())

    async def _all(self, watcher: Watcher, cursor: Cursor) -> AsyncGenerator[list[Frame], None]:
        """Everybody there is, page after page."""
        after: str | None = ""
        while after is not None:
            page = await self._telling.ask(partial(_page, after=after))
            watcher.drop([uid for uid, _ in page.bodies], page.made)
            told = [frames.presence(body, page.made, cursor).without_cursor for _, body in page.bodies]
            yield told + without_cursors(watcher.take())
            after = page.last


def _begin(feed: ChangeFeed, connection: Connection[TupleRow]) -> tuple[ChangeFeed, AnswerPoint]:
    return feed, feed.watch_everybody(connection)


def _users_since(
    feed: ChangeFeed, connection: Connection[TupleRow], since: AnswerPoint
) -> tuple[bool, list[str] | None]:
    """-> (whether this ledger has been there, who may be shown otherwise since)"""
    if not feed.is_known(connection, since):
        return False, None
    return True, feed.users_since(connection, since, MAX_MISSED_EVENTS)


def _page(feed: ChangeFeed, connection: Connection[TupleRow], after: str) -> PresencePage:
    return feed.page(connection, after, PAGE_USERS)

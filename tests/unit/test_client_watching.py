"""Watches of the Python client: one stream for all, whom it is opened again for, and what fails whom."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest

from ledger.client.calls import Call
from ledger.client.errors import ClientError, Forbidden, Invalid, NotFound, TimedOut, Unreachable
from ledger.client.values import AsOf, Disconnected, Gone, Presence, Ready, Resumed, Said, Told
from ledger.client.watching import SharedFeed, Watch

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def as_of(position: int) -> AsOf:
    return AsOf(position, NOW, "e")


class ScriptedFollower:
    """A stream that says what it is given, and what was asked of it."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.asked: list[Call[None]] = []
        self._said: asyncio.Queue[Said | ClientError] = asyncio.Queue()
        self.position = 0

    async def follow(self, call: Call[None]) -> AsyncGenerator[Told, None]:
        self.asked.append(call)
        while True:
            said = await self._said.get()
            if isinstance(said, ClientError):
                raise said
            self.cursor = "e.1.1"
            yield Told(said, self.cursor)

    def say(self, *said: Said | ClientError) -> None:
        for each in said:
            self._said.put_nowait(each)

    def snapshot(self, *uids: str) -> None:
        self.say(Resumed(False, "fresh", as_of(1)), *(self.presence(uid) for uid in uids), Ready(as_of(1)))

    def presence(self, uid: str) -> Presence:
        self.position += 1
        return Presence(uid=uid, status="online", as_of=as_of(self.position))

    def named(self) -> list[str]:
        """Whom the last opening named."""
        body = self.asked[-1].json
        assert isinstance(body, dict)
        uids: list[str] = body["uids"]
        return uids


class World:
    """A feed over a scripted stream, whose questions are answered by `answer`."""

    def __init__(self, name: str | None = None) -> None:
        self.follower = ScriptedFollower()
        self.questions: list[list[str]] = []
        self.error: ClientError | None = None
        self.stale_since: datetime | None = None
        self.feed = SharedFeed(self.follower, self._query, name)  # type: ignore[arg-type]

    async def _query(self, uids: Sequence[str]) -> Sequence[Presence]:
        self.questions.append(list(uids))
        if self.error is not None:
            raise self.error
        as_of, since = AsOf(50, NOW), self.stale_since
        return [Presence(uid=uid, status="offline", as_of=as_of, stale_since=since) for uid in uids]

    async def opened(self, number: int) -> None:
        await until(lambda: len(self.follower.asked) >= number)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (a script has no events)
        await asyncio.sleep(0)


async def first(watch: Watch, number: int) -> list[str]:
    told = []
    async for presence in watch:
        told.append(presence.uid)
        if len(told) == number:
            break
    return told


def test_who_is_added_is_asked_about_and_the_stream_goes_on() -> None:
    async def test() -> None:
        world = World()
        one = world.feed.add(["ann"])
        await world.opened(1)
        world.follower.snapshot("ann")
        await one.ready()
        two = world.feed.add(["ann", "ben"])
        # What is known already is told at once.
        assert await first(two, 1) == ["ann"]
        await world.opened(2)
        assert world.questions == [["ben"]]
        assert world.follower.named() == ["ann", "ben"]
        assert await first(two, 1) == ["ben"]
        world.follower.say(Resumed(True, None, as_of(2)), Ready(as_of(2)))
        await two.ready()
        known = two.get("ben")
        assert known is not None
        assert (known.status, one.get("ben")) == ("offline", None)
        await two.close()
        await two.close()
        await one.close()
        assert world.feed.is_idle

    run(test)


def test_an_answer_from_the_services_memory_is_not_taken_for_what_the_stream_goes_on_from() -> None:
    async def test() -> None:
        world = World()
        world.stale_since = NOW
        one = world.feed.add(["ann"])
        await world.opened(1)
        world.follower.snapshot("ann")
        await one.ready()
        two = world.feed.add(["ben"])
        await world.opened(2)
        assert world.questions == [["ben"]]
        assert (two.get("ben"), world.follower.cursor) == (None, None)
        world.follower.snapshot("ann", "ben")
        await two.ready()
        await two.close()
        await one.close()

    run(test)


def test_who_may_not_be_watched_fails_those_who_ask_alone() -> None:
    async def test() -> None:
        world = World()
        one = world.feed.add(["ann"])
        await world.opened(1)
        world.follower.snapshot("ann")
        await one.ready()
        world.error = Forbidden(403, "Not allowed")
        two = world.feed.add(["eve"])
        with pytest.raises(Forbidden):
            await two.ready()
        with pytest.raises(Forbidden):
            await first(two, 1)
        await world.opened(2)
        assert world.follower.named() == ["ann"]
        await one.ready()
        await one.close()

    run(test)


def test_where_nobody_answers_the_stream_begins_anew() -> None:
    async def test() -> None:
        world = World()
        one = world.feed.add(["ann"])
        await world.opened(1)
        world.follower.snapshot("ann")
        await one.ready()
        world.error = Unreachable("no service")
        two = world.feed.add(["ben"])
        await world.opened(2)
        assert world.follower.cursor is None
        world.follower.say(Disconnected(None, 1.0))
        await until(lambda: one.stale)
        world.follower.snapshot("ann", "ben")
        await two.ready()
        assert [each.stale for each in one.presences] == [False]
        await one.close()
        await two.close()

    run(test)


def test_a_list_is_followed_as_it_changes() -> None:
    async def test() -> None:
        world = World("team")
        watch = world.feed.add(None)
        await world.opened(1)
        assert (world.follower.asked[0].method, world.follower.asked[0].params) == ("GET", {"list": "team"})
        world.follower.snapshot("ann", "ben")
        await watch.ready()
        world.follower.say(Gone("ben"), world.follower.presence("cem"))
        changes = []
        async for change in watch.changes():
            changes.append(change)
            if change.uid == "cem":
                break
        assert [(type(each).__name__, each.uid) for each in changes[-2:]] == [("Gone", "ben"), ("Presence", "cem")]
        assert [each.uid for each in watch.presences] == ["ann", "cem"]
        world.follower.say(NotFound(404, "Not found"))
        with pytest.raises(NotFound):
            await first(watch, 1)
        await watch.close()

    run(test)


def test_who_waits_for_nothing_is_told_so() -> None:
    async def test() -> None:
        world = World()
        watch = world.feed.add(["ann"])
        waiting = asyncio.create_task(watch.ready())
        await world.opened(1)
        world.follower.say(Disconnected(Unreachable("no service at all"), 1.0))
        await until(lambda: world.feed.broken is not None)
        with pytest.raises(TimedOut, match=r"not known after 0\.01 s: no service at all"):
            await watch.ready(0.01)
        # Nobody waits for a watch that is closed.
        await watch.close()
        await waiting

    run(test)


def test_more_users_than_a_stream_can_name_are_refused() -> None:
    async def test() -> None:
        world = World()
        watch = world.feed.add([f"u{number}" for number in range(9_999)])
        with pytest.raises(Invalid):
            world.feed.add(["u1", "v1", "v2"])
        await watch.close()

    run(test)

"""Notes of who was asked about: each user is told of now and then, however often they are asked about."""

import asyncio
import json
from collections.abc import Iterable

from ledger.errors import StoreUnavailable
from ledger.http import asked_about
from ledger.http.asked_about import AskedAbout
from ledger.working_state.asked import MAX_PAYLOAD_BYTES, payloads
from tests.support.simulated import until


class Listener:
    def __init__(self) -> None:
        self.heard: list[list[str]] = []
        self.is_away = False

    def __call__(self, uids: Iterable[str]) -> None:
        if self.is_away:
            raise StoreUnavailable("away")
        self.heard.append(list(uids))


def test_a_user_is_told_of_now_and_then() -> None:
    async def test() -> None:
        now, listener = [0.0], Listener()
        notes = AskedAbout(10.0, listener, monotonic=lambda: now[0])
        notes.note(["a", "b", "a", "nobody's\0", "\ud800"])
        notes.note(["a"])
        await notes.tell_noted()
        now[0] = 9.0
        notes.note(["a", "c"])
        await notes.tell_noted()
        now[0] = 10.0
        notes.note(["a"])
        await notes.tell_noted()
        await notes.tell_noted()
        assert listener.heard == [["a", "b"], ["c"], ["a"]]

    asyncio.run(test())


def test_whoever_could_not_be_told_of_is_when_they_are_asked_about_again() -> None:
    async def test() -> None:
        listener = Listener()
        notes = AskedAbout(10.0, listener)
        listener.is_away = True
        notes.note(["a"])
        await notes.tell_noted()
        listener.is_away = False
        notes.note(["a"])
        await notes.tell_noted()
        assert listener.heard == [["a"]]

    asyncio.run(test())


def test_nothing_is_noted_where_nobody_wants_to_know() -> None:
    async def test() -> None:
        listener = Listener()
        notes = AskedAbout(None, listener)
        notes.start()
        notes.note(["a"])
        await notes.tell_noted()
        await notes.stop()
        assert listener.heard == []

    asyncio.run(test())


def test_those_who_are_watched_are_asked_about_all_the_time() -> None:
    async def test() -> None:
        listener = Listener()
        notes = AskedAbout(0.001, listener, watched=lambda: ["w"])
        notes.start()

        async def twice() -> bool:
            return len(listener.heard) >= 2

        await until(twice)
        await notes.stop()
        assert listener.heard[:2] == [["w"], ["w"]]

    asyncio.run(test())


def test_so_many_are_remembered_at_most() -> None:
    async def test() -> None:
        listener = Listener()
        notes = AskedAbout(10.0, listener)
        most = asked_about.MAX_USERS
        notes.note(str(number) for number in range(most + 1))
        await notes.tell_noted()
        told = [uid for part in listener.heard for uid in part]
        assert len(told) == most
        assert told[0] == "1"

    asyncio.run(test())


def test_notifications_are_as_long_as_postgresql_takes_them() -> None:
    uids = ["\n" * 1000, "用户" * 150, *(f"u{number}" for number in range(5000))]
    texts = list(payloads(uids))
    assert [uid for text in texts for uid in json.loads(text)] == uids
    assert all(len(text.encode()) <= MAX_PAYLOAD_BYTES for text in texts)
    assert list(payloads([])) == []

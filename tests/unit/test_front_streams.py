"""The parts of a stream: what waits for a reader, when readers come again, and one who takes nothing."""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ledger.changes import cursor as cursors
from ledger.changes.cursor import Cursor
from ledger.errors import StoreUnavailable
from ledger.front import sse, watcher
from ledger.front.access import Viewer, may_watch, within
from ledger.front.asked import StreamRequest
from ledger.front.frames import Frame
from ledger.front.streams import Streams
from ledger.front.watcher import Watcher
from ledger.http.grants import Grant
from ledger.http.problems import Problem
from projections.models.shown import AnswerPoint
from tests.support.streams import GENERATION

FIRST, SECOND = AnswerPoint(1, 1), AnswerPoint(2, 2)


def frame(text: str) -> Frame:
    return Frame("presence", text.encode())


def waiting(queue: Watcher) -> list[bytes]:
    return [each.sse for each in queue.take()]


def test_of_one_user_newer_replaces_older() -> None:
    queue = Watcher({"a", "b"})
    queue.put("presence", "a", FIRST, frame("1"))
    queue.put("presence", "b", FIRST, frame("2"))
    queue.put("presence", "a", SECOND, frame("3"))
    assert queue.waiting == 2
    assert waiting(queue) == [frame("2").sse, frame("3").sse]
    assert queue.waiting == 0


def test_what_was_told_otherwise_need_not_be_told() -> None:
    queue = Watcher({"a", "b", "c"})
    for name, made in (("a", FIRST), ("b", SECOND), ("c", FIRST)):
        queue.put("presence", name, made, frame(name))
    queue.drop(["a", "b", "nobody"], FIRST)
    queue.forget(["c", "nobody"])
    assert waiting(queue) == [frame("b").sse]


def test_more_than_the_bound_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MAX_WAITING", 2)
    queue = Watcher(None)
    for name in "abc":
        queue.put("presence", name, FIRST, frame(name))
    assert (queue.over, queue.waiting) == ("slow", 0)
    queue.put("presence", "a", SECOND, frame("a"))
    assert queue.waiting == 0


def test_readers_come_again_spread_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def uniform(soonest: float, latest: float) -> float:
        asked.append((soonest, latest))
        return latest

    monkeypatch.setattr(random, "uniform", uniform)
    streams = Streams(None, None, 10_000)  # type: ignore[arg-type]
    streams.retry_seconds()
    monkeypatch.setattr(Streams, "number", 10_000)
    streams.retry_seconds()
    assert asked == [(1.0, 4.0), (1.0, 21.0)]


class _Hub:
    """One that has everything told in its first part."""

    progress = b""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed: list[Watcher] = []
        self._error = error

    async def open(self, _: Watcher, last: str | None, *, snapshot: bool) -> AsyncGenerator[list[Frame], None]:
        yield [frame("1")]
        if self._error is not None:
            raise self._error
        yield [frame("2")]

    def close(self, queue: Watcher) -> None:
        self.closed.append(queue)


class _Streams:
    """As much of the streams as one request needs."""

    def __init__(self, error: Exception | None = None) -> None:
        self.hub = _Hub(error)
        self.access = self

    async def viewer(self, *_: object) -> Viewer:
        return Viewer(b"key")

    def retry_seconds(self) -> float:
        return 1.0

    @contextmanager
    def opened(self, _: Viewer, new: Any) -> Iterator[Watcher]:
        queue = new()
        yield queue
        self.hub.close(queue)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_reader_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    monkeypatch.setattr(sse, "STUCK_SECONDS", 0.01)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        if len(sent) > taken:
            await asyncio.Event().wait()
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def ask() -> None:
        streams = _Streams()
        scope: Any = {"method": "GET", "headers": [], "query_string": b"uid=a", "path": "/v1/stream", "extensions": {}}
        await sse.stream(streams, scope, receive, send)  # type: ignore[arg-type]
        [queue] = streams.hub.closed
        assert queue.over == "gone"

    asyncio.run(asyncio.wait_for(ask(), 60))
    assert len(sent) == taken + 1


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Problem(404, "no such list")])
def test_what_fails_within_the_snapshot_ends_the_one_answer(error: Exception) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def ask() -> None:
        streams = _Streams(error)
        scope: Any = {"method": "GET", "headers": [], "query_string": b"uid=a", "path": "/v1/stream", "extensions": {}}
        await sse.stream(streams, scope, receive, send)  # type: ignore[arg-type]
        [queue] = streams.hub.closed
        assert queue.over == "failed"

    asyncio.run(asyncio.wait_for(ask(), 60))
    assert sent[0]["status"] == 200
    assert [(each["body"], each["more_body"]) for each in sent[1:]] == [
        (b"retry: 1000\n\n", True),
        (frame("1").sse, True),
        (b"retry: 1000\n\n", True),
        (b"", False),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0a-1.5.7", Cursor("0a-1", 5, 7)),
        ("0a-1.5.7.9", Cursor("0a-1", 5, 7, 9)),
        ("0a-1.5", None),
        ("0a-1.5.7.9.1", None),
        ("0a-1.5.٧", None),
    ],
)
def test_a_cursor_is_read_as_it_was_written(text: str, expected: Cursor | None) -> None:
    found = cursors.parse(text)
    assert found == expected
    assert found is None or found.text == text


def of(uids: set[str] | None, name: str | None = None) -> StreamRequest:
    return StreamRequest(None if uids is None else frozenset(uids), name, None, None)


@pytest.mark.parametrize(
    ("granted", "asked", "found"),
    [
        (of({"a", "b"}), of({"a"}), of({"a"})),
        (of({"a", "b"}), of(None), of({"a", "b"})),
        (of({"a", "b"}), of({"c"}), None),
        (of({"a", "b"}), of(None, "x"), None),
        (of(None, "x"), of(None, "x"), of(None, "x")),
        (of(None, "x"), of(None), of(None, "x")),
        (of(None, "x"), of(None, "y"), None),
        (of(None, "x"), of({"a"}), None),
    ],
)
def test_a_token_is_for_its_users(granted: StreamRequest, asked: StreamRequest, found: StreamRequest | None) -> None:
    viewer = Viewer(b"", Grant(granted.uids, granted.list, 1, GENERATION))
    if found is not None:
        assert within(viewer, asked) == found
        return
    with pytest.raises(Problem) as error:
        within(viewer, asked)
    assert error.value.status == 403


def test_a_key_may_watch_anybody() -> None:
    assert within(Viewer(b"key"), of(None)) == of(None)
    may_watch(Viewer(b"key"), ["anybody"])

"""Orders over a WebSocket: those that come while the stream is still being opened are carried out once it is."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from ledger.front import ws
from ledger.front.access import Viewer
from ledger.front.audience import Audience
from ledger.front.frames import Frame
from ledger.front.watcher import Watcher


class _Hub:
    """One that has not opened anything before it is let."""

    def __init__(self) -> None:
        self.opens = asyncio.Event()
        self.done: list[tuple[str, object]] = []
        self.had_all = asyncio.Event()

    async def open(self, watcher: Watcher, last: str | None, *, snapshot: bool) -> AsyncGenerator[list[Frame], None]:
        await self.opens.wait()
        self.done.append(("open", last))
        yield [Frame("resumed", b"{}")]
        yield [Frame("ready", b"{}")]

    async def resume(self, watcher: Watcher, last: str) -> None:
        self._note("resume", last)

    async def add(self, watcher: Watcher, uids: Collection[str]) -> None:
        self._note("watch", uids)

    def remove(self, watcher: Watcher, uids: Iterable[str]) -> None:
        self._note("unwatch", uids)

    def _note(self, what: str, of: object) -> None:
        self.done.append((what, of))
        self.had_all.set()


class _Streams:
    """As much of the streams as one connection needs."""

    def __init__(self) -> None:
        self.hub = _Hub()
        self.access = self

    async def viewer(self, *_: object) -> Viewer:
        return Viewer(b"key")

    @contextmanager
    def opened(self, _: Viewer, new: Any) -> Iterator[Watcher]:
        yield new()


@pytest.mark.parametrize(("order", "of"), [("resume", "cursor"), ("unwatch", ["a"]), ("watch", ["b"])])
def test_an_order_waits_until_the_stream_is_open(order: str, of: object) -> None:
    sent: list[dict[str, Any]] = []

    async def connect() -> None:
        streams = _Streams()
        said = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": msgspec.json.encode({order: of}).decode()},
        ]
        taken = asyncio.Event()

        async def receive() -> Any:
            if said:
                if len(said) == 1:
                    taken.set()
                return said.pop(0)
            await streams.hub.had_all.wait()
            return {"type": "websocket.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope: Any = {"headers": [], "query_string": b"uid=a&snapshot=false", "path": "/v1/ws"}
        serving = asyncio.create_task(ws.websocket(streams, scope, receive, send))  # type: ignore[arg-type]
        await taken.wait()
        await asyncio.sleep(0)
        assert streams.hub.done == []
        streams.hub.opens.set()
        await serving
        assert streams.hub.done == [("open", None), (order, of)]

    asyncio.run(asyncio.wait_for(connect(), 60))
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.send", "websocket.send"]


def test_nobody_is_left_by_a_stream_that_is_still_being_opened() -> None:
    audience = Audience(lambda feed, note: pytest.fail("no feed watches for it"))
    assert audience.remove_users(Watcher({"a"}), ["a"]) == []

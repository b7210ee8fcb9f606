"""An HTTP/1.1 client that costs little: keep-alive connections, requests built beforehand, no parsing but the length.

The client shares the cores with what it measures, so whatever it spends it takes from that.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import uvloop

T = TypeVar("T")


class Answer(NamedTuple):
    """One answer; the body as it came."""

    status: int
    body: bytes


class ConnectionLost(ConnectionError):
    """The server closed the connection while an answer was due."""


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._missing = 0
        """Bytes that are still to come, once the answer has told its length."""
        self._transport: asyncio.Transport | None = None
        self._answered: Callable[[int, bytes], None] | None = None
        self._lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not a subclass of it.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        # A large answer comes in many parts, which are put together once and not part by part.
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            self._parts, self._missing = [buffer], 0
            return
        self._missing = end + 4 + _content_length(buffer, end) - len(buffer)
        if self._missing > 0:
            self._parts = [buffer]
            return
        self._parts, self._missing = [], 0
        answered, self._answered = self._answered, None
        assert answered is not None
        answered(int(buffer[9:12]), buffer[end + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and self._lost is not None:
            self._answered = None
            self._lost()

    def send(self, request: bytes, answered: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        """Send a request; one of the two is called once. Raises ConnectionLost."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionLost
        self._answered, self._lost = answered, lost
        self._transport.write(request)

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises ConnectionLost."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def answered(status: int, body: bytes) -> None:
            if not done.done():
                done.set_result(Answer(status, body))

        def lost() -> None:
            if not done.done():
                done.set_exception(ConnectionLost())

        self.send(request, answered, lost)
        return await done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _content_length(buffer: bytes, end: int) -> int:
    start = buffer.find(b"content-length: ", 0, end)
    if start < 0:
        raise ValueError(f"an answer without its length: {buffer[:end]!r}")
    stop = buffer.find(b"\r", start)
    return int(buffer[start + 16 : stop])


async def connect(port: int) -> Connection:
    """A connection to this machine's port."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


def get(path: str, key: str) -> bytes:
    """A GET with an API key."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


def post(path: str, body: bytes, key: str = "") -> bytes:
    """A POST of JSON, with an API key if one is given."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\n{authorization}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def drive(port: int, requests: Sequence[Iterator[bytes]]) -> float:
    """Each iterator's requests one after another on a connection of its own, all at once; gives the seconds it took.

    Raises RuntimeError at an answer other than 200, ConnectionLost.
    """
    connections = [await connect(port) for _ in requests]
    started = time.perf_counter()
    try:
        await asyncio.gather(*(_drain(c, each) for c, each in zip(connections, requests, strict=True)))
        return time.perf_counter() - started
    finally:
        for connection in connections:
            connection.close()


def _drain(connection: Connection, requests: Iterator[bytes]) -> Awaitable[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def lost() -> None:
        done.set_exception(ConnectionLost())

    def answered(status: int, body: bytes) -> None:
        if status != 200:
            done.set_exception(RuntimeError(f"answered {status}: {body[:500]!r}"))
            return
        request = next(requests, None)
        if request is None:
            done.set_result(None)
        else:
            connection.send(request, answered, lost)

    first = next(requests, None)
    if first is None:
        done.set_result(None)
    else:
        connection.send(first, answered, lost)
    return done


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it on an event loop as fast as the service's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)

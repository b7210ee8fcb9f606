"""Readers of a service's streams: Server-Sent Events as a browser takes them, and a WebSocket by hand."""

import base64
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import psutil

from tests.support.forked import ALONE_MEASURED
from tests.support.service import KEYS, Port, Service, wait_for

GENERATION = UUID(int=1)
"""Of tokens that tests make themselves."""


class Told(NamedTuple):
    """One event: its name, the reader's cursor after it, and its data."""

    event: str
    id: str
    data: Any


class Stream:
    """An open stream. `id` and `retry` are what a browser would have kept of it."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.id = ""
        self.retry: int | None = None
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Told]:
        event, data = "message", []
        for line in self._lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "event":
                    event = value
                case "data":
                    data.append(value)
                case "id":
                    self.id = value
                case "retry":
                    self.retry = int(value)
                case "" if not line:
                    if data:
                        yield Told(event, self.id, json.loads("\n".join(data)))
                    event, data = "message", []

    def until(self, last: str | Callable[[Told], bool]) -> list[Told]:
        """All that is told up to an event of that name, or of which that is true."""
        told = []
        for each in self:
            told.append(each)
            if each.event == last if isinstance(last, str) else last(each):
                return told
        raise AssertionError(f"the stream ended: {told}")

    def rest(self) -> list[Told]:
        """All that is told to the end."""
        return list(self)


class FrontedService(Service):
    """A service with a front on a port of its own."""

    def __init__(self, *arguments: Any, front: Port, **settings: Any) -> None:
        self.front = f"http://127.0.0.1:{front.number}"
        self.front_port = front.number
        super().__init__(*arguments, front_listen=f"127.0.0.1:{front.number}", **settings)

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment().items() if name != ALONE_MEASURED}

    def figures(self) -> str:
        """The front's own metrics."""
        headers = {"Authorization": f"Bearer {KEYS['read']}"}
        return httpx2.get(f"{self.front}/metrics", headers=headers, trust_env=False).text

    def wait_until_ready(self) -> None:
        """Wait until both answer."""
        super().wait_until_ready()
        wait_for(self._fronted, lambda: self.log()[-2000:])

    def _fronted(self) -> bool:
        try:
            return httpx2.get(f"{self.front}/health/live", trust_env=False, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False

    def front_process(self) -> psutil.Process:
        """The front's process; whoever kills it has another one started."""
        return self.beside("ledger.front.process")

    @contextmanager
    def stream(
        self, *uids: str, key: str | None = KEYS["read"], last: str | None = None, body: Sequence[str] | None = None,
        headers: Mapping[str, str] = {}, query: Mapping[str, str] = {},
    ) -> Iterator[Stream]:  # fmt: skip
        """An answered request for a stream, of whatever status; without `uids` of everybody."""
        sent = dict(headers) | ({} if key is None else {"Authorization": f"Bearer {key}"})
        if last is not None:
            sent["Last-Event-ID"] = last
        params = {"uid": list(uids)} | {name: [value] for name, value in query.items()}
        content = None if body is None else json.dumps({"uids": body}).encode()
        method = "GET" if body is None else "POST"
        with (
            httpx2.Client(base_url=self.front, trust_env=False, timeout=60) as client,
            client.stream(method, "/v1/stream", params=params, headers=sent, content=content) as response,
        ):
            # Held here: where nobody holds it, its connection is closed.
            stream = Stream(response)
            yield stream


class Socket:
    """A WebSocket after its handshake: frames in and out, nothing more."""

    def __init__(self, port: int, target: str, key: str | None = KEYS["read"]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        nonce = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", "Host: front", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {nonce}", "Sec-WebSocket-Version: 13"]  # fmt: skip
        lines += [] if key is None else [f"Authorization: Bearer {key}"]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])

    def send(self, order: Any) -> None:
        """An object as a text frame, masked as a client's must be."""
        data = order if isinstance(order, bytes) else json.dumps(order).encode()
        size = len(data)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self._socket.sendall(b"\x81" + length + bytes(4) + data)

    def receive(self) -> Any:
        """The next object; (code, reason) where it is closed."""
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        data = self._take(size)
        if first & 0x0F == 8:
            return struct.unpack(">H", data[:2])[0], data[2:].decode()
        return json.loads(data)

    def until(self, event: str) -> list[Any]:
        """All objects up to one of that event."""
        told = [self.receive()]
        while told[-1]["event"] != event:
            told.append(self.receive())
        return told

    def close(self) -> None:
        self._socket.close()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += self._receive()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _receive(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("closed")
        return data


@contextmanager
def fronted(folder: Any, data_dir: Any, **settings: Any) -> Iterator[FrontedService]:
    """A service with a front, not started; ended at the end."""
    port, front = Port(), Port()
    service = FrontedService(folder, port, data_dir, front=front, **settings)
    try:
        yield service
    finally:
        service.end()
        port.release()
        front.release()

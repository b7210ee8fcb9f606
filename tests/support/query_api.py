"""A node's query API that answers as it is told, odd answers and broken connections included."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple

HOST = "127.0.0.1"


class Said(NamedTuple):
    """Bytes that are sent back, and what becomes of the connection then."""

    raw: bytes
    then: Literal["keep", "close", "reset", "hang"] = "keep"


class Question(NamedTuple):
    """A request as it arrived; names of headers in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def said(status: int, body: bytes | str = b"", content_type: str = "application/json", **headers: str) -> Said:
    """A whole answer. Header names are given with _ for -."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {content_type}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Said("\r\n".join([*lines, "", ""]).encode() + data)


def rows(*uids: str) -> Said:
    """The answer that these users have a connection each."""
    return said(200, json.dumps([{"uid": uid, "device_flag": 0, "online": 1} for uid in uids]))


VARZ = said(200, '{"server_id":"1001","version":"","connections":1,"uptime":"1m2s"}')
HTML = said(200, "<html><body>Bad gateway</body></html>", "text/html")
HALF = Said(said(200, '[{"uid":"u1","device_flag":0,"online":1}]').raw[:-20], "close")
HANG = Said(b"", "hang")
SLOW_BODY = Said(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[", "hang")
RESET = Said(b"", "reset")
GARBAGE = Said(b"\x16\x03\x01 this is no HTTP\r\n\r\n", "close")


class Node:
    """What the server was asked, and what it says: the answers in order, the last one again and again."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.asked: list[Question] = []
        self.answers: list[Said] = []
        self.answer: Callable[[Question], Said] = self._next
        self.began = asyncio.Event()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{HOST}:{self.port}"

    def says(self, *answers: Said) -> None:
        self.answers = list(answers)

    def _next(self, _: Question) -> Said:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(ConnectionError):
            while (question := await _read(reader)) is not None:
                self.asked.append(question)
                answer = self.answer(question)
                writer.write(answer.raw)
                await writer.drain()
                self.began.set()
                if answer.then == "hang":
                    await asyncio.Event().wait()
                if answer.then == "reset":
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if answer.then != "keep":
                    break
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Question | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Question(method, target, headers, body)


@asynccontextmanager
async def listening(*answers: Said, tls: ssl.SSLContext | None = None) -> AsyncIterator[Node]:
    """A node that listens, behind TLS where that is given."""
    node = Node()
    node.says(*answers)
    node.scheme = "http" if tls is None else "https"
    handlers: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        handlers.append(asyncio.create_task(node.serve(reader, writer)))

    server = await asyncio.start_server(accept, HOST, 0, ssl=tls)
    node.port = server.sockets[0].getsockname()[1]
    try:
        yield node
    finally:
        server.close()
        for handler in handlers:
            handler.cancel()
        for writer in writers:
            writer.transport.abort()
        ends = [writer.wait_closed() for writer in writers]
        await asyncio.gather(*handlers, *ends, return_exceptions=True)
        await server.wait_closed()

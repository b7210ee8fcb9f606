"""A server on a port of its own that speaks the clients' protocol as a test tells it to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ledger.sources.wukongim.protocol.connection import Address
from ledger.sources.wukongim.protocol.frames import Connack, Connect, FrameReader, Pong, encode

Answers = Callable[[object], bytes | None]
"""The bytes for a frame; None: the connection is closed."""


def lets_in(frame: object) -> bytes:
    """What a node answers that lets everybody in."""
    return encode(Connack(1, server_version=4, node_id=1001)) if isinstance(frame, Connect) else encode(Pong())


class ClientNode:
    """What it heard, and whether its last client has gone."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.heard: list[object] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        while data := await reader.read(1024):
            for frame in frames.feed(data):
                self.heard.append(frame)
                answer = self._answers(frame)
                if answer is None:
                    writer.close()
                    return
                writer.write(answer)
        self.ended.set()
        writer.close()


@asynccontextmanager
async def serving(node: ClientNode) -> AsyncIterator[Address]:
    """Where it listens."""
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    async with server:
        yield Address(*server.sockets[0].getsockname()[:2])

"""The port of a simulated node: it opens, shuts as a killed server's does, and breaks connections on command."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from typing import Literal

HOST = "127.0.0.1"
CHUNK = 1 << 18
HEAD_END = b"\r\n\r\n"
Breaks = Callable[[], Literal["cut", "reset"] | None]


def _whole() -> None:
    """Nothing breaks."""


class NodePort:
    """Passes connections of `port` on to a server behind it. `breaks` is asked for each request and each answer."""

    def __init__(self, port: int, breaks: Breaks = _whole) -> None:
        self.port = port
        self._breaks = breaks
        self._behind = 0
        self._server: asyncio.Server | None = None
        self._visitors: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def open(self, behind: int) -> None:
        """Listen, and pass on to the port `behind`. Raises OSError where the port is taken."""
        self._behind = behind
        self._server = await asyncio.start_server(self._visit, HOST, self.port, limit=CHUNK)

    async def shut(self) -> None:
        """Close the port and every connection at once; from now on connections are refused."""
        if self._server is None:
            return
        server, self._server = self._server, None
        await close_at_once(server, self._visitors)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visitors[task] = writer
        answers: asyncio.Task[None] | None = None
        ahead: asyncio.StreamWriter | None = None
        try:
            behind, ahead = await asyncio.open_connection(HOST, self._behind, limit=CHUNK)
            answers = asyncio.create_task(self._answers(behind, writer))
            while (data := await reader.read(CHUNK)) and self._breaks() != "reset":
                ahead.write(data)
                await ahead.drain()
            if data:
                reset(writer)
            ahead.close()
            await answers
        except (OSError, asyncio.CancelledError):
            reset(writer)
        finally:
            if answers is not None:
                answers.cancel()
            if ahead is not None:
                ahead.close()
            del self._visitors[task]
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._breaks() == "cut":
                    head = data.find(HEAD_END) + len(HEAD_END)
                    writer.write(data[: head + (len(data) - head) // 2])
                    await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


async def close_at_once(server: asyncio.Server, visits: Mapping[asyncio.Task[None], asyncio.StreamWriter]) -> None:
    """Refuse further connections, and reset those that there are."""
    server.close()
    tasks = list(visits)
    for task, writer in visits.items():
        reset(writer)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as a kernel does whose process was killed with bytes unread: by a reset."""
    found = writer.get_extra_info("socket")
    if found is not None and found.fileno() >= 0:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

"""What a canary is told of itself by a stream: as a front tells it, late, or not at all."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from ledger.canary.shown import CanaryStreams, Watching

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
PROBLEM = json.dumps({"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "revoked"}).encode()
DENIED = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    b"Content-Length: " + str(len(PROBLEM)).encode() + b"\r\n\r\n" + PROBLEM
)
AT = "2026-11-30T12:00:00.000000Z"


def event(name: str, **data: object) -> bytes:
    return f"event: {name}\nid: c\ndata: {json.dumps(data)}\n\n".encode()


READY = event("ready", as_of={"position": 1, "at": AT, "epoch": "e"})


def told_at(position: int) -> bytes:
    return event("presence", uid="canary", status="online", as_of={"position": position, "at": AT, "epoch": "e"})


def watched(answer: bytes, use: Callable[[Watching], Awaitable[None]]) -> list[bytes]:
    """Watch a front that answers so, and no more -> what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        if answer.startswith(DENIED):
            writer.close()
            return
        await reader.read()
        writer.close()

    async def sign(uid: str) -> str:
        return f"token-of-{uid}"

    async def go() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()[:2]
            async with CanaryStreams(f"http://{host}:{port}", sign).watching("canary") as watching:
                await use(watching)

    asyncio.run(go())
    return asked


def test_it_is_told_once_a_position_has_been_reached() -> None:
    async def use(watching: Watching) -> None:
        assert await watching.opened(60)
        first, later = await watching.told(5, 60), await watching.told(7, 60)
        assert first is not None
        assert later is not None
        assert first <= later
        assert await watching.told(9, 0.05) is None

    [asked] = watched(HEAD + READY + told_at(3) + told_at(5) + told_at(8), use)
    assert b"Bearer token-of-canary" in asked
    assert b"/v1/stream" in asked


def test_a_stream_that_is_not_to_be_had_is_an_error() -> None:
    async def use(watching: Watching) -> None:
        assert not await watching.opened(60)
        assert watching.error is not None
        assert "revoked" in watching.error
        assert await watching.told(1, 60) is None

    watched(DENIED, use)


def test_one_that_does_not_open_is_waited_for_within_bounds() -> None:
    async def use(watching: Watching) -> None:
        assert not await watching.opened(0.05)
        assert watching.error is None

    watched(HEAD, use)


def test_the_token_is_waited_for() -> None:
    async def sign(uid: str) -> str:
        raise ValueError(uid)

    async def go() -> None:
        async with CanaryStreams("http://127.0.0.1:1", sign).watching("canary"):
            pass

    with pytest.raises(ValueError, match="canary"):
        asyncio.run(go())

"""Server-Sent Events: a stream as WHATWG has it, plain ASGI, the same bytes to all who are told the same."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any

from ledger.errors import LedgerError
from ledger.front import asked
from ledger.front.access import within
from ledger.front.asked import MAX_BODY_BYTES, StreamRequest
from ledger.front.beats import Beats
from ledger.front.frames import Frame
from ledger.front.streams import LATER_SECONDS, Streams, TooMany
from ledger.front.watcher import Watcher, new_watcher
from ledger.http import problems
from ledger.http.problems import Problem
from ledger.server.connections import Standing, vouch
from ledger.server.stuck import STUCK_SECONDS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FRAMES_AT_ONCE = 500
COMMENT = b":\n\n"
"""Keeps the connection in use where there is nothing to tell."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def stream(streams: Streams, scope: Message, receive: Receive, send: Send) -> None:
    """One request for a stream, to its end."""
    headers = dict(scope["headers"])
    try:
        query = asked.query_of(scope)
        who = await streams.access.viewer(headers, query)
        vouch(scope, Standing.KEYED)
        body = await _body(receive) if scope["method"] == "POST" else None
        wanted = within(who, asked.read(query, headers, body))
        with streams.opened(who, lambda: new_watcher(wanted)) as watcher:
            await _tell(streams, watcher, wanted, receive, send)
    except TooMany:
        await _turn_away(headers, scope, receive, send)
    except Problem as problem:
        await problems.answer(problem)(scope, receive, send)
    except LedgerError as error:
        await problems.from_ledger_error(error, streams.outages, scope["path"])(scope, receive, send)


async def _tell(streams: Streams, watcher: Watcher, wanted: StreamRequest, receive: Receive, send: Send) -> None:
    parts = streams.hub.open(watcher, wanted.last, snapshot=wanted.begins_with_all)
    # What fails before this can still be told by a status.
    first = await anext(parts)
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
    leaving = asyncio.create_task(_until_gone(receive, watcher))
    try:
        await _write(send, _retry(streams.retry_seconds()))
        await _write_frames(send, first)
        async with aclosing(parts):
            async for part in parts:
                if watcher.over is not None:
                    break
                await _write_frames(send, part)
        await _go_on(streams, watcher, send)
    except TimeoutError:
        watcher.end("gone")
    except (Problem, LedgerError):
        # The answer has begun, so it can only end: its reader comes again, and goes on from the last id.
        watcher.end(watcher.over or "failed")
    finally:
        leaving.cancel()
    if watcher.over in ("stopping", "failed"):
        await _write(send, _retry(streams.retry_seconds()))
    if watcher.over != "gone":
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _go_on(streams: Streams, watcher: Watcher, send: Send) -> None:
    """Whatever changes, until the end."""
    async with Beats(watcher) as beats:
        while watcher.over is None:
            await watcher.wait()
            beats.seen()
            if told := watcher.take():
                parts = [frame.sse for frame in told]
                parts.append(streams.hub.progress)
                for start in range(0, len(parts), FRAMES_AT_ONCE):
                    data = b"".join(parts[start : start + FRAMES_AT_ONCE])
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    beats.seen()
            if beats.is_due and not watcher.waiting:
                # What it says holds of a reader for whom nothing waits.
                beat = streams.hub.heartbeat()
                data = COMMENT if beat is None else beat.sse + streams.hub.progress
                await send({"type": "http.response.body", "body": data, "more_body": True})
                beats.beaten()


def _retry(seconds: float) -> bytes:
    return b"retry: %d\n\n" % round(1000 * seconds)


async def _write_frames(send: Send, told: Sequence[Frame]) -> None:
    for start in range(0, len(told), FRAMES_AT_ONCE):
        await _write(send, b"".join([frame.sse for frame in told[start : start + FRAMES_AT_ONCE]]))


async def _write(send: Send, data: bytes) -> None:
    # It waits while the reader's buffers are full.
    async with asyncio.timeout(STUCK_SECONDS):
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _until_gone(receive: Receive, watcher: Watcher) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watcher.end("gone")


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the body was cut off")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Problem(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


async def _turn_away(headers: dict[bytes, bytes], scope: Message, receive: Receive, send: Send) -> None:
    """Tell when to come again: a browser's EventSource takes any status but 200 for the end of all tries."""
    if b"sec-fetch-mode" in headers or b"origin" in headers:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
        await send({"type": "http.response.body", "body": _retry(LATER_SECONDS)})
        return
    retry = {"Retry-After": str(round(LATER_SECONDS))}
    problem = Problem(503, "there are as many streams as there may be (front_connections)", headers=retry)
    await problems.answer(problem)(scope, receive, send)

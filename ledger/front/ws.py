"""WebSockets: the same events as objects; the reader may watch more users or fewer, and go on from a cursor."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec

from ledger.errors import LedgerError
from ledger.front import asked
from ledger.front.access import Viewer, may_watch, within
from ledger.front.asked import StreamRequest
from ledger.front.beats import Beats
from ledger.front.frames import Frame
from ledger.front.streams import Streams, TooMany
from ledger.front.watcher import Watcher, new_watcher
from ledger.http.problems import Problem
from ledger.http.questions import MAX_UIDS
from ledger.server.connections import Standing, vouch
from ledger.server.stuck import STUCK_SECONDS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY_VIOLATION, TRY_AGAIN_LATER, GOING_AWAY, INVALID = 1008, 1013, 1001, 1007
"""RFC 6455, 7.4.1, and the registry."""

MAX_MESSAGE_BYTES = asked.MAX_BODY_BYTES


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a reader may send, one of these at a time."""

    watch: list[str] | None = None
    unwatch: list[str] | None = None
    resume: str | None = None


_decode = msgspec.json.Decoder(_Order).decode


async def websocket(streams: Streams, scope: Message, receive: Receive, send: Send) -> None:
    """One connection, to its end; what is wrong is told by the code and the reason of its close."""
    headers = dict(scope["headers"])
    assert (await receive())["type"] == "websocket.connect"
    try:
        query = asked.query_of(scope)
        who = await streams.access.viewer(headers, query)
        vouch(scope, Standing.KEYED)
        wanted = within(who, asked.read(query, headers, None))
    except Problem as problem:
        await _refuse(send, POLICY_VIOLATION, problem.detail)
        return
    except LedgerError as error:
        await _refuse(send, TRY_AGAIN_LATER, str(error))
        return
    try:
        with streams.opened(who, lambda: new_watcher(wanted)) as watcher:
            await send({"type": "websocket.accept"})
            await _serve(streams, _Reader(who, watcher), wanted, receive, _Writer(send))
    except TooMany:
        await _refuse(send, TRY_AGAIN_LATER, "there are as many streams as there may be (front_connections)")


class _Writer:
    """Frames on their way to the reader: what answers an order and what changes, one after the other."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self._lock = asyncio.Lock()

    async def write(self, told: Sequence[Frame]) -> None:
        async with self._lock:
            for frame in told:
                async with asyncio.timeout(STUCK_SECONDS):
                    await self._send(frame)

    async def tell(self, told: Sequence[Frame], beats: Beats) -> None:
        """The same of a stream that has begun, whose reader's patience is measured beside."""
        async with self._lock:
            for frame in told:
                await self._send(frame)
                beats.seen()

    async def _send(self, frame: Frame) -> None:
        await self.send({"type": "websocket.send", "text": frame.ws})


class _Reader(NamedTuple):
    """Who reads, and what they are told."""

    viewer: Viewer
    watcher: Watcher


async def _serve(streams: Streams, reader: _Reader, wanted: StreamRequest, receive: Receive, writer: _Writer) -> None:
    watcher = reader.watcher
    begun = asyncio.Event()
    orders = asyncio.create_task(_obey(streams, reader, receive, writer, begun))
    code, why = GOING_AWAY, ""
    try:
        async with aclosing(streams.hub.open(watcher, wanted.last, snapshot=wanted.begins_with_all)) as parts:
            async for part in parts:
                begun.set()
                if watcher.over is not None:
                    break
                await writer.write(part)
        await _go_on(streams, watcher, writer)
        code, why = _CLOSES.get(watcher.over or "", (GOING_AWAY, ""))
    except Problem as problem:
        code, why = POLICY_VIOLATION, problem.detail
    except LedgerError as error:
        code, why = TRY_AGAIN_LATER, str(error)
    except TimeoutError:
        watcher.end("gone")
    finally:
        orders.cancel()
    if watcher.over != "gone":
        await writer.send({"type": "websocket.close", "code": code, "reason": _short(why)})


_CLOSES = {
    "revoked": (POLICY_VIOLATION, "the key or the token was revoked"),
    "expired": (POLICY_VIOLATION, "the token has expired"),
    "deleted": (POLICY_VIOLATION, "the list was deleted"),
    "changed": (TRY_AGAIN_LATER, "many came to the list; go on from the last id"),
    "slow": (TRY_AGAIN_LATER, "too much waited to be read; go on from the last id"),
    "epoch": (GOING_AWAY, "the ledger is another one; begin anew"),
    "stopping": (GOING_AWAY, "the service is stopping; go on from the last id"),
    "invalid": (INVALID, 'not one of {"watch": […]}, {"unwatch": […]}, {"resume": "id"}'),
}


async def _go_on(streams: Streams, watcher: Watcher, writer: _Writer) -> None:
    async with Beats(watcher) as beats:
        while watcher.over is None:
            await watcher.wait()
            beats.seen()
            await writer.tell(watcher.take(), beats)
            if beats.is_due and not watcher.waiting:
                if (beat := streams.hub.heartbeat()) is not None:
                    await writer.tell([beat], beats)
                beats.beaten()


async def _obey(streams: Streams, reader: _Reader, receive: Receive, writer: _Writer, begun: asyncio.Event) -> None:
    """Take what the reader sends, until they leave."""
    watcher = reader.watcher
    while (message := await receive())["type"] == "websocket.receive":
        try:
            order = _order(message)
            # Before the first part the stream watches nobody yet: there is nothing to go on with, or to leave.
            await begun.wait()
            if order.watch is not None:
                await _watch(streams, reader, order.watch)
            if order.unwatch is not None and watcher.uids is not None:
                streams.hub.remove(watcher, order.unwatch)
            if order.resume is not None:
                await streams.hub.resume(watcher, order.resume)
        except (Problem, LedgerError) as error:
            data = msgspec.json.encode({"detail": str(error)})
            await writer.write([Frame("problem", data)])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            watcher.end("invalid")
            return
    watcher.end("gone")


def _order(message: Message) -> _Order:
    text = message.get("text")
    data = text.encode() if text is not None else message.get("bytes") or b""
    if len(data) > MAX_MESSAGE_BYTES:
        raise Problem(413, f"a message of more than {MAX_MESSAGE_BYTES} bytes")
    return _decode(data)


async def _watch(streams: Streams, reader: _Reader, uids: list[str]) -> None:
    asked.check(uids, "watch")
    watcher = reader.watcher
    may_watch(reader.viewer, uids)
    if watcher.list is not None:
        raise Problem(422, "watch: this stream is of a list; add to that")
    if watcher.uids is None:
        raise Problem(422, "watch: this stream tells of everybody already; name a user in its address to tell of some")
    if len(watcher.uids | set(uids)) > MAX_UIDS:
        raise Problem(422, f"watch: at most {MAX_UIDS} users")
    await streams.hub.add(watcher, uids)


async def _refuse(send: Send, code: int, why: str) -> None:
    """Before it is accepted, a close is an HTTP 403 that says nothing; so it is accepted first."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": code, "reason": _short(why)})


def _short(why: str) -> str:
    """A close has room for 123 bytes."""
    return why.encode()[:120].decode(errors="ignore")

"""One connection of a client to a node: it comes, is let in or refused, answers pings, and goes; all within bounds."""

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from ledger.sources.wukongim.protocol import reasons
from ledger.sources.wukongim.protocol.frames import (
    Connack,
    Connect,
    Disconnect,
    Frame,
    FrameError,
    FrameReader,
    Ping,
    Pong,
    encode,
)

ANSWER_SECONDS = 10.0
"""For a node to take the connection, and as long again to answer; v2 closes one that it refuses after 4 s."""
CLOSE_SECONDS = 1.0
CHUNK_BYTES = 65_536

DEVICE_ID = "presence-ledger-canary"
"""The same each time: a connection that a node still holds of the time before gives way, and nobody is kicked."""


class ConnectionFailed(Exception):
    """The connection is not to be had, or is over; the message says why, in words."""


class Unreachable(ConnectionFailed):
    """Nobody takes the connection."""


class LoginRefused(ConnectionFailed):
    """The node does not let this user in."""


class Broken(ConnectionFailed):
    """Whoever is there does not speak the protocol, does not answer in time, or has ended the connection."""


class Address(NamedTuple):
    """Where a node's clients connect."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ClientIdentity(NamedTuple):
    """Who connects."""

    uid: str
    token: str
    device_flag: int


class OpenConnection:
    """A connection that was let in. Messages that come over it are passed over, and not acknowledged."""

    def __init__(self, frames: "_Frames") -> None:
        self._frames = frames

    async def ping(self, seconds: float = ANSWER_SECONDS) -> None:
        """See that the node still answers. Raises Broken."""
        await self._frames.send(Ping())
        with _patience(seconds, "no answer to a ping"):
            async with asyncio.timeout(seconds):
                while not isinstance(frame := await self._frames.next(), Pong):
                    if isinstance(frame, Disconnect):
                        raise Broken(f"the node ended the connection: {reasons.in_words(frame.reason)}")


@asynccontextmanager
async def connected(
    address: Address, client: ClientIdentity, seconds: float = ANSWER_SECONDS
) -> AsyncIterator[OpenConnection]:
    """A connection to a node as a client, closed in order afterwards. Raises ConnectionFailed."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=CHUNK_BYTES)
    except TimeoutError as error:
        raise Unreachable(f"{address} did not take the connection within {seconds:g} s") from error
    except UnicodeError as error:  # whatever cannot be looked up, such as two dots in a row
        raise Unreachable(f"{address} cannot be reached: not a host name") from error
    except OSError as error:
        raise Unreachable(f"{address} cannot be reached: {error.strerror or type(error).__name__}") from error
    frames = _Frames(reader, writer)
    try:
        await _introduce(frames, client, seconds)
        yield OpenConnection(frames)
    finally:
        await _close(writer)


async def _introduce(frames: "_Frames", client: ClientIdentity, seconds: float) -> None:
    """Raises Refused and Broken."""
    # Any 32 bytes are a public key; what the node encrypts to it nobody reads, so nobody needs the private one.
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    milliseconds = time.time_ns() // 1_000_000
    await frames.send(Connect(client.uid, client.token, client.device_flag, DEVICE_ID, key, milliseconds))
    with _patience(seconds, "no answer to CONNECT"):
        async with asyncio.timeout(seconds):
            try:
                frame = await frames.next()
            except _Ended as ended:
                raise LoginRefused(reasons.UNANSWERED) from ended
    match frame:
        case Connack(reasons.SUCCESS):
            return
        case Connack(code) | Disconnect(code):
            raise LoginRefused(reasons.in_words(code))
        case _:
            raise Broken("the answer to CONNECT is none: is it the address of the node's clients?")


async def _close(writer: asyncio.StreamWriter) -> None:
    """No server asks for a DISCONNECT: the end of the connection is what each takes for it."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            writer.close()
            await writer.wait_closed()
    writer.transport.abort()


class _Ended(Broken):
    """The other side has closed the connection."""


class _Frames:
    """The frames of a connection, one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()
        self._waiting: list[Frame] = []

    async def send(self, frame: Connect | Ping) -> None:
        """Raises Broken."""
        try:
            self._writer.write(encode(frame))
            await self._writer.drain()
        except FrameError as error:
            raise Broken(str(error)) from error
        except OSError as error:
            raise _Ended(f"the connection broke: {error.strerror or type(error).__name__}") from error

    async def next(self) -> Frame:
        """Raises Broken."""
        while not self._waiting:
            try:
                data = await self._reader.read(CHUNK_BYTES)
            except OSError as error:
                raise _Ended(f"the connection broke: {error.strerror or type(error).__name__}") from error
            if not data:
                raise _Ended("the node ended the connection")
            try:
                self._waiting = self._frames.feed(data)
            except FrameError as error:
                raise Broken(f"the node does not speak the protocol: {error}") from error
        return self._waiting.pop(0)


@contextlib.contextmanager
def _patience(seconds: float, what: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise Broken(f"{what} within {seconds:g} s") from error

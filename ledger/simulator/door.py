"""The door of a simulated node: where clients connect by TCP, are let in or refused, and stay until one side goes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from time import time

from ledger.simulator.client_frames import (
    AUTHENTICATION_FAILED,
    BANNED,
    KEY_IS_EMPTY,
    PONG,
    Introduction,
    NoFrameError,
    refusal,
    take,
    welcome,
)
from ledger.simulator.cluster import SimulatedSession
from ledger.simulator.node_port import HOST, close_at_once
from ledger.simulator.plan import PlanError, Profile
from ledger.simulator.ports import free_port

CHUNK = 1 << 16
CLOSE_SECONDS = 1.0
FIRST_FRAME_SECONDS = 4.0
"""So long a connection is kept that has not introduced itself."""


@dataclass(slots=True)
class Admission:
    """Who is let in. Any thread may change it."""

    tokens: dict[tuple[str, int], str] | None = None
    """By uid and device flag, as `/user/token` was told; None: nobody needs one."""
    banned: set[str] = field(default_factory=set)
    silent_seconds: float = FIRST_FRAME_SECONDS
    """So long v2 keeps a connection that it refuses, without a word."""

    def refuses(self, client: Introduction) -> int | None:
        """The reason for which a client is not let in."""
        if self.tokens is not None and (
            not client.token or self.tokens.get((client.uid, client.device_flag)) != client.token
        ):
            return AUTHENTICATION_FAILED
        return BANNED if client.uid in self.banned else None


Enter = Callable[[Introduction, Callable[[], None]], Awaitable[SimulatedSession | None]]
"""Lets a client in -> its session; the function is called when the node ends it. None: the node is down."""
Leave = Callable[[SimulatedSession], None]


class Door:
    """One node's. `port` 0 becomes a free one at once and stays the same while the door is shut and opened."""

    def __init__(
        self, profile: Profile, number: int, port: int, admission: Admission, enter: Enter, leave: Leave, seed: object
    ) -> None:
        self.port = port or free_port()
        self._profile = profile
        self._number = number
        self._admission = admission
        self._enter = enter
        self._leave = leave
        self._random = Random(f"{seed}:door:{number}")
        self._server: asyncio.Server | None = None
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def is_open(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    async def open(self) -> None:
        """Listen. Raises PlanError where the port is taken."""
        try:
            self._server = await asyncio.start_server(self._visit, HOST, self.port, limit=CHUNK)
        except OSError as error:
            raise PlanError(f"port {self.port} is taken; choose another one with --client-port") from error

    async def shut(self) -> None:
        """Reset every connection at once; further ones are refused."""
        server, self._server = self._server, None
        if server is None:
            return
        await close_at_once(server, self._visits)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits[task] = writer
        session = None
        try:
            buffer = bytearray()
            async with asyncio.timeout(FIRST_FRAME_SECONDS):
                client = await self._next(reader, buffer)
            if isinstance(client, Introduction) and (reason := self._not_let_in(client)) is None:
                session = await self._enter(client, writer.close)
                if session is not None:
                    writer.write(welcome(self._profile, client, self._number, time(), self._random))
                    await self._stay(reader, writer, buffer)
            elif isinstance(client, Introduction):
                await self._refuse(reader, writer, reason)
        except (NoFrameError, OSError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            del self._visits[task]
            if session is not None:
                self._leave(session)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await writer.wait_closed()

    def _not_let_in(self, client: Introduction) -> int | None:
        if not client.client_key.strip():
            return AUTHENTICATION_FAILED if self._profile == "v1" else KEY_IS_EMPTY
        if not client.uid.strip() or any(sign in client.uid for sign in "@#&"):
            raise NoFrameError
        return self._admission.refuses(client)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reason: int | None) -> None:
        """v1 and v3 say why; v2 says nothing, and closes the connection when it has been idle for a while."""
        if self._profile in ("v1", "v3") and reason is not None:
            writer.write(refusal(reason))
            await writer.drain()
            return
        async with asyncio.timeout(self._admission.silent_seconds):
            await reader.read()

    async def _stay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, buffer: bytearray) -> None:
        while (heard := await self._next(reader, buffer)) is not None:
            if heard == "ping":
                writer.write(PONG)
                await writer.drain()

    @staticmethod
    async def _next(reader: asyncio.StreamReader, buffer: bytearray) -> object:
        """The next frame; None at the end of the connection."""
        while (heard := take(buffer)) is None:
            data = await reader.read(CHUNK)
            if not data:
                return None
            buffer += data
        return heard

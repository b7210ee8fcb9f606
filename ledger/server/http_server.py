"""The HTTP server: granian inside our own event loop, on a port that a new instance may share with the old one.

An upgrade starts the new instance alongside the old one and then stops that. Linux spreads new connections over all who
listen, and what waits in the queue of a socket that closes is reset; so the one that stops first has new
connections sent to the other, then ends those it has by telling their senders, and closes last.
"""

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import psutil
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]
from granian.server.embed import Server as Granian

from ledger.errors import LedgerError
from ledger.server.connections import CONNECTION, KEPT_SECONDS, Connections
from ledger.server.keeper import ConnectionKeeper
from ledger.settings import Listen

BACKLOG = 4096
DRAIN_SECONDS = 2.5
"""An idle WuKongIM polls its own queue every two seconds: by then each of its connections has been told."""
LAST_SECONDS = 0.5
"""For connections that came at the very end of that."""
FINISH_SECONDS = 4.5
"""Requests under way end within `store_wait_seconds`; one that is never sent to its end is cut off."""
LOOK_SECONDS = 0.05

# Linux's <asm-generic/socket.h>; Python's socket module has no names for them.
ATTACH_FILTER = 26
ATTACH_REUSEPORT_CBPF = 51
DETACH_REUSEPORT_BPF = 68

# Programs of classic BPF: code, jump if true, jump if false, operand.
Program = Sequence[tuple[int, int, int, int]]
LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x30, 0x54, 0x15, 0x06
CHOOSE_THE_SECOND: Program = [(RETURN, 0, 0, 1)]
"""Where two share a port, the one that listened first is the first of Linux's list. Without a second, no change."""
DROP_NEW_CONNECTIONS: Program = [
    (LOAD_BYTE, 0, 0, 13),  # TCP's flags
    (AND, 0, 0, 0x12),  # SYN and ACK
    (JUMP_IF_EQUAL, 0, 1, 0x02),  # SYN alone
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, 0x7FFFFFFF),
]
"""A client that gets no answer to its first packet sends it again after a second; by then a restart may be over."""

MAX_CONNECTIONS = 4096

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class PortTaken(LedgerError):
    """Another program listens on the address."""


def bind(listen: Listen, setting: str = "listen") -> socket.socket:
    """A socket that has the address and does not listen yet. Raises PortTaken, or says what else is wrong.

    Linux lets a port be shared by those who ask for it and run as one user: an instance next to another of ours gets
    through, a port that another program holds does not.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((listen.host, listen.port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"{listen} is taken by another program; stop it, or set `{setting}` to another port"
            ) from error
        raise LedgerError(
            f"cannot listen on {listen}: {error.strerror}; set `{setting}` to an address of this machine"
        ) from error
    return bound


class HttpServer:
    """Serves an app on a bound socket from `start` to `stop`, over so many connections at most.

    `count_closed` is told why of each connection that is closed before its time.
    """

    def __init__(
        self,
        app: Any,
        bound: socket.socket,
        most: int = MAX_CONNECTIONS,
        count_closed: Callable[[str], object] | None = None,
        *,
        websockets: bool = False,
    ) -> None:
        self._app = app
        self._socket = bound
        self._address = bound.getsockname()
        self._stopping = False
        self._connections = Connections(most)
        self._keeper = ConnectionKeeper(bound, self._connections, count_closed)
        self._granian = _Granian(self._serve_one, bound, most, websockets)
        self._serving: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """From here on no connection is refused; those that come wait for `start`."""
        self._socket.listen(BACKLOG)

    def start(self) -> None:
        """Listen, and answer."""
        self.listen()
        # What an instance that stopped earlier left with the port would send all connections to one of us.
        _set_option(self._socket, DETACH_REUSEPORT_BPF, struct.pack("@i", 0))
        self._serving = asyncio.create_task(self._granian.serve())
        self._keeper.start()

    async def stop(self) -> None:
        """Take no new connections where another instance does, answer what comes on those there are, then close.

        Takes up to `DRAIN_SECONDS` and `LAST_SECONDS` while senders keep connections open, and `FINISH_SECONDS` for
        requests under way.
        """
        assert self._serving is not None
        self._stopping = True
        _attach(self._socket, ATTACH_REUSEPORT_CBPF, CHOOSE_THE_SECOND)
        await self._until_no_connections(DRAIN_SECONDS)
        _attach(self._socket, ATTACH_FILTER, DROP_NEW_CONNECTIONS)
        await self._until_no_connections(LAST_SECONDS)
        self._granian.stop()  # type: ignore[no-untyped-call]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._serving, FINISH_SECONDS)
        await asyncio.to_thread(self._keeper.stop)
        self._socket.close()

    async def _until_no_connections(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            # First of all a pause, in which the connections of the queue are accepted.
            await asyncio.sleep(LOOK_SECONDS)
            if asyncio.get_running_loop().time() > deadline or not await asyncio.to_thread(self._has_connections):
                return

    def _has_connections(self) -> bool:
        port = self._address[1]
        connections = psutil.Process().net_connections("tcp")
        return any(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in connections)

    async def _serve_one(self, scope: Message, receive: Any, send: Send) -> None:
        connection = scope[CONNECTION] = self._connections.begin(scope["client"])
        try:
            await self._app(scope, receive, _closing(send) if self._stopping else send)
        finally:
            self._connections.end(connection)


def _closing(send: Send) -> Send:
    """An answer after which the connection ends."""

    async def send_and_close(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return send_and_close


class _Granian(Granian):
    """granian on our socket; on one of its own we could say nothing about who gets its connections."""

    def __init__(self, app: Any, listening: socket.socket, most: int, websockets: bool) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            # No sender of webhooks speaks HTTP/2 without TLS. And where both are spoken, the time-out below begins with
            # the first byte, never of a connection that sends none.
            http=HTTPModes.http1,
            websockets=websockets,
            backlog=BACKLOG,
            # Of connections accepted; by default it would be the backlog.
            backpressure=most,
            # Begins with the connection and again after each answer: so long it is kept, and so long a head may take
            # where the keeper has not closed it.
            http1_settings=HTTP1Settings(header_read_timeout=int(KEPT_SECONDS * 1000)),
            log_enabled=False,
            log_access=False,
        )
        self._listening = listening

    def _init_shared_socket(self) -> None:
        # It takes the descriptor over and closes it.
        self._shd = SocketHolder(self._listening.dup().detach(), False, BACKLOG)  # type: ignore[assignment, call-arg]


def _attach(listening: socket.socket, option: int, program: Program) -> None:
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("@HBBI", *each) for each in program))
    _set_option(listening, option, struct.pack("@HP", len(program), ctypes.addressof(instructions)))


def _set_option(listening: socket.socket, option: int, value: bytes) -> None:
    """Where the system knows no such option, a stop may cut a connection off, as every server's does."""
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, option, value)

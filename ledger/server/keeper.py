"""Closes connections of a listener, since its server has no time-out for one that asks for nothing.

The server runs in this process, so its connections are among our own file descriptors: a thread looks at them now and
then, and shuts down those that may not stay. What answers requests pays nothing for it.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from ledger.server.connections import ClosedConnections, Connections, Peer

log = structlog.get_logger()

LOOK_SECONDS = 1.0
CROWDED_LOOK_SECONDS = 0.1
LOOK_SHARE = 0.2
"""Looks take so much of a processor at most."""
SAY_SECONDS = 60.0
"""Closing is logged at most so often."""

DESCRIPTORS = "/proc/self/fd"
"""Where Linux lists a process's descriptors. Elsewhere none is closed before `KEPT_SECONDS`."""

Inode = tuple[int, int]
"""What a descriptor stands for, as long as it is open: its device and number there."""


class ConnectionKeeper:
    """Keeps the connections of one listening socket within their bounds, from `start` to `stop`."""

    def __init__(
        self, listening: socket.socket, connections: Connections, count: Callable[[str], object] | None = None
    ) -> None:
        self._family = listening.family
        self._port = listening.getsockname()[1]
        self._connections = connections
        self._count = count
        self._closed = ClosedConnections()
        self._peers: dict[Inode, Peer | None] = {}
        """Of the descriptors seen at the last look; None is not a connection of ours."""
        self._may_say_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keep connections", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def look(self) -> float:
        """Close what may not stay; gives the seconds until the next look."""
        began = time.monotonic()
        found = self._accepted()
        closing = self._connections.to_close(began, found.keys())
        for peer, why in closing.items():
            if self._shut_down(found[peer], peer):
                self._closed.add([why])
                if self._count is not None:
                    self._count(why)
        self._say(began, len(found))
        pause = CROWDED_LOOK_SECONDS if self._connections.is_filled(len(found)) else LOOK_SECONDS
        return max(pause, (time.monotonic() - began) / LOOK_SHARE)

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._ended.wait(pause):
            try:
                pause = self.look()
            except Exception:  # the service goes on without it, as long as it is not flooded
                log.exception("connections_not_kept")
                pause = SAY_SECONDS

    def _accepted(self) -> Mapping[Peer, int]:
        """The connections accepted on our port, each with its descriptor."""
        found, peers = {}, {}
        for descriptor in _descriptors():
            try:
                status = os.fstat(descriptor)
            except OSError:  # closed meanwhile
                continue
            inode = status.st_dev, status.st_ino
            peers[inode] = peer = self._peers[inode] if inode in self._peers else self._peer(descriptor)
            if peer is not None:
                found[peer] = descriptor
        self._peers = peers
        return found

    def _peer(self, descriptor: int) -> Peer | None:
        """Who is at the other end, if it is one of our connections; the descriptor stays as it is."""
        try:
            seen = socket.socket(self._family, socket.SOCK_STREAM, 0, fileno=descriptor)
        except OSError:
            return None
        try:
            here, there = seen.getsockname(), seen.getpeername()
        except OSError:  # not connected, or not a socket
            return None
        finally:
            seen.detach()
        # A socket of another family may have been taken for one of ours: its address is another shape.
        if not (isinstance(here, tuple) and isinstance(there, tuple) and here[1] == self._port):
            return None
        # Without the interface of a link-local address, which the server leaves out.
        return there[0].partition("%")[0], str(there[1])

    def _shut_down(self, descriptor: int, peer: Peer) -> bool:
        """End the connection; its server then finds it ended, and closes it.

        Of a copy, whose number nothing else uses meanwhile: the descriptor may be another connection's by now.
        """
        try:
            copy = os.dup(descriptor)
        except OSError:
            return False
        try:
            if self._peer(copy) != peer:
                return False
            with socket.socket(self._family, socket.SOCK_STREAM, 0, fileno=copy) as connection:
                copy = -1
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            return True
        finally:
            if copy >= 0:
                os.close(copy)

    def _say(self, now: float, number: int) -> None:
        if now < self._may_say_at:
            return
        if closed := self._closed.take():
            self._may_say_at = now + SAY_SECONDS
            log.warning("connections_closed", open=number, most=self._connections.most, **closed)


def _descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir(DESCRIPTORS)]  # noqa: PTH208  (thousands of them, often)
    except OSError:
        return []

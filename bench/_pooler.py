"""A pooler before a PostgreSQL, as PgBouncer is one: a session of the server for each client, or for a transaction."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_ASKS = {3, 5, 10, 11}
"""Kinds of authentication at which the client has to answer."""


class _Message(NamedTuple):
    kind: bytes
    body: bytes

    def encode(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


class _Wire:
    """One side's stream of messages. Raises ConnectionError at its end."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        if end.family != socket.AF_UNIX:
            # Each message goes on by itself, and none is to wait for the answer to the one before.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            piece = self.end.recv(size - len(found))
            if not piece:
                raise ConnectionError
            found += piece
        return found

    def message(self) -> _Message:
        kind = self.read(1)
        return _Message(kind, self._body())

    def startup(self) -> bytes:
        """The first message of a connection, which has no kind."""
        return self._body()

    def send(self, message: _Message) -> None:
        self.end.sendall(message.encode())

    def _body(self) -> bytes:
        (length,) = struct.unpack("!i", self.read(4))
        return self.read(length - 4)


class _Lent:
    """A session of the server, given back once."""

    def __init__(self, server: _Wire, give: Callable[[_Wire], None]) -> None:
        self.server = server
        self._give = give
        self._is_back = False

    def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            self._give(self.server)


class _Pooler:
    def __init__(self, server: tuple[str, int] | str, by_transaction: bool) -> None:
        self._server = server
        self._by_transaction = by_transaction
        self._guard = threading.Lock()
        self._free: list[_Wire] = []
        """The last one that was given back goes out first."""
        self._open: list[socket.socket] = []

    def serve(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(_Wire(client),), daemon=True).start()

    def close(self) -> None:
        with self._guard:
            for end in self._open:
                end.close()

    def _client(self, client: _Wire) -> None:
        with contextlib.suppress(OSError, ConnectionError), client.end:
            server = self._login(client)
            if server is None:
                return
            if self._by_transaction:
                self._give(server)
            while True:
                asked = client.message()
                using = _Lent(self._take(), self._give) if self._by_transaction else _Lent(server, lambda _: None)
                try:
                    _transaction(client, using.server, asked, using.give_back)
                finally:
                    using.give_back()

    def _login(self, client: _Wire) -> _Wire | None:
        first = client.startup()
        while struct.unpack("!i", first[:4])[0] in {_SSL, _GSS}:
            client.end.sendall(b"N")
            first = client.startup()
        if struct.unpack("!i", first[:4])[0] == _CANCEL:
            return None
        server = _Wire(_connected(self._server))
        with self._guard:
            self._open.append(server.end)
        server.end.sendall(struct.pack("!i", len(first) + 4) + first)
        while True:
            message = server.message()
            if message.kind == b"K":
                # It knows sessions of its own, which is what tells that it is there.
                message = _Message(b"K", struct.pack("!i", 1) + message.body[4:])
            client.send(message)
            if message.kind == b"R" and struct.unpack("!i", message.body[:4])[0] in _ASKS:
                server.send(client.message())
            if message.kind == b"E":
                return None
            if message.kind == b"Z":
                return server

    def _take(self) -> _Wire:
        with self._guard:
            return self._free.pop()

    def _give(self, server: _Wire) -> None:
        with self._guard:
            self._free.append(server)


def _connected(server: tuple[str, int] | str) -> socket.socket:
    if not isinstance(server, str):
        return socket.create_connection(server)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    return connection


def _transaction(client: _Wire, server: _Wire, asked: _Message, over: Callable[[], None]) -> None:
    """Hand over what comes until the server is in no transaction; `over` is called before the client learns of it.

    Raises ConnectionError where the client ends.
    """
    while asked.kind != b"X":
        server.send(asked)
        while asked.kind in {b"Q", b"S"}:
            answered = server.message()
            is_over = answered.kind == b"Z" and answered.body == b"I"
            if is_over:
                # Else another client, told by this one, would get another session of the server.
                over()
            client.send(answered)
            if is_over:
                return
            if answered.kind == b"Z":
                break
        asked = client.message()
    raise ConnectionError


@contextmanager
def pooled(url: str, *, by_transaction: bool, port: int = 0) -> Iterator[str]:
    """The URL of a server by way of a pooler on a port of 127.0.0.1, a free one by default."""
    found = conninfo_to_dict(url)
    host, at = str(found["host"]), int(str(found.get("port", 5432)))
    pooler = _Pooler(f"{host}/.s.PGSQL.{at}" if host.startswith("/") else (host, at), by_transaction)
    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=pooler.serve, args=(listening,), daemon=True).start()
        user, password, database = (quote(str(found[name]), safe="") for name in ("user", "password", "dbname"))
        try:
            yield f"postgresql://{user}:{password}@127.0.0.1:{listening.getsockname()[1]}/{database}"
        finally:
            pooler.close()

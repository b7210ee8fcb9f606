"""A receiver of Standard Webhooks that does what it is told: takes them, refuses, is slow, hangs, or is away.

It keeps what it has taken: of each user the last, in the order that is told, and how often each was told.
"""

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from standardwebhooks import Webhook, WebhookVerificationError

Mood = Literal["well", "slow", "wrong", "garbage", "silent", "endless", "redirecting", "gone", "asking"]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105

SLOW_SECONDS = 0.5
RETRY_AFTER_SECONDS = 2

_ANSWERS = {
    "well": b"HTTP/1.1 204 No Content\r\n\r\n",
    "slow": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "wrong": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
    "garbage": b"\x00\xff garbage \r\n\r\n",
    "redirecting": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "gone": b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    "asking": b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % RETRY_AFTER_SECONDS,
}


@dataclass
class Request:
    """One POST: its headers in small letters, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes
    mood: Mood
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """Listens while it is `up`, on the same port each time; whatever it answers with success it has taken."""

    def __init__(self, secret: str = SECRET) -> None:
        self.mood: Mood = "well"
        self.requests: list[Request] = []
        self.shown: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.times: Counter[str] = Counter()
        self.faults: list[str] = []
        """What was not as the standard, or the order, has it."""
        self.sent_bytes = 0
        self._verifier = Webhook(secret)
        self._order: dict[str, tuple[int, str]] = {}
        self._bodies: dict[str, bytes] = {}
        self._lock = threading.Lock()
        # Held, so that nobody else is given the port while it is away.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/presence"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._ending = threading.Event()

    def start(self) -> None:
        """Take connections."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        """Take none, and break those that there are."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            broken = list(self._open)
        for connection in broken:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The end."""
        self._ending.set()
        self.stop()
        self._holder.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while (request := self._read(stream)) is not None:
                    if not self._answer(connection, request):
                        return
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(connection)

    def _read(self, stream: Any) -> Request | None:
        first = stream.readline()
        if not first:
            return None
        headers = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        return Request(first.split()[1].decode(), headers, body, self.mood)

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        with self._lock:
            self.requests.append(request)
            self._check(request)
        match request.mood:
            case "silent":
                self._ending.wait(60)
                return False
            case "endless":
                self._take(request)
                self._pour(connection)
                return False
            case "slow":
                self._ending.wait(SLOW_SECONDS)
        if request.mood in ("well", "slow"):
            self._take(request)
        connection.sendall(_ANSWERS[request.mood])
        return request.mood != "garbage"

    def _pour(self, connection: socket.socket) -> None:
        """A gigabyte, or as much of it as is read."""
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b"x" * 1048576)
            self.sent_bytes += 1048576

    def _check(self, request: Request) -> None:
        """Whether it is signed, and the id names the bytes."""
        try:
            self._verifier.verify(request.body, request.headers)
        except WebhookVerificationError as error:
            self.faults.append(f"not verified: {error}")
        identifier = request.headers.get("webhook-id", "")
        if self._bodies.setdefault(identifier, request.body) != request.body:
            self.faults.append(f"{identifier} named other bytes before")

    def _take(self, request: Request) -> None:
        data = json.loads(request.body)["data"]
        with self._lock:
            for change in data["changes"]:
                uid, as_of = change["uid"], change["as_of"]
                order = as_of["position"], as_of["at"]
                self.history.append(change)
                self.times[uid] += 1
                if order >= self._order.get(uid, (0, "")):
                    self._order[uid], self.shown[uid] = order, change


@contextlib.contextmanager
def receiving(secret: str = SECRET) -> Iterator[Receiver]:
    """A receiver that is up and well."""
    receiver = Receiver(secret)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()

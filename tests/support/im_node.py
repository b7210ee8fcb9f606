"""A WuKongIM node whose connections a test or a bench opens and closes by hand; it answers the truth, or lies."""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, NamedTuple

Mode = Literal["truth", "401", "400", "500", "html", "half", "nobody", "slow"]

WHOLE_ROW = {
    "ip": "127.0.0.1",
    "port": 40_000,
    "last_activity": "2026-11-23T08:30:04Z",
    "uptime": "3s",
    "idle": "3s",
    "device_id": "d1",
    "version": 5,
}
"""What a row of `/connz` has besides."""

LABELS = {0: "App(从)", 1: "Web(从)", 2: "PC(从)"}


class Answer(NamedTuple):
    """What a route says."""

    status: int
    body: bytes


CANNOT_ASK = Answer(400, b'{"msg": "transport: dial failed", "status": 400}')
"""Of a node that another one of its cluster does not answer."""
FAILURES = {
    "401": Answer(401, b""),
    "400": CANNOT_ASK,
    "500": Answer(500, b""),
    "html": Answer(200, b"<html>Bad gateway</html>"),
}


class ImNode:
    """One node, v2.2: what it holds, and how it answers. `mode` "nobody": a lie, the query knows of no connection."""

    def __init__(self, node_id: int = 1001, tls: Path | None = None) -> None:
        self.node_id = node_id
        self.mode: Mode = "truth"
        """Of every route but `/varz`."""
        self.lies: dict[str, Answer] = {}
        """What is answered in the truth's place, by route, `*` for all routes."""
        self.resets = False
        """Whether connections are reset before a request is read."""
        self.connections: dict[int, tuple[str, int]] = {}
        """By connId: uid and device flag."""
        self.clock_ahead_seconds = 0.0
        """Of the `Date` in its answers."""
        self.peers: list[ImNode] = []
        """The other nodes of its cluster, for whose users its query speaks, too, and without whom it does not."""
        self.asked: list[str] = []
        """Every route that was asked, in order."""
        self.asked_about: list[str] = []
        """Every uid that was asked about, in order."""
        self._tls = tls
        self._next = 1
        self._booted = time.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def is_down(self) -> bool:
        return self._server is None

    def connect(self, uid: str, flag: int = 0, tell: Callable[[str], object] = lambda _: None) -> str:
        """A client connects -> the item that its webhook would bring, told to `tell` before any look can see it."""
        number, self._next = self._next, self._next + 1
        item = f"{uid}-{flag}-1-{number}-{self._count(uid, flag) + 1}-{self._count(uid) + 1}"
        tell(item)
        self.connections[number] = (uid, flag)
        return item

    def close(self, uid: str, flag: int = 0) -> str:
        """Their client closes -> the item that its webhook would bring."""
        number = next(n for n, held in self.connections.items() if held == (uid, flag))
        del self.connections[number]
        return f"{uid}-{flag}-0-{number}-{self._count(uid, flag)}-{self._count(uid)}"

    def _count(self, uid: str, flag: int | None = None) -> int:
        return sum(held[0] == uid and flag in (None, held[1]) for held in self.connections.values())

    def start(self) -> None:
        """Boot, at the same port as before."""
        self.connections, self._next, self._booted = {}, 1, time.monotonic()
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        if self._tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def crash(self) -> None:
        """kill -9: nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, body: bytes) -> Answer:
        """What it says to a request."""
        route = path.partition("?")[0]
        self.asked.append(route)
        if route == "/user/onlinestatus":
            self.asked_about += json.loads(body)
        if (lie := self.lies.get(route, self.lies.get("*"))) is not None:
            return lie
        if route == "/varz":
            up = int(time.monotonic() - self._booted)
            said = {"server_id": str(self.node_id), "version": "", "connections": len(self.connections)}
            return Answer(200, json.dumps(said | {"uptime": f"{up}s"}).encode())
        if self.mode in FAILURES:
            return FAILURES[self.mode]
        held: list[tuple[int, tuple[str, int]]] = [] if self.mode == "nobody" else list(self.connections.items())
        answer: Any
        if route == "/connz":
            rows = [
                WHOLE_ROW | {"id": number, "uid": uid, "device": LABELS.get(flag, "未知(从)"), "node_id": self.node_id}
                for number, (uid, flag) in held
            ]
            answer = {"connections": rows, "total": len(rows), "offset": 0, "limit": 10**7}
        else:
            if any(peer.is_down for peer in self.peers):
                return CANNOT_ASK
            asked = set(json.loads(body))
            for peer in self.peers if self.mode == "truth" else ():
                held += peer.connections.items()
            answer = [{"uid": uid, "device_flag": flag, "online": 1} for _, (uid, flag) in held if uid in asked]
        text = json.dumps(answer).encode()
        return Answer(200, text[: len(text) // 2] if self.mode == "half" else text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, node: ImNode) -> None:
        super().__init__(("127.0.0.1", node.port), _handler(node))
        self._node = node

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether a request is read at all; a connection that is closed so sends a reset."""
        if self._node.resets:
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return not self._node.resets

    def shutdown_request(self, request: Any) -> None:
        """Without the polite end that would go before a reset."""
        if self._node.resets:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """The client has given up."""


def _handler(node: ImNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # A connection each: one kept open would outlive a crash.
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + node.clock_ahead_seconds)

        def _answer(self, body: bytes) -> None:
            status, data = node.answer(self.path, body)
            if node.mode == "slow" and self.path != "/varz":
                time.sleep(30)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@contextmanager
def im_node(node_id: int = 1001, tls: Path | None = None) -> Iterator[ImNode]:
    """A node that has booted, with the certificate and key of that file where it speaks TLS."""
    node = ImNode(node_id, tls)
    node.start()
    try:
        yield node
    finally:
        node.crash()

"""A WuKongIM node of v2.2 whose clients a case opens and closes by hand; lies may stand in its answers' place."""

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

HOST = "127.0.0.1"
LABELS = {0: "App(从)", 1: "Web(从)", 2: "PC(从)"}
ROW = {
    "ip": "10.0.0.1",
    "port": 40_000,
    "last_activity": "2026-11-23T08:30:04Z",
    "uptime": "3s",
    "idle": "3s",
    "device_id": "d1",
    "version": 5,
    "leader_id": 1001,
    "node_id": 1001,
}


class Lie(NamedTuple):
    """What a route answers in the truth's place."""

    status: int
    body: bytes


class FakeNode:
    """One node. `lies` stand in the place of answers by route, `*` for all routes; with `resets` no request is read."""

    def __init__(self, tls: Path | None = None) -> None:
        self.connections: dict[int, tuple[str, int]] = {}
        """By connId: uid and device flag."""
        self.lies: dict[str, Lie] = {}
        self.resets = False
        self.asked: list[str] = []
        self.port = 0
        self._tls = tls
        self._next = 1
        self._booted = time.monotonic()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def connect(self, *uids: str, flag: int = 0) -> bytes:
        """Clients connect, each as its user's first -> the body of their webhook."""
        items = []
        for uid in uids:
            self.connections[self._next] = (uid, flag)
            items.append(f"{uid}-{flag}-1-{self._next}-1-1")
            self._next += 1
        return json.dumps(items).encode()

    def close(self, *uids: str) -> bytes:
        """Their clients close -> the body of their webhook."""
        gone = {number: held for number, held in self.connections.items() if held[0] in uids}
        self.connections = {number: held for number, held in self.connections.items() if number not in gone}
        return json.dumps([f"{uid}-{flag}-0-{number}-0-0" for number, (uid, flag) in gone.items()]).encode()

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
        """Nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, body: bytes) -> Lie:
        """What it says."""
        route = path.partition("?")[0]
        self.asked.append(route)
        if (lie := self.lies.get(route, self.lies.get("*"))) is not None:
            return lie
        held = list(self.connections.items())
        if route == "/varz":
            up = f"{int(time.monotonic() - self._booted)}s"
            return _json({"server_id": "1001", "version": "", "connections": len(held), "uptime": up})
        if route == "/connz":
            rows = [ROW | {"id": n, "uid": uid, "device": LABELS.get(flag, "未知(从)")} for n, (uid, flag) in held]
            return _json({"connections": rows, "total": len(rows), "offset": 0, "limit": 10_000_000})
        asked = set(json.loads(body))
        return _json([{"uid": uid, "device_flag": flag, "online": 1} for _, (uid, flag) in held if uid in asked])


def _json(value: Mapping[str, object] | list[dict[str, object]]) -> Lie:
    return Lie(200, json.dumps(value).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, node: FakeNode) -> None:
        super().__init__((HOST, node.port), _handler(node))
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


def _handler(node: FakeNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # A connection each: one kept open would outlive a crash.
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            status, data = node.answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@contextmanager
def fake_node(tls: Path | None = None) -> Iterator[FakeNode]:
    """A node that has booted."""
    node = FakeNode(tls)
    node.start()
    try:
        yield node
    finally:
        node.crash()

"""A WuKongIM node whose connections a test opens and closes by hand; its query API tells the truth, or lies."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

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


class ImNode:
    """One node, v2.2: what it holds, and how it answers. `mode` "nobody": a lie, the query knows of no connection."""

    def __init__(self, node_id: int = 1001) -> None:
        self.node_id = node_id
        self.mode: Mode = "truth"
        self.connections: dict[int, tuple[str, int]] = {}
        """By connId: uid and device flag."""
        self.peers: list[ImNode] = []
        """The other nodes of its cluster, for whose users its query speaks, too, and without whom it does not."""
        self.asked: list[str] = []
        """Every route that was asked, in order."""
        self._next = 1
        self._booted = time.monotonic()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_down(self) -> bool:
        return self._server is None

    def connect(self, uid: str, flag: int = 0) -> str:
        """A client connects -> the item that its webhook would bring."""
        number, self._next = self._next, self._next + 1
        self.connections[number] = (uid, flag)
        return f"{uid}-{flag}-1-{number}-{self._count(uid, flag)}-{self._count(uid)}"

    def close(self, uid: str, flag: int = 0) -> str:
        """His client closes -> the item that its webhook would bring."""
        number = next(n for n, held in self.connections.items() if held == (uid, flag))
        del self.connections[number]
        return f"{uid}-{flag}-0-{number}-{self._count(uid, flag)}-{self._count(uid)}"

    def _count(self, uid: str, flag: int | None = None) -> int:
        return sum(held[0] == uid and flag in (None, held[1]) for held in self.connections.values())

    def start(self) -> None:
        """Boot, at the same port as before."""
        self.connections, self._next, self._booted = {}, 1, time.monotonic()
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def crash(self) -> None:
        """kill -9: nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, path: str, body: bytes) -> tuple[int, str]:
        """Status and body."""
        route = path.partition("?")[0]
        self.asked.append(route)
        if route == "/varz":
            up = int(time.monotonic() - self._booted)
            said = {"server_id": str(self.node_id), "version": "", "connections": len(self.connections)}
            return 200, json.dumps(said | {"uptime": f"{up}s"})
        match self.mode:
            case "401":
                return 401, ""
            case "400":
                return 400, json.dumps({"msg": "transport: dial failed", "status": 400})
            case "500":
                return 500, ""
            case "html":
                return 200, "<html>Bad gateway</html>"
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
                return 400, json.dumps({"msg": "transport: dial failed", "status": 400})
            asked = json.loads(body)
            for peer in self.peers if self.mode == "truth" else ():
                held += peer.connections.items()
            answer = [{"uid": uid, "device_flag": flag, "online": 1} for _, (uid, flag) in held if uid in asked]
        text = json.dumps(answer)
        return 200, text[: len(text) // 2] if self.mode == "half" else text


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever asked has given up."""


def _handler(node: ImNode) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # A connection each: one kept open would outlive a crash.
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            status, text = node.answer(self.path, body)
            if node.mode == "slow" and self.path != "/varz":
                time.sleep(30)
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


@contextmanager
def im_node(node_id: int = 1001) -> Iterator[ImNode]:
    """A node that has booted."""
    node = ImNode(node_id)
    node.start()
    try:
        yield node
    finally:
        node.crash()

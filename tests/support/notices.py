"""Somebody who is told of alerts: a receiver of apprise's JSON, that can be away."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Takes notices at `url` while it is there."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        # Bound and not listening: nobody else is given the port, and who connects is refused.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._held.bind(("127.0.0.1", 0))
        self.port: int = self._held.getsockname()[1]
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """As apprise names it, with a password."""
        return f"json://somebody:a-secret-of-{self.port}@127.0.0.1:{self.port}/a-token-of-{self.port}"

    def titles(self) -> list[str]:
        """What was told, in order."""
        return [str(each["title"]) for each in self.taken]

    def come(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_port = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        """Let the port go."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._held.close()


@contextmanager
def receiver(*, there: bool = True) -> Iterator[Receiver]:
    """One that is there, or away."""
    found = Receiver()
    if there:
        found.come()
    try:
        yield found
    finally:
        found.end()

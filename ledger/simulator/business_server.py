"""A toy business server: takes the webhooks that WuKongIM posted to it before, and counts them by event."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class ReceivedWebhook(NamedTuple):
    """One webhook that came, from its query's `event` to its bytes."""

    event: str
    target: str
    headers: dict[str, str]
    body: bytes


class BusinessServer:
    """What it has taken, and what it says: `status` after `delay_seconds`. Any thread may look and change."""

    def __init__(self) -> None:
        self.status = 200
        self.delay_seconds = 0.0
        self.answer = b""
        self.url = ""
        self.keep = False
        """Whether `taken` holds the webhooks themselves, for tests, or their numbers are enough."""
        self.taken: list[ReceivedWebhook] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def counts(self) -> dict[str, int]:
        """How many of each event have come."""
        with self._lock:
            return dict(self._counts)

    def take(self, webhook: ReceivedWebhook) -> None:
        """Note one."""
        with self._lock:
            self._counts[webhook.event] += 1
            if self.keep:
                self.taken.append(webhook)


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[BusinessServer]:
    """A business server that listens on a port of its own until the end."""
    business = BusinessServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            """The name is the library's."""
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            [event] = parse_qs(urlsplit(self.path).query).get("event", [""])[:1]
            headers = {name.lower(): value for name, value in self.headers.items()}
            business.take(ReceivedWebhook(event, self.path, headers, body))
            if business.delay_seconds:
                time.sleep(business.delay_seconds)
            self.send_response(business.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(business.answer)))
            self.end_headers()
            self.wfile.write(business.answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's own name)
            """Nothing: it counts."""

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    business.url = f"http://{host}:{server.server_address[1]}/v1/webhook"
    thread = threading.Thread(target=server.serve_forever, name="business-server", daemon=True)
    thread.start()
    try:
        yield business
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A service of the HTTP API that answers by script, for the commands that ask one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import Result

from tests.support.command import call


class Asked(NamedTuple):
    """One request as it reached the service."""

    method: str
    target: str
    key: str | None
    body: Any


class ScriptedService:
    """Answers every request with `answer(asked)`, a status and a body, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], tuple[int, str]] = lambda asked: (200, "{}")
        self.content_type = "application/json"
        service = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = json.loads(content) if content else None
                asked = Asked(self.command, self.path, self.headers.get("Authorization"), body)
                service.asked.append(asked)
                status, text = service.answer(asked)
                self.send_response(status)
                self.send_header("Content-Type", service.content_type)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815  (the library's names)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
                """Say nothing among the tests' own output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def command_in(self, folder: Path) -> Callable[..., Result]:
        """What calls a command whose service is this one, with an admin key in the data folder below `folder`.

        The working folder must be that one.
        """
        data_dir = folder / "presence-ledger-data"
        data_dir.mkdir()
        (data_dir / "admin.key").write_text("plk_admin\n")

        def run(*arguments: str, **variables: str) -> Result:
            return call(*arguments, **{"LISTEN": self.url.removeprefix("http://")} | variables)

        return run


@contextmanager
def scripted_service() -> Iterator[ScriptedService]:
    """A service that listens."""
    service = ScriptedService()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        service.server.shutdown()
        thread.join()
        service.server.server_close()

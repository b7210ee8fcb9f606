"""Who may share a port: instances of the same ledger; anything else that listens there is named, in words."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import psutil
import pytest

from ledger.server import neighbours
from ledger.server.http_server import PortTaken
from ledger.server.neighbours import Neighbour, expect_ours, one_at_a_time
from ledger.settings import Listen

Answers = Mapping[str, Any]

OURS: Answers = {"/health/live": {"status": "live", "ledger": "ours", "instance": "i1"}}
THEIRS: Answers = {"/health/live": {"status": "live", "ledger": "theirs", "instance": "i2"}}
OLDER: Answers = {"/health/live": {"status": "live"}, "/health/ready": {"status": "ready", "instance": "i3"}}


def is_ours(other: Neighbour) -> bool:
    return other.ledger == "ours" or (other.ledger is None and other.instance == "i3")


class Shared(HTTPServer):
    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


@contextmanager
def serving(answers: Answers, host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Somebody who listens -> the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path in answers
            body = json.dumps(answers[self.path]).encode() if known else b"<html>"
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with Shared((host, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_nobody_is_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        expect_ours(Listen("127.0.0.1", bound.getsockname()[1]), is_ours)


@pytest.mark.parametrize("answers", [OURS, OLDER], ids=["this version", "one before ledgers had ids"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_an_instance_of_the_same_ledger(answers: Answers, host: str) -> None:
    with serving(answers, host) as port:
        expect_ours(Listen("127.0.0.1", port), is_ours)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (THEIRS, r"^127\.0\.0\.1:\d+ is taken by the service of another ledger \(i2\): .*\nStop that one, or set `lis"),
        ({"/health/live": {"status": "live"}}, r"another ledger \(which does not say its name\)"),
        ({}, r"is taken by another program, which shares it and is not a presence ledger\.\nStop it, or set `listen`"),
        ({"/health/live": ["live"]}, "is not a presence ledger"),
    ],
)
def test_somebody_else(answers: Answers, says: str) -> None:
    with serving(answers) as port, pytest.raises(PortTaken, match=says):
        expect_ours(Listen("127.0.0.1", port), is_ours)


@pytest.mark.parametrize("listen", ["0.0.0.0", "127.0.0.1"])  # noqa: S104
def test_an_address_that_overlaps(listen: str) -> None:
    other = "127.0.0.1" if listen != "127.0.0.1" else "0.0.0.0"  # noqa: S104
    with serving(THEIRS, other) as port, pytest.raises(PortTaken):
        expect_ours(Listen(listen, port), is_ours)


def test_another_address_is_no_concern_of_ours() -> None:
    with serving(THEIRS, "127.0.0.2") as port:
        expect_ours(Listen("127.0.0.1", port), is_ours)


def test_one_of_several_who_share_it() -> None:
    with ExitStack() as stack:
        port = stack.enter_context(serving(OURS))
        for _ in range(3):
            stack.enter_context(serving(THEIRS, port=port))
        with pytest.raises(PortTaken, match="another ledger"):
            expect_ours(Listen("127.0.0.1", port), is_ours)


def test_who_listens_and_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(neighbours, "ANSWER_SECONDS", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(PortTaken, match="a program that does not answer"),
    ):
        expect_ours(Listen("127.0.0.1", silent.getsockname()[1]), is_ours)


def test_a_system_that_does_not_say_who_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: str) -> Any:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with serving(THEIRS) as port, pytest.raises(PortTaken):
        expect_ours(Listen("127.0.0.1", port), is_ours)
    expect_ours(Listen("127.0.0.1", port), is_ours)


def test_one_at_a_time_looks_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TURN_SECONDS", 0.0)
    with one_at_a_time(1), one_at_a_time(2), pytest.raises(PortTaken, match="is about to listen"), one_at_a_time(1):
        pass
    with one_at_a_time(1):
        pass
    monkeypatch.setattr(neighbours, "_has_abstract_sockets", lambda: False)
    with one_at_a_time(1), one_at_a_time(1):
        pass

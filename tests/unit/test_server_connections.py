"""Checks which connections may stay, and that the others are closed alongside the server."""

import asyncio
import http.client
import resource
import socket
import threading
from typing import Any

import pytest

from ledger.server import keeper
from ledger.server.connections import (
    CONNECTION,
    CROWDED_FIRST_REQUEST_SECONDS,
    FIRST_REQUEST_SECONDS,
    SILENT,
    SURPLUS,
    Connections,
    Standing,
    vouch,
)
from ledger.server.descriptors import room_for
from ledger.server.http_server import HttpServer, bind
from ledger.server.keeper import ConnectionKeeper
from ledger.settings import Listen


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def peers(*names: str) -> dict[tuple[str, str], None]:
    return {("peer", name): None for name in names}


def asked(connections: Connections, name: str, standing: Standing = Standing.STRANGER, *, ends: bool = True) -> None:
    """A request of a peer, and its answer."""
    connection = connections.begin(("peer", name))
    vouch({CONNECTION: connection}, standing)
    if ends:
        connections.end(connection)


def closed(connections: Connections, clock: Clock, *names: str) -> dict[str, str]:
    return {name: why for (_, name), why in connections.to_close(clock.now, peers(*names)).items()}


def test_who_asks_for_nothing_is_closed_after_seconds() -> None:
    clock = Clock()
    connections = Connections(100, clock)
    asked(connections, "kept")
    asked(connections, "waiting", ends=False)
    assert closed(connections, clock, "kept", "waiting", "silent") == {}
    clock.now += FIRST_REQUEST_SECONDS + 0.1
    assert closed(connections, clock, "kept", "waiting", "silent", "new") == {"silent": SILENT}


def test_in_a_crowd_the_first_request_has_less_time() -> None:
    clock = Clock()
    connections = Connections(4, clock)
    closed(connections, clock, "a", "b", "c")
    clock.now += CROWDED_FIRST_REQUEST_SECONDS + 0.1
    assert closed(connections, clock, "a", "b") == {}
    assert closed(connections, clock, "a", "b", "c") == {"a": SILENT, "b": SILENT}
    assert not connections.is_filled(2)
    assert connections.is_filled(3)


def test_where_room_is_short_they_go_first_whom_nobody_misses() -> None:
    clock = Clock()
    connections = Connections(4, clock)
    order = ["silent", "stranger", "later stranger", "busy stranger", "keyed", "busy keyed", "sender"]
    asked(connections, "sender", Standing.SENDER)
    asked(connections, "due", Standing.SENDER, ends=False)
    asked(connections, "busy keyed", Standing.KEYED, ends=False)
    asked(connections, "keyed", Standing.KEYED)
    asked(connections, "busy stranger", ends=False)
    asked(connections, "stranger")
    clock.now += 1
    asked(connections, "later stranger")
    # Three may stay of four; the more there are, the more go, and a webhook that waits for its answer never does.
    for number in range(len(order), 2, -1):
        here = ["due", *order[-number:]]
        assert list(closed(connections, clock, *here)) == order[-number : len(order) - 2]
    assert closed(Connections(1, clock), clock, "due") == {"due": SURPLUS}
    connections = Connections(1, clock)
    asked(connections, "due", Standing.SENDER, ends=False)
    assert closed(connections, clock, "due") == {}


def test_a_standing_is_not_lost_and_a_peer_that_went_is_forgotten() -> None:
    clock = Clock()
    connections = Connections(1, clock)
    asked(connections, "u", Standing.SENDER)
    asked(connections, "u")
    connection = connections.begin(("peer", "u"))
    assert connection.standing is Standing.SENDER
    connections.end(connection)
    clock.now += 1
    connections.to_close(clock.now, peers())
    assert connections.begin(("peer", "u")).standing is Standing.STRANGER
    # Younger than the look that did not see it.
    connections.to_close(clock.now - 0.5, peers())
    assert connections.begin(("peer", "u")).under_way == 2
    vouch({}, Standing.SENDER)


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest) -> Any:
    with bind(Listen(request.param, 0)) as bound:
        yield bound


async def app(scope: Any, receive: Any, send: Any) -> None:
    vouch(scope, Standing.SENDER if scope["path"] == "/hook" else Standing.STRANGER)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def test_silent_connections_go_and_a_sender_stays(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """More of them than there may be: the server accepts no more, until the keeper has made room."""
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(keeper, "CROWDED_LOOK_SECONDS", 0.01)
    reasons: list[str] = []
    host, port = listening.getsockname()[:2]

    def ask(connection: http.client.HTTPConnection, path: str) -> int:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def scene() -> list[int]:
        sender, stranger = (http.client.HTTPConnection(host, port, timeout=30) for _ in range(2))
        statuses = [ask(sender, "/hook")]
        silent = [socket.create_connection((host, port)) for _ in range(40)]
        half = [socket.create_connection((host, port)) for _ in range(40)]
        for each in half:
            each.sendall(b"GET / HTTP/1.1\r\nHost: ")
        statuses += [ask(stranger, "/"), ask(sender, "/hook")]
        for each in [*silent, *half]:
            each.close()
        sender.close()
        stranger.close()
        return statuses

    async def scenario() -> list[int]:
        serving = HttpServer(app, listening, 16, reasons.append)
        serving.start()
        statuses = await asyncio.to_thread(scene)
        await serving.stop()
        return statuses

    assert asyncio.run(scenario()) == [200, 200, 200]
    assert SURPLUS in reasons
    assert "connections_closed" in capfd.readouterr().out


def test_only_accepted_connections_of_the_port_are_touched() -> None:
    with bind(Listen("127.0.0.1", 0)) as bound, socket.create_server(("127.0.0.1", 0)) as other:
        bound.listen()
        mine = socket.create_connection(bound.getsockname())
        theirs = socket.create_connection(other.getsockname())
        accepted, _ = bound.accept()
        elsewhere, _ = other.accept()
        clock = Clock()
        # The bound is one: whatever the keeper took for a connection would have to go.
        ConnectionKeeper(bound, Connections(1, clock)).look()
        mine.settimeout(10)
        assert mine.recv(1) == b""
        theirs.sendall(b"x")
        assert elsewhere.recv(1) == b"x"
        for each in (mine, theirs, accepted, elsewhere):
            each.close()


def test_a_keeper_that_fails_goes_on(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "SAY_SECONDS", 0.0)
    looked = threading.Event()
    looks: list[int] = []

    class Odd(Connections):
        def to_close(self, *_: Any) -> dict[Any, str]:
            looks.append(1)
            if len(looks) > 1:
                looked.set()
            raise ValueError("odd")

    with bind(Listen("127.0.0.1", 0)) as bound:
        bound.listen()
        keeping = ConnectionKeeper(bound, Odd(1))
        keeping.start()
        assert looked.wait(20)
        keeping.stop()
    assert "connections_not_kept" in capfd.readouterr().out


def test_where_descriptors_are_not_listed_nobody_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "DESCRIPTORS", "/no/such/folder")
    with bind(Listen("127.0.0.1", 0)) as bound:
        ConnectionKeeper(bound, Connections(1)).look()


@pytest.mark.parametrize(
    ("limits", "room", "raised", "said"),
    [
        ((1024, 1024), 768, None, True),
        ((256, 300), 150, 300, True),
        ((1024, 20_000), 4096, 20_000, False),
        ((1024, resource.RLIM_INFINITY), 4096, 4352, False),
    ],
)
def test_few_descriptors_are_said_and_the_soft_bound_is_raised(
    limits: tuple[int, int],
    room: int,
    raised: int | None,
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: asked.append(wanted[0]))
    assert room_for(4096) == room
    assert asked == ([] if raised is None else [raised])
    assert ("few_file_descriptors" in capfd.readouterr().out) == said

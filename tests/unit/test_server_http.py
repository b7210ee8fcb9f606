"""Checks the listening socket: who may share it, what a stop does to connections, and that it ends."""

import asyncio
import http.client
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ledger.errors import LedgerError
from ledger.server import http_server as server
from ledger.server.http_server import HttpServer, PortTaken, bind
from ledger.settings import Listen

ANY = Listen("127.0.0.1", 0)


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answers with the body that came."""
    more, body = True, b""
    while more:
        message = await receive()
        more = message.get("more_body", False)
        body += message.get("body", b"")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def test_ours_may_share_a_port_and_nobody_elses() -> None:
    with bind(ANY) as first:
        first.listen()
        port = first.getsockname()[1]
        bind(Listen("127.0.0.1", port)).close()
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = Listen(*other.getsockname())
        with pytest.raises(PortTaken, match=f"{listen} is taken by another program; stop it, or set `listen`"):
            bind(listen)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(LedgerError, match=r"cannot listen on 192\.0\.2\.1:1: .*; set `listen`"):
        bind(Listen("192.0.2.1", 1))


def test_ipv6_is_an_address_too() -> None:
    with bind(Listen("::1", 0)) as bound:
        assert bound.getsockname()[0] == "::1"


def test_a_stop_tells_kept_connections_and_waits_for_them() -> None:
    async def scenario() -> list[str | None]:
        with bind(ANY) as bound:
            serving = HttpServer(app, bound)
            serving.start()
            connection = http.client.HTTPConnection("127.0.0.1", bound.getsockname()[1], timeout=60)
            said = [await asyncio.to_thread(post, connection)]
            stopping = asyncio.create_task(serving.stop())
            # The stop has begun, and the connection is still there.
            await asyncio.sleep(0)
            said.append(await asyncio.to_thread(post, connection))
            connection.close()
            await asyncio.wait_for(stopping, 60)
            return said

    def post(connection: http.client.HTTPConnection) -> str | None:
        connection.request("POST", "/", b"body")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"body")
        return answer.getheader("connection")

    assert asyncio.run(scenario()) == [None, "close"]


def test_a_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DRAIN_SECONDS", "LAST_SECONDS", "FINISH_SECONDS"):
        monkeypatch.setattr(server, name, 0.1)

    async def scenario() -> None:
        with bind(ANY) as bound:
            serving = HttpServer(app, bound)
            serving.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbody")
            await writer.drain()
            await asyncio.wait_for(serving.stop(), 60)
            writer.close()
            del reader

    asyncio.run(scenario())


def test_a_system_without_these_options_serves_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATTACH_FILTER", "ATTACH_REUSEPORT_CBPF", "DETACH_REUSEPORT_BPF"):
        monkeypatch.setattr(server, name, 9999)
    with bind(ANY) as bound, pytest.raises(OSError, match="not available"):
        bound.setsockopt(socket.SOL_SOCKET, 9999, struct.pack("@i", 0))
    test_a_stop_tells_kept_connections_and_waits_for_them()

"""A client's connection to a node: let in, refused, and whatever else may be at an address."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from ledger.sources.wukongim.protocol.connection import (
    Address,
    Broken,
    ClientIdentity,
    ConnectionFailed,
    LoginRefused,
    Unreachable,
    connected,
)
from ledger.sources.wukongim.protocol.frames import (
    Connack,
    Connect,
    Disconnect,
    Ping,
    Pong,
    encode,
)
from tests.support.client_node import Answers, ClientNode, lets_in, serving

ALICE = ClientIdentity("alice", "her token", 1)


async def at(node: ClientNode, use: Callable[[Address], Awaitable[None]]) -> None:
    async with serving(node) as address:
        await use(address)


def failure(answers: Answers, connect_seconds: float = 60, ping_seconds: float | None = None) -> ConnectionFailed:
    """What comes of connecting to a node that answers so."""

    async def use(address: Address) -> None:
        async with connected(address, ALICE, connect_seconds) as connection:
            if ping_seconds is not None:
                await connection.ping(ping_seconds)

    with pytest.raises(ConnectionFailed) as raised:
        asyncio.run(at(ClientNode(answers), use))
    return raised.value


def test_a_client_is_let_in_pings_and_goes() -> None:
    node = ClientNode(lets_in)

    async def use(address: Address) -> None:
        async with connected(address, ALICE) as connection:
            await connection.ping()
        await asyncio.wait_for(node.ended.wait(), 60)

    asyncio.run(at(node, use))
    connect, ping = node.heard
    assert isinstance(connect, Connect)
    assert connect[:4] == ("alice", "her token", 1, "presence-ledger-canary")
    assert len(connect.client_key) == 44
    assert ping == Ping()


def test_messages_are_passed_over() -> None:
    message = b"\x50\x05hello"

    async def use(address: Address) -> None:
        async with connected(address, ALICE) as connection:
            await connection.ping()

    asyncio.run(
        at(ClientNode(lambda frame: lets_in(frame) if isinstance(frame, Connect) else message + encode(Pong())), use)
    )


@pytest.mark.parametrize(
    ("answers", "kind", "why"),
    [
        (lambda _: encode(Connack(2)), LoginRefused, "authentication failed"),
        (lambda _: encode(Connack(19)), LoginRefused, "the user is banned"),
        (lambda _: encode(Disconnect(12)), LoginRefused, "ended by another one"),
        (lambda _: None, LoginRefused, "as v2 does where it refuses"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(84), Broken, "none: is it the address|does not speak"),
        (lambda _: b"\x00", Broken, "does not speak the protocol"),
    ],
)
def test_who_is_not_let_in_is_told_why(answers: Answers, kind: type[ConnectionFailed], why: str) -> None:
    error = failure(answers)
    assert type(error) is kind
    assert re.search(why, str(error))


def test_an_answer_is_waited_for_within_bounds() -> None:
    error = failure(lambda _: b"", connect_seconds=0.2)
    assert isinstance(error, Broken)
    assert "no answer to CONNECT within 0.2 s" in str(error)


@pytest.mark.parametrize(
    ("ponged", "seconds", "why"),
    [
        (encode(Disconnect(12)), 60, "ended by another one"),
        (b"", 0.2, "no answer to a ping within 0.2 s"),
        (None, 60, "the node ended the connection"),
    ],
)
def test_a_connection_that_ends_is_broken(ponged: bytes | None, seconds: float, why: str) -> None:
    error = failure(lambda frame: lets_in(frame) if isinstance(frame, Connect) else ponged, ping_seconds=seconds)
    assert isinstance(error, Broken)
    assert why in str(error)


def test_nobody_there_is_said() -> None:
    async def use() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        address = Address(*server.sockets[0].getsockname()[:2])
        server.close()
        await server.wait_closed()
        async with connected(address, ALICE):
            pass

    with pytest.raises(Unreachable, match="cannot be reached"):
        asyncio.run(use())


def test_a_name_that_cannot_be_looked_up_is_said() -> None:
    async def use() -> None:
        async with connected(Address("im..example", 5100), ALICE):
            pass

    with pytest.raises(Unreachable, match="cannot be reached: not a host name"):
        asyncio.run(use())


def test_an_address_is_written_as_it_is_set() -> None:
    assert str(Address("::1", 5100)) == "[::1]:5100"
    assert str(Address("im.example", 5100)) == "im.example:5100"

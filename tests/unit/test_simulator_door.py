"""The simulated nodes' door: what real clients meet there, by the product's own side of the protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.simulator.client_frames import Introduction, NoFrameError, take
from ledger.simulator.plan import NodePlan, Plan, Profile
from ledger.simulator.runtime import Simulation
from ledger.sources.wukongim.protocol.connection import (
    Address,
    Broken,
    ClientIdentity,
    LoginRefused,
    OpenConnection,
    Unreachable,
    connected,
)
from ledger.sources.wukongim.protocol.frames import Connect, Ping, encode
from tests.support.simulated import receiving, until

PROFILES: tuple[Profile, ...] = ("v1", "v2.1", "v2.2", "v3")
CANARY = ClientIdentity("canary", "right", 1)

bytes_ = st.integers(0, 255)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


P = ParamSpec("P")


def awaited(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test in an event loop of its own."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@asynccontextmanager
async def door(profile: Profile) -> AsyncIterator[tuple[Simulation, Address]]:
    """A node whose door is open, and where nobody comes by themselves."""
    async with receiving() as receiver:
        node = NodePlan("n1", "secret", client_port=0)
        simulation = Simulation(Plan(target=receiver.url, nodes=(node,), profile=profile, seconds=None, rate=1e-9))
        task = asyncio.create_task(simulation.run())
        try:
            await until(lambda: is_open(simulation))
            yield simulation, Address("127.0.0.1", simulation.doors.ports["n1"])
        finally:
            simulation.stop()
            await task


async def is_open(simulation: Simulation, wanted: bool = True) -> bool:
    the_door = simulation.doors.of("n1")
    return the_door is not None and the_door.is_open is wanted


async def pinged_for_ever(connection: OpenConnection) -> None:
    while True:
        await connection.ping(60)


async def is_online(simulation: Simulation, online: bool) -> bool:
    return simulation.world.online() == (["canary"] if online else [])


@pytest.mark.parametrize("profile", PROFILES)
@awaited
async def test_a_client_is_online_while_it_is_connected(profile: Profile) -> None:
    async with door(profile) as (simulation, address):
        async with connected(address, CANARY) as connection:
            await connection.ping()
            assert simulation.world.online() == ["canary"]
        await until(lambda: is_online(simulation, online=False))
        assert [session.by_door for session in simulation.world.cluster.nodes["n1"].memory] == []


@pytest.mark.parametrize("profile", PROFILES)
@awaited
async def test_who_is_refused_is_told_as_the_version_tells(profile: Profile) -> None:
    async with door(profile) as (simulation, address):
        simulation.doors.admission.silent_seconds = 0.05
        simulation.doors.admission.tokens = {("canary", 1): "right"}
        async with connected(address, CANARY) as connection:
            await connection.ping()
        says_why = profile in ("v1", "v3")
        for client, reason in ((CANARY._replace(token="wrong"), "authentication failed"), (CANARY, "is banned")):
            with pytest.raises(LoginRefused, match=reason if says_why else "without an answer"):
                async with connected(address, client, 60):
                    pass
            simulation.doors.admission.banned.add("canary")


@awaited
async def test_a_node_that_is_killed_ends_its_connections_and_takes_none() -> None:
    async with door("v2.2") as (simulation, address):
        async with connected(address, CANARY) as connection:
            simulation.crash("n1", down_seconds=1.0, returns=(1.0, 0.0, 0.0))
            with pytest.raises(Broken):
                await pinged_for_ever(connection)

        async def booted() -> bool:
            return simulation.world.cluster.nodes["n1"].boots == 2 and await is_open(simulation)

        await until(booted)
        # Who came through the door does not come back by themselves.
        assert simulation.world.online() == []
        simulation.crash("n1", down_seconds=1e6)
        await until(lambda: is_open(simulation, wanted=False))
        with pytest.raises(Unreachable):
            async with connected(address, CANARY):
                pass


@awaited
async def test_the_older_connection_of_a_device_gives_way() -> None:
    async with (
        door("v2.1") as (simulation, address),
        connected(address, CANARY) as older,
        connected(address, CANARY) as newer,
    ):
        await newer.ping()
        with pytest.raises(Broken):
            await pinged_for_ever(older)
        assert simulation.world.online() == ["canary"]


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n" + bytes(99), b"\x00\x00", encode(Ping()), b"\x10\x01\x01"])
@awaited
async def test_garbage_is_shown_the_door(sent: bytes) -> None:
    async with door("v3") as (_, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


@given(st.builds(Connect, texts, texts, bytes_, texts, texts, st.integers(0, 2**63 - 1), bytes_))
def test_both_sides_read_the_same_into_a_connect(sent: Connect) -> None:
    buffer = bytearray(encode(sent) + encode(Ping()))
    assert take(buffer) == Introduction(
        sent.version, sent.device_flag, sent.device_id, sent.uid, sent.token, sent.client_timestamp, sent.client_key
    )
    assert take(buffer) == "ping"
    assert take(buffer) is None


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    buffer = bytearray(data)
    try:
        while take(buffer) is not None:
            continue
    except NoFrameError:
        return
    assert len(buffer) <= len(data)

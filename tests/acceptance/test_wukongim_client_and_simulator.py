"""The live client against the simulator's query API, with what it says of users, connections, boots and tokens."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.ingest.clock import Clock
from ledger.simulator.runtime import Simulation
from ledger.sources.wukongim.answers import Boot, NodeConnections, OnlineRows, Unanswered
from ledger.sources.wukongim.budget import Budget
from ledger.sources.wukongim.client import QueryClient
from ledger.sources.wukongim.query_node import QueryNode
from tests.support.query_clients import no_pause
from tests.support.simulated import simulating, until

GRAIN_SECONDS = 0.05
TOKEN = "t0ken-of-the-manager"


@asynccontextmanager
async def asking(simulation: Simulation, name: str, profile: Profile, token: str | None) -> AsyncIterator[QueryClient]:
    node = QueryNode(name, simulation.api_urls[name], token, profile)
    client = QueryClient(node, Budget(1000, 1e6), Clock().now, sleep=no_pause)
    try:
        yield client
    finally:
        await client.close()


def lies_within(boot: Boot | Unanswered, booted: tuple[float, float]) -> bool:
    """Whether the node is said to have booted between these instants, Unix seconds."""
    assert isinstance(boot, Boot)
    earliest, latest = booted
    return boot.earliest / SECOND - GRAIN_SECONDS <= latest and earliest <= boot.latest / SECOND + GRAIN_SECONDS


def boot_of(simulation: Simulation, node: str) -> tuple[float, float]:
    """When the simulated node really booted, Unix seconds: not before the one and not after the other."""
    before, elapsed, after = time.time(), simulation.elapsed, time.time()
    booted_at = simulation.world.cluster.nodes[node].booted_at
    return before - elapsed + booted_at, after - elapsed + booted_at


@pytest.mark.parametrize(("profile", "token"), [(Profile.V2_2, TOKEN), (Profile.V2_2, ""), (Profile.V3, TOKEN)])
def test_it_hears_who_is_online(profile: Profile, token: str) -> None:
    async def test() -> None:
        async with (
            simulating(profile=profile.value, token=token) as simulation,
            asking(simulation, "n1", profile, token) as client,
        ):
            everybody = [person.uid for person in simulation.world.population.people]
            simulation.calm(traffic=False)

            async def agree() -> bool:
                truth = set(simulation.world.online())
                answer = await client.online_status(everybody)
                assert isinstance(answer, OnlineRows)
                assert answer.odd == 0
                return truth == set(simulation.world.online()) == set(answer.rows)

            await until(agree)
            for boot in (await client.boot(), await client.probe()):
                assert lies_within(boot, boot_of(simulation, "n1"))
            assert client.health.failures_in_a_row == 0

    asyncio.run(test())


def test_v2_lists_its_connections() -> None:
    async def test() -> None:
        async with (
            simulating(token=TOKEN) as simulation,
            asking(simulation, "n1", Profile.V2_2, TOKEN) as client,
        ):
            simulation.calm(traffic=False)

            async def agree() -> bool:
                truth = set(simulation.world.online())
                answer = await client.connections()
                assert isinstance(answer, NodeConnections)
                assert {row.node_id for row in answer.rows} <= {1001}
                return truth == set(simulation.world.online()) == {row.uid for row in answer.rows}

            await until(agree)

    asyncio.run(test())


@pytest.mark.parametrize("token", [None, "wrong-token"])
def test_without_the_token_it_hears_nothing_and_says_why(token: str | None) -> None:
    async def test() -> None:
        async with (
            simulating(token=TOKEN) as simulation,
            asking(simulation, "n1", Profile.V2_2, token) as client,
        ):
            uid = simulation.world.online()[0]
            refused = Unanswered("401: the token is refused", answered=True)
            assert await client.online_status([uid]) == refused
            assert await client.connections() == refused
            assert await client.boot() == refused
            assert await client.probe() == refused
            assert client.health.calls == 4

    asyncio.run(test())


@pytest.mark.parametrize("profile", [Profile.V2_2, Profile.V3])
def test_a_node_that_is_killed_is_refused_and_found_again_with_a_later_boot(profile: Profile) -> None:
    async def test() -> None:
        async with (
            simulating(("n1", "n2"), profile=profile.value) as simulation,
            asking(simulation, "n1", profile, None) as peer,
            asking(simulation, "n2", profile, None) as client,
        ):
            first = await client.probe()
            simulation.crash("n2")

            async def refused() -> bool:
                answer = await client.probe()
                return isinstance(answer, Unanswered) and answer.refused

            await until(refused)
            while client.health.breaker == "closed":
                assert isinstance(await client.boot(), Unanswered)
            answer = await peer.online_status(["u0"])
            assert isinstance(answer, Unanswered)
            assert answer.reason.startswith("400: ")
            assert isinstance(await peer.probe(), Boot)

            async def back() -> bool:
                return isinstance(await client.probe(), Boot)

            await until(back)
            health = client.health
            assert (health.breaker, health.probe_reason) == ("closed", None)
            boot = await client.boot()
            assert lies_within(boot, boot_of(simulation, "n2"))
            assert isinstance(first, Boot)
            assert isinstance(boot, Boot)
            assert boot.earliest > first.latest

    asyncio.run(test())

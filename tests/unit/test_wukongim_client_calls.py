"""The live client over a call's life: its pauses, what it costs, the breaker, probes, and being given up."""

import asyncio
from random import Random

import httpx2

from ledger.sources.wukongim.answers import Boot, OnlineRows, Unanswered
from ledger.sources.wukongim.budget import Allowance, Budget
from ledger.sources.wukongim.client import BACK_OFF_SECONDS, QueryClient
from ledger.sources.wukongim.node_breaker import FAILURES
from tests.support.query_api import HANG, RESET, VARZ, listening, rows, said
from tests.support.query_clients import NOW, asking
from tests.support.virtual_time import VirtualTime, done_after, settle

VARZ_JSON = {"server_id": "1001", "version": "", "connections": 1}
REFUSED = Unanswered("400: peer down", answered=True)
PEER_DOWN = said(400, '{"msg":"peer down","status":400}')


class Longest(Random):
    """No jitter: the most of each range."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


async def fail(client: QueryClient) -> None:
    for _ in range(FAILURES):
        assert isinstance(await client.online_status(["u1"]), Unanswered)


def test_a_hiccup_is_asked_for_again_after_growing_pauses() -> None:
    async def test() -> None:
        time = VirtualTime()
        async with (
            listening(said(500), RESET, rows("u1")) as node,
            asking(node.url, sleep=time.skip, random=Longest()) as client,
        ):
            assert await client.online_status(["u1"]) == OnlineRows({"u1": {0: 1}}, 0)
            assert time.slept == [BACK_OFF_SECONDS, 2 * BACK_OFF_SECONDS]
            health = client.health
            assert (health.calls, health.users_asked, health.failures_in_a_row) == (3, 3, 0)
            assert (health.last_good_at, health.last_failure_at, health.last_reason) == (NOW, None, None)

    asyncio.run(test())


def test_pauses_are_jittered() -> None:
    async def pauses(seed: int) -> list[float]:
        time = VirtualTime()
        async with listening(said(500)) as node, asking(node.url, sleep=time.skip, random=Random(seed)) as client:
            await client.online_status(["u1"])
        return time.slept

    first, second = asyncio.run(pauses(1)), asyncio.run(pauses(2))
    assert first != second
    assert all(0 <= pause <= 2 * BACK_OFF_SECONDS for pause in first + second)


def test_every_attempt_costs_the_budget() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = Budget(10, 100, monotonic=time.monotonic, sleep=time.sleep)
        async with listening(said(500)) as node, asking(node.url, budget=budget) as client:
            await client.online_status(["u1", "u2"])
            assert budget.available() == Allowance(7, 94)
            await client.probe()
            assert budget.available() == Allowance(6, 94)

    asyncio.run(test())


def test_a_call_waits_for_its_turn_and_a_probe_for_none() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = Budget(1, 1000, monotonic=time.monotonic, sleep=time.sleep)
        async with listening(VARZ, rows("u1")) as node, asking(node.url, budget=budget) as client:
            budget.charge(1)
            call = asyncio.create_task(client.online_status(["u1"]))
            await settle()
            assert isinstance(await client.probe(), Boot)
            await time.advance(1.9)
            assert client.health.calls == len(node.asked) == 1
            await time.advance(0.2)
            assert await call == OnlineRows({"u1": {0: 1}}, 0)

    asyncio.run(test())


def test_a_chunk_is_no_more_than_a_seconds_worth_of_users() -> None:
    async def test() -> None:
        budget = Budget(20, 20_000)
        async with asking("http://127.0.0.1:1", budget=budget) as client:
            assert client.chunk_users == 1000
            budget.change(20, 250)
            assert client.chunk_users == 250
            budget.change(20, 0.5)
            assert client.chunk_users == 1

    asyncio.run(test())


def test_an_open_circuit_asks_nothing_and_says_why_and_until_when() -> None:
    async def test() -> None:
        time = VirtualTime()
        async with (
            listening(PEER_DOWN) as node,
            asking(node.url, monotonic=time.monotonic, random=Longest()) as client,
        ):
            await fail(client)
            reason = "400: peer down (not asked until 2026-11-18T11:06:41.000000Z)"
            assert await client.online_status(["u1"]) == Unanswered(reason, held_back=True)
            assert await client.connections() == Unanswered(reason, held_back=True)
            health = client.health
            assert (len(node.asked), health.calls, health.failures_in_a_row) == (FAILURES, FAILURES, FAILURES)
            assert (health.breaker, health.breaker_open_until) == ("open", NOW + 1_000_000)
            assert health.last_reason == "400: peer down"
            time.at += 1
            health = client.health
            assert (health.breaker, health.breaker_open_until) == ("half_open", None)
            assert await client.online_status(["u1"]) == REFUSED
            assert client.health.breaker_open_until == NOW + 2_000_000
            time.at += 2
            node.says(rows("u1"))
            assert await client.online_status(["u1"]) == OnlineRows({"u1": {0: 1}}, 0)
            health = client.health
            assert (health.breaker, health.breaker_open_until) == ("closed", None)

    asyncio.run(test())


def test_a_half_open_circuit_lets_one_call_through_and_one_attempt_of_it() -> None:
    async def test() -> None:
        time = VirtualTime()
        async with listening(PEER_DOWN) as node, asking(node.url, monotonic=time.monotonic) as client:
            await fail(client)
            time.at += 1
            node.says(HANG)
            node.began.clear()
            trial = asyncio.create_task(client.online_status(["u1"]))
            await node.began.wait()
            reason = "400: peer down (not asked while another call tries whether it answers)"
            assert await client.online_status(["u2"]) == Unanswered(reason, held_back=True)
            trial.cancel()
            await asyncio.wait([trial])
            assert trial.cancelled()
            node.says(said(500))
            asked = len(node.asked)
            assert await client.online_status(["u3"]) == Unanswered("500", answered=True)
            assert len(node.asked) == asked + 1

    asyncio.run(test())


def test_calls_that_wait_for_their_turn_are_not_sent_when_the_circuit_opens() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = Budget(FAILURES, 1e9, monotonic=time.monotonic, sleep=time.sleep)
        async with (
            listening(PEER_DOWN) as node,
            asking(node.url, monotonic=time.monotonic, budget=budget, random=Longest()) as client,
        ):
            calls = [asyncio.create_task(client.online_status(["u1"])) for _ in range(3 * FAILURES)]
            await asyncio.wait(calls[:FAILURES])
            for call in calls:
                await done_after(time, call, limit=1)
            assert len(node.asked) == FAILURES
            assert [call.result() == REFUSED for call in calls] == [True] * FAILURES + [False] * 2 * FAILURES

    asyncio.run(test())


def test_probes_pass_an_open_circuit_and_close_it_when_the_node_is_back() -> None:
    async def test() -> None:
        time = VirtualTime()
        async with listening(RESET) as node, asking(node.url, monotonic=time.monotonic) as client:
            await fail(client)
            asked = len(node.asked)
            assert isinstance(await client.probe(), Unanswered)
            assert (len(node.asked), client.health.breaker) == (asked + 1, "open")
            assert client.health.probe_reason == "the connection broke before the whole answer had come"
            node.says(VARZ)
            assert isinstance(await client.probe(), Boot)
            health = client.health
            assert (health.breaker, health.failures_in_a_row, health.probe_reason) == ("closed", 0, None)
            assert (health.last_good_probe_at, health.last_good_at) == (NOW, None)

    asyncio.run(test())


def test_good_probes_do_not_close_it_where_another_route_fails() -> None:
    async def test() -> None:
        time = VirtualTime()
        async with listening() as node, asking(node.url, monotonic=time.monotonic) as client:
            node.answer = lambda question: VARZ if question.target == "/varz" else PEER_DOWN
            assert isinstance(await client.probe(), Boot)
            await fail(client)
            assert isinstance(await client.probe(), Boot)
            assert client.health.breaker == "open"
            client.close_breaker()
            assert await client.online_status(["u1"]) == REFUSED

    asyncio.run(test())


def test_many_calls_at_once_are_no_hindrance_for_a_probe() -> None:
    async def test() -> None:
        async with listening() as node, asking(node.url) as client:
            node.answer = lambda question: VARZ if question.target == "/varz" else HANG
            calls = [asyncio.create_task(client.online_status(["u1"])) for _ in range(150)]
            async with asyncio.timeout(60):
                while len(node.asked) < 150:
                    await settle()
            assert isinstance(await client.probe(), Boot)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert all(call.cancelled() for call in calls)

    asyncio.run(test())


def test_the_clock_that_is_set_during_an_answer_moves_no_boot() -> None:
    class Stepping(httpx2.AsyncBaseTransport):
        """While it answers, an hour passes on the wall clock and a second in truth."""

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            time.at += 1.0
            wall[0] += 3_600_000_000
            return httpx2.Response(200, json=VARZ_JSON | {"uptime": "10s"})

    time, wall = VirtualTime(), [NOW]

    async def test() -> None:
        async with asking("http://node", now=lambda: wall[0], monotonic=time.monotonic, transport=Stepping()) as client:
            boot = await client.boot()
            assert isinstance(boot, Boot)
            assert boot.latest == NOW + 1_000_000 - 10_000_000

    asyncio.run(test())

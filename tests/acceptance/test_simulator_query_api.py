"""The query API of the simulated nodes over real HTTP: its answers, its errors, and a node that is down."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from ledger.simulator.lies import ERRORS
from ledger.simulator.plan import NodePlan, Plan, PlanError
from ledger.simulator.runtime import Simulation
from tests.support.simulated import DEADLINE_SECONDS, receiving, simulating, until

STATUS = "/user/onlinestatus"


@asynccontextmanager
async def running(**plan: Any) -> AsyncIterator[tuple[Simulation, httpx2.AsyncClient]]:
    """A simulation and a client of its query APIs."""
    async with simulating(**plan) as simulation, httpx2.AsyncClient() as client:
        yield simulation, client


def online_rows(response: httpx2.Response) -> set[str]:
    assert response.status_code == 200
    return {row["uid"] for row in response.json()}


def test_status_and_connz_tell_who_is_connected() -> None:
    async def test() -> None:
        async with running() as (simulation, client):
            url = simulation.api_urls["n1"]
            everybody = [person.uid for person in simulation.world.population.people]
            simulation.calm(traffic=False)

            async def agree() -> bool:
                truth = set(simulation.world.online())
                status = online_rows(await client.post(url + STATUS, json=everybody))
                connz = (await client.get(url + "/connz", params={"limit": 100000})).json()
                rows = {row["uid"] for row in connz["connections"]}
                return truth == set(simulation.world.online()) == status == rows

            await until(agree)
            page = (await client.get(url + "/connz")).json()
            assert (page["offset"], page["limit"]) == (0, 20)
            assert {"id", "uid", "device", "device_id", "leader_id", "node_id", "uptime"} <= set(page["connections"][0])
            one = (await client.get(url + "/connz", params={"offset": 2, "limit": 1})).json()
            assert len(one["connections"]) == 1
            none = (await client.get(url + "/connz", params={"offset": 10**6, "limit": "x"})).json()
            assert (none["connections"], none["limit"]) == ([], 20)
            uid = page["connections"][0]["uid"]
            mine = (await client.get(url + "/connz", params={"uid": uid})).json()
            assert {row["uid"] for row in mine["connections"]} <= {uid}
            varz = (await client.get(url + "/varz")).json()
            assert (varz["server_id"], varz["uptime"][-1]) == ("1001", "s")

    asyncio.run(test())


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ("[]", 200, '{"status":200}'),
        ("null", 200, '{"status":200}'),
        ('["nobody"]', 200, "[]"),
        (
            '{"not":"a list"}',
            400,
            '{"msg":"json: cannot unmarshal object into Go value of type []string","status":400}',
        ),
        ('"x"', 400, '{"msg":"json: cannot unmarshal string into Go value of type []string","status":400}'),
        ("[1]", 400, '{"msg":"json: cannot unmarshal number into Go value of type string","status":400}'),
        ("[[]]", 400, '{"msg":"json: cannot unmarshal array into Go value of type string","status":400}'),
        ("{", 400, '{"msg":"invalid character looking for beginning of value","status":400}'),
    ],
)
def test_odd_questions_get_the_answers_of_the_real_server(body: str, status: int, answer: str) -> None:
    async def test() -> None:
        async with running() as (simulation, client):
            response = await client.post(simulation.api_urls["n1"] + STATUS, content=body)
            assert (response.status_code, response.text) == (status, answer)

    asyncio.run(test())


def test_without_the_token_there_is_no_answer() -> None:
    async def test() -> None:
        async with running(token="t0ken") as (simulation, client):
            url = simulation.api_urls["n1"]
            for headers in ({}, {"token": "wrong"}):
                for response in (
                    await client.post(url + STATUS, json=["u0"], headers=headers),
                    await client.get(url + "/connz", headers=headers),
                    await client.get(url + "/varz", headers=headers),
                ):
                    assert (response.status_code, response.content) == (401, b"")
            assert (await client.get(url + "/varz", headers={"token": "t0ken"})).status_code == 200

    asyncio.run(test())


def test_v3_knows_metrics_and_neither_connz_nor_varz_nor_a_token() -> None:
    async def test() -> None:
        async with running(profile="v3", token="t0ken") as (simulation, client):
            url = simulation.api_urls["n1"]
            for route in ("/connz", "/varz"):
                response = await client.get(url + route)
                assert (response.status_code, response.text) == (404, "404 page not found")
            boot = float((await client.get(url + "/metrics")).text.splitlines()[-1].split()[1])
            assert -1.5 < time.time() - boot < DEADLINE_SECONDS + 5
            twice = await client.post(url + STATUS, json=["nobody", "nobody"])
            assert (twice.status_code, twice.text) == (200, "[]")
            uid = simulation.world.online()[0]
            once = (await client.post(url + STATUS, json=[uid])).json()
            assert all(row["uid"] == uid for row in once)
            wrong = await client.post(url + STATUS, json="x")
            assert (wrong.status_code, wrong.json()["msg"]) == (400, "数据格式有误！")

    asyncio.run(test())


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_while_a_peer_is_down_every_query_fails(profile: str) -> None:
    async def test() -> None:
        async with running(profile=profile, names=("n1", "n2")) as (simulation, client):
            urls = simulation.api_urls
            simulation.crash("n2")

            async def refused() -> bool:
                try:
                    await client.post(urls["n2"] + STATUS, json=["u0"])
                except httpx2.TransportError:
                    return True
                return False

            await until(refused)
            response = await client.post(urls["n1"] + STATUS, json=["u0"])
            assert (response.status_code, response.json()["status"]) == (400, 400)

            async def back() -> bool:
                return not await refused()

            await until(back)
            response = await client.post(urls["n2"] + STATUS, json=["u0"])
            assert response.status_code == 200
            assert simulation.world.cluster.nodes["n2"].boots == 2

    asyncio.run(test())


def test_a_v2_cluster_with_a_token_fails_every_query() -> None:
    async def test() -> None:
        async with running(token="t0ken", names=("n1", "n2")) as (simulation, client):
            url = simulation.api_urls["n1"]
            response = await client.post(url + STATUS, json=["u0"], headers={"token": "t0ken"})
            assert response.status_code == 400
            assert response.json()["msg"].endswith("[401]")

    asyncio.run(test())


def test_errors_come_over_http_as_they_are() -> None:
    async def test() -> None:
        async with running() as (simulation, client):
            url = simulation.api_urls["n1"]
            seen: dict[str, str] = {}
            for error in ERRORS:
                simulation.lies.errors(error, seconds=60.0)

                async def told(error: str = error) -> bool:
                    try:
                        response = await client.post(url + STATUS, json=simulation.world.online())
                    except (httpx2.ReadError, httpx2.RemoteProtocolError) as broken:
                        seen[error] = type(broken).__name__
                        return error in {"cut", "reset"}
                    seen[error] = f"{response.status_code} {response.headers.get('content-type')}"
                    spell = simulation.lies.told("errors", "n1", simulation.elapsed)
                    if error == "half":
                        with pytest.raises(ValueError, match=r"column \d+"):
                            response.json()
                    return spell is not None and spell.what == error not in {"cut", "reset"}

                await until(told)
            assert seen == {
                "500": "500 application/json; charset=utf-8",
                "400": "400 application/json; charset=utf-8",
                "401": "401 application/json; charset=utf-8",
                "html": "502 text/html; charset=utf-8",
                "half": "200 application/json; charset=utf-8",
                "cut": "RemoteProtocolError",
                "reset": "ReadError",
            }
            simulation.calm()

            async def well() -> bool:
                try:
                    return (await client.get(url + "/varz")).status_code == 200
                except httpx2.TransportError:
                    return False

            await until(well)

    asyncio.run(test())


@pytest.mark.parametrize("never", [True, False])
def test_a_slow_answer_holds_up_no_other_and_not_the_end(never: bool) -> None:
    async def test() -> None:
        async with running(names=("n1", "n2")) as (simulation, client):
            urls = simulation.api_urls
            simulation.lies.slow(never=never, seconds=60.0, node="n1")

            async def slow() -> bool:
                return simulation.lies.told("slow", "n1", simulation.elapsed) is not None

            await until(slow)
            waiting = [asyncio.create_task(client.get(urls["n1"] + "/varz", timeout=60.0)) for _ in range(5)]
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(urls["n1"] + STATUS, json=["u0"], timeout=0.3)
            assert (await client.get(urls["n2"] + "/varz", timeout=5.0)).status_code == 200
            simulation.calm()

            async def fast() -> bool:
                return (await client.get(urls["n1"] + "/varz", timeout=5.0)).status_code == 200

            await until(fast)
            assert not any(task.done() for task in waiting)
            began = time.monotonic()
            simulation.crash("n1", down_seconds=60.0)
            for answer in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(answer, httpx2.TransportError)
        assert time.monotonic() - began < DEADLINE_SECONDS

    asyncio.run(test())


def test_a_leader_change_is_seen_in_the_status_alone_and_passes() -> None:
    async def test() -> None:
        async with running(users=400, start_online=1.0) as (simulation, client):
            url = simulation.api_urls["n1"]
            uids = simulation.world.online()
            simulation.lies.leader_change(0.3, seconds=1.0)

            async def missing() -> bool:
                rows = online_rows(await client.post(url + STATUS, json=uids))
                return len(rows) < 0.85 * len(uids)

            await until(missing)
            connz = (await client.get(url + "/connz", params={"limit": 100000})).json()
            assert len({row["uid"] for row in connz["connections"]}) > 0.95 * len(uids)

            async def passed() -> bool:
                return not await missing()

            await until(passed)

    asyncio.run(test())


def test_a_taken_port_is_named() -> None:
    async def test() -> None:
        async with receiving() as receiver:
            nodes = (NodePlan("n1", "secret", receiver.api.port),)
            with pytest.raises(PlanError, match=f"port {receiver.api.port} is taken"):
                await Simulation(Plan(target=receiver.url, nodes=nodes)).run()

    asyncio.run(test())

"""The simulated nodes over real HTTP: query answers and their errors, webhooks posted, recorded and summed up."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ledger.simulator.api import NodeApi
from ledger.simulator.events import SimulatedEvent, Webhook
from ledger.simulator.plan import NodePlan, Plan, PlanError, TargetUnreachableError
from ledger.simulator.runtime import Simulation, Summary

DEADLINE_SECONDS = 15.0
STATUS = "/user/onlinestatus"


class Receiver:
    """A receiver of webhooks that answers as it is told and remembers what it got."""

    def __init__(self, answer: Callable[[], Response] = Response) -> None:
        self.got: list[tuple[str, str, bytes]] = []
        self.answer = answer
        hook = Route("/hooks/{source}/{node}/{secret}", self.hook, methods=["GET", "POST"])
        self.api = NodeApi(Starlette(routes=[hook]), 0)

    async def hook(self, request: Request) -> Response:
        self.got.append((request.method, str(request.url.path) + "?" + request.url.query, await request.body()))
        return self.answer()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api.port}"


@asynccontextmanager
async def receiving(answer: Callable[[], Response] = Response) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    await receiver.api.start()
    try:
        yield receiver
    finally:
        await receiver.api.stop()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await holds():
        assert time.monotonic() < deadline, "the deadline has passed"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(receiver: Receiver, **plan: Any) -> AsyncIterator[tuple[Simulation, httpx2.AsyncClient]]:
    """A simulation with query APIs, of which everyone has come online who does at once."""
    names = plan.pop("names", ("n1",))
    nodes = tuple(NodePlan(name, "secret", 0) for name in names)
    simulation = Simulation(Plan(target=receiver.url, nodes=nodes, seconds=None, seed=1, rate=50.0, **plan))
    task = asyncio.create_task(simulation.run())
    async with httpx2.AsyncClient() as client:
        try:

            async def somebody() -> bool:
                if task.done():
                    await task
                return len(simulation.world.online()) > 5

            await until(somebody)
            yield simulation, client
        finally:
            simulation.stop()
            await task


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def online_rows(response: httpx2.Response) -> set[str]:
    assert response.status_code == 200
    return {row["uid"] for row in response.json()}


def test_status_and_connz_tell_who_is_connected() -> None:
    async def test() -> None:
        async with receiving() as receiver, running(receiver) as (simulation, client):
            url = simulation.api_urls["n1"]
            everybody = [person.uid for person in simulation.world.crowd.people]

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

    run(test())


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
        async with receiving() as receiver, running(receiver) as (simulation, client):
            response = await client.post(simulation.api_urls["n1"] + STATUS, content=body)
            assert (response.status_code, response.text) == (status, answer)

    run(test())


def test_without_the_token_there_is_no_answer() -> None:
    async def test() -> None:
        async with receiving() as receiver, running(receiver, token="t0ken") as (simulation, client):
            url = simulation.api_urls["n1"]
            for headers in ({}, {"token": "wrong"}):
                for response in (
                    await client.post(url + STATUS, json=["u0"], headers=headers),
                    await client.get(url + "/connz", headers=headers),
                    await client.get(url + "/varz", headers=headers),
                ):
                    assert (response.status_code, response.content) == (401, b"")
            assert (await client.get(url + "/varz", headers={"token": "t0ken"})).status_code == 200

    run(test())


def test_v3_knows_metrics_and_neither_connz_nor_varz_nor_a_token() -> None:
    async def test() -> None:
        async with receiving() as receiver, running(receiver, profile="v3", token="t0ken") as (simulation, client):
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

    run(test())


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_while_a_peer_is_down_every_query_fails(profile: str) -> None:
    async def test() -> None:
        async with (
            receiving() as receiver,
            running(receiver, profile=profile, names=("n1", "n2")) as (simulation, client),
        ):
            urls = simulation.api_urls
            simulation.world.outages.crash("n2")

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

    run(test())


def test_a_v2_cluster_with_a_token_fails_every_query() -> None:
    async def test() -> None:
        async with (
            receiving() as receiver,
            running(receiver, token="t0ken", names=("n1", "n2")) as (simulation, client),
        ):
            url = simulation.api_urls["n1"]
            response = await client.post(url + STATUS, json=["u0"], headers={"token": "t0ken"})
            assert response.status_code == 400
            assert response.json()["msg"].endswith("[401]")

    run(test())


def test_webhooks_are_posted_recorded_and_summed_up(tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    events: list[SimulatedEvent] = []

    async def test() -> Summary:
        async with receiving() as receiver:
            plan = Plan(
                target=receiver.url,
                nodes=(NodePlan("n1", "secret"),),
                profile="v3",
                seconds=3.0,
                rate=20.0,
                faults=frozenset(["duplicate"]),
                seed=2,
                record=record,
            )
            summary = await Simulation(plan, events.append).run()
            assert {(method, path) for method, path, _ in receiver.got} == {
                ("POST", "/hooks/main/n1/secret?event=user.onlinestatus")
            }
            bodies = [event.arrival.body for event in events if isinstance(event, Webhook)]
            assert sorted(bodies) == sorted(body for _, _, body in receiver.got)
            return summary

    summary = asyncio.run(test())
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert (lines[0]["server"], lines[0]["seed"], lines[-1]["end"]) == ("v3", 2, True)
    told = [line for line in lines if line["kind"] == "webhook"]
    assert {line["answer"] for line in told} == {"ok"}
    assert len(told) == summary.totals.accepted == sum(isinstance(event, Webhook) for event in events)
    assert summary.totals.retried > 0
    assert sum(line["kind"] == "action" for line in lines) == summary.totals.actions
    assert summary.as_dict()["truth_online"] == len(summary.online) > 0


@pytest.mark.parametrize(
    ("answer", "recorded"),
    [
        (lambda: Response(status_code=204), "204"),
        (lambda: Response(status_code=503), "503"),
        (lambda: RedirectResponse("/hooks/main/n1/elsewhere"), "307"),
    ],
)
def test_only_200_is_a_delivery_and_no_redirect_is_followed(answer: Callable[[], Response], recorded: str) -> None:
    async def test() -> None:
        events: list[SimulatedEvent] = []
        async with receiving(answer) as receiver:
            nodes = (NodePlan("n1", "secret"),)
            plan = Plan(target=receiver.url, nodes=nodes, profile="v3", seconds=1.0, rate=50.0, seed=1)
            summary = await Simulation(plan, events.append).run()
            assert {path for _, path, _ in receiver.got} == {"/hooks/main/n1/secret?event=user.onlinestatus"}
        assert {event.answer for event in events if isinstance(event, Webhook)} == {recorded}
        assert summary.totals.accepted == 0
        assert summary.totals.dropped_batches > 0

    run(test())


def test_a_receiver_that_resets_or_never_answers_has_failed() -> None:
    async def test() -> None:
        connections = 0
        silent = asyncio.Event()

        async def reset_first_then_say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            if connections > 4:
                await silent.wait()
            writer.transport.abort()

        server = await asyncio.start_server(reset_first_then_say_nothing, "127.0.0.1", 0)
        events: list[SimulatedEvent] = []
        async with server:
            target = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            nodes = (NodePlan("n1", "secret"),)
            simulation = Simulation(
                Plan(target=target, nodes=nodes, profile="v3", seconds=None, rate=50.0), events.append
            )
            task = asyncio.create_task(simulation.run())

            async def both() -> bool:
                return {"reset", "slow"} <= {event.answer for event in events if isinstance(event, Webhook)}

            await until(both)
            simulation.stop()
            silent.set()
            await task
        assert simulation.world.totals.accepted == 0

    run(test())


def test_nobody_there_is_said_at_once() -> None:
    async def test() -> None:
        async with receiving() as receiver:
            gone = receiver.url
        with pytest.raises(TargetUnreachableError, match=r"nobody listens at 127\.0\.0\.1") as caught:
            await Simulation(Plan(target=gone, nodes=(NodePlan("n1", "hush"),))).run()
        assert "hush" not in str(caught.value)

    run(test())


def test_a_receiver_that_goes_away_is_refused_deliveries_that_no_recording_holds(tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"

    async def test() -> None:
        async with receiving() as receiver:
            nodes = (NodePlan("n1", "secret"),)
            plan = Plan(target=receiver.url, nodes=nodes, profile="v3", seconds=None, rate=50.0, record=record)
            simulation = Simulation(plan)
            task = asyncio.create_task(simulation.run())

            async def delivered() -> bool:
                return simulation.world.totals.accepted > 0

            async def failing() -> bool:
                return simulation.world.totals.dropped_batches > 0

            await until(delivered)
            await receiver.api.stop()
            await until(failing)
            simulation.stop()
            await task

    run(test())
    answers = {json.loads(line).get("answer") for line in record.read_text(encoding="utf-8").splitlines()}
    assert "ok" in answers
    assert "refused" not in answers


def test_a_taken_port_is_named() -> None:
    async def test() -> None:
        async with receiving() as receiver:
            nodes = (NodePlan("n1", "secret", receiver.api.port),)
            with pytest.raises(PlanError, match=f"port {receiver.api.port} is taken"):
                await Simulation(Plan(target=receiver.url, nodes=nodes)).run()

    run(test())

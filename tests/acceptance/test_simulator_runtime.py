"""The simulation in real time: webhooks posted, answers understood, the run recorded and summed up."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from starlette.responses import RedirectResponse, Response

from ledger.simulator.events import Action, AnsweredWebhook, SimulatedEvent
from ledger.simulator.plan import NodePlan, Plan, PlanError, TargetUnreachableError
from ledger.simulator.runtime import RunSummary, Simulation
from tests.support.simulated import receiving, until


def test_webhooks_are_posted_recorded_and_summed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    record = tmp_path / "run.jsonl"
    events: list[SimulatedEvent] = []

    async def test() -> RunSummary:
        async with receiving() as receiver:
            plan = Plan(
                target=receiver.url,
                nodes=(NodePlan("n1", "hush-hush"),),
                profile="v3",
                seconds=3.0,
                rate=20.0,
                faults=frozenset(["duplicate"]),
                seed=2,
                record=record,
            )
            summary = await Simulation(plan, events.append).run()
            assert {(method, path) for method, path, _ in receiver.got} == {
                ("POST", "/hooks/main/n1/hush-hush?event=user.onlinestatus")
            }
            bodies = [event.arrival.body for event in events if isinstance(event, AnsweredWebhook)]
            assert sorted(bodies) == sorted(body for _, _, body in receiver.got)
            return summary

    summary = asyncio.run(test())
    assert caplog.records
    assert not any("hush-hush" in entry.getMessage() for entry in caplog.records)
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert (lines[0]["server"], lines[0]["seed"], lines[-1]["end"]) == ("v3", 2, True)
    told = [line for line in lines if line["kind"] == "webhook"]
    assert {line["answer"] for line in told} == {"ok"}
    assert len(told) == summary.totals.accepted == sum(isinstance(event, AnsweredWebhook) for event in events)
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
            plan = Plan(target=receiver.url, nodes=nodes, profile="v3", seconds=None, rate=50.0, seed=1)
            simulation = Simulation(plan, events.append)
            task = asyncio.create_task(simulation.run())

            async def dropped() -> bool:
                return simulation.world.totals.dropped_batches > 0

            await until(dropped)
            simulation.stop()
            summary = await task
            assert {path for _, path, _ in receiver.got} == {"/hooks/main/n1/secret?event=user.onlinestatus"}
        assert {event.answer for event in events if isinstance(event, AnsweredWebhook)} == {recorded}
        assert summary.totals.accepted == 0

    asyncio.run(test())


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
                return {"reset", "slow"} <= {event.answer for event in events if isinstance(event, AnsweredWebhook)}

            await until(both)
            simulation.stop()
            silent.set()
            await task
        assert simulation.world.totals.accepted == 0

    asyncio.run(test())


def test_nobody_there_is_said_at_once() -> None:
    async def test() -> None:
        async with receiving() as receiver:
            gone = receiver.url
        with pytest.raises(TargetUnreachableError, match=r"nothing listens at 127\.0\.0\.1") as caught:
            await Simulation(Plan(target=gone, nodes=(NodePlan("n1", "hush"),))).run()
        assert "hush" not in str(caught.value)

    asyncio.run(test())


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

    asyncio.run(test())
    answers = {json.loads(line).get("answer") for line in record.read_text(encoding="utf-8").splitlines()}
    assert "ok" in answers
    assert "refused" not in answers


def test_a_run_that_is_cancelled_leaves_a_whole_recording_and_no_listener(tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"

    async def test() -> None:
        async with receiving() as receiver:
            nodes = (NodePlan("n1", "secret", 0),)
            simulation = Simulation(Plan(target=receiver.url, nodes=nodes, seconds=None, rate=50.0, record=record))
            task = asyncio.create_task(simulation.run())

            async def delivered() -> bool:
                return simulation.world.totals.accepted > 0

            await until(delivered)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with httpx2.AsyncClient() as client:
                with pytest.raises(httpx2.ConnectError):
                    await client.get(simulation.api_urls["n1"] + "/varz")

    asyncio.run(test())
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["end"] is True
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)


def test_a_node_is_killed_at_an_instant_of_the_callers_choosing_from_any_thread(tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    told: list[str] = []

    async def test() -> None:
        async with receiving() as receiver:
            nodes = (NodePlan("n1", "secret"),)
            plan = Plan(
                target=receiver.url,
                nodes=nodes,
                users=300,
                rate=1e-9,
                start_online=1.0,
                seconds=None,
                record=record,
            )
            simulation = Simulation(plan, lambda event: told.append(event.do) if isinstance(event, Action) else None)
            assert simulation.elapsed == 0.0
            task = asyncio.create_task(simulation.run())

            async def announced() -> bool:
                return simulation.world.totals.accepted > 0 and simulation.world.population.online_count() == 300

            async def crashed() -> bool:
                return "crash" in told

            async def back() -> bool:
                return "start" in told[told.index("crash") :] and simulation.world.population.online_count() > 200

            async def down() -> bool:
                return simulation.world.population.online_count() == 0

            await until(announced)
            with pytest.raises(PlanError, match="unknown node n9; the plan has: n1"):
                simulation.crash("n9")
            await asyncio.to_thread(simulation.crash, "n1", down_seconds=0.3, returns=(0.8, 0.0, 0.3))
            await until(crashed)
            await until(back)
            # So long that a busy machine, too, sees it down.
            simulation.shut_down("n1", down_seconds=600.0, returns=(1.0, 0.0, 0.1))
            await until(down)
            simulation.calm(traffic=False)
            simulation.stop()
            await task
            spans = simulation.truth()
            assert len(spans) == 300
            assert len({of_user[0][1] for of_user in spans.values()}) == 1  # the crash ended everybody's
            assert 200 < sum(len(of_user) > 1 for of_user in spans.values()) < 300

    asyncio.run(test())
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    assert [line["do"] for line in lines if line.get("do") in {"crash", "stop"}] == ["crash", "stop"]
    crash, start = (line["t"] for line in lines if line.get("do") in {"crash", "start"} and line["t"] > 0)
    assert start - crash == pytest.approx(0.3, abs=0.001)


def test_what_is_steered_before_the_start_happens_at_the_start() -> None:
    async def test() -> None:
        async with receiving() as receiver:
            plan = Plan(target=receiver.url, nodes=(NodePlan("n1", "secret"),), seconds=0.5)
            actions: list[Action] = []
            simulation = Simulation(plan, lambda event: actions.append(event) if isinstance(event, Action) else None)
            simulation.lies.empty_list(seconds=3.0)
            await simulation.run()
            assert [(action.t, action.line["lie"]) for action in actions if action.do == "lie"] == [(0.0, "empty_list")]

    asyncio.run(test())

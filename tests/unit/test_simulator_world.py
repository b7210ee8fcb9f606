"""The simulated world: determinism by seed, faults, the truth, recordings that score, and a storm's body."""

import json
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ledger.simulator.cluster import slot_for
from ledger.simulator.events import Action, AnsweredWebhook, Arrival
from ledger.simulator.offline import generate
from ledger.simulator.plan import FAULTS, PROFILES, Fault, NodePlan, Plan, PlanError, Profile
from ledger.simulator.recording import Recorder
from ledger.simulator.world import SimulatedWorld

FIXTURES = Path(__file__).parents[1] / "fixtures"
Line = dict[str, Any]


def score(lines: list[Line], users: dict[str, Any]) -> dict[str, Any]:
    """The figures of the recordings' own judge."""
    sys.path.insert(0, str(FIXTURES))
    try:
        import score as judge  # type: ignore[import-not-found]  # noqa: PLC0415
    finally:
        sys.path.remove(str(FIXTURES))
    figures: dict[str, Any] = judge.score(lines, users)
    return figures


def as_claimed(lines: list[Line]) -> dict[str, Any]:
    """What somebody shows who believes each item as it comes: an online, or a total above 0, is online."""
    users: dict[str, Any] = {}
    for line in lines:
        if line["kind"] == "webhook":
            for item in json.loads(line["body"]):
                uid, _, online, _, _, total = item.rsplit("-", 5)
                status = "online" if online == "1" or total != "0" else "offline"
                users.setdefault(uid, {"transitions": []})["transitions"].append([line["t"], status])
    return users


def webhooks(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["kind"] == "webhook"]


def actions(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["kind"] == "action"]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_seed_gives_the_same_run_and_another_one_another(profile: Profile) -> None:
    plan = Plan(profile=profile, faults=frozenset(FAULTS), seed=7)
    assert generate(plan) == generate(plan)
    assert actions(generate(plan)) != actions(generate(replace(plan, seed=8)))


@pytest.mark.parametrize("profile", PROFILES)
def test_what_the_receiver_answers_changes_no_action(profile: Profile) -> None:
    plan = Plan(profile=profile, faults=frozenset(FAULTS), seed=7)

    def run(answer: str) -> list[Action]:
        world, seen = SimulatedWorld(plan), []
        while (t := world.next_at()) is not None and t <= 60.0:
            for event in world.advance(t):
                if isinstance(event, Arrival):
                    world.answered(event, event.t, answer)
                else:
                    seen.append(event)
        return seen

    assert run("ok") == run("500")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_recording_is_in_order_and_its_truth_is_the_worlds(profile: Profile, fault: Fault | None) -> None:
    faults = frozenset([fault] if fault else [])
    plan = Plan(profile=profile, faults=faults, seed=3, users=30)
    lines = generate(plan)
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert (lines[0]["server"], lines[-1]["end"]) == (plan.traits.server, True)

    world = SimulatedWorld(plan)
    while (t := world.next_at()) is not None and t <= 60.0:
        world.advance(t)
    shown = {uid: {"transitions": [[59.99, "online"]]} for uid in world.online()}
    assert score(lines, shown)["wrong_at_end"] == []
    assert score(lines, {})["wrong_at_end"] == world.online()


@pytest.mark.parametrize("profile", ["v1", "v2.2", "v3"])
def test_without_faults_who_believes_each_item_is_late_for_nobody(profile: Profile) -> None:
    lines = [line for line in generate(Plan(profile=profile, seed=5)) if slot_for(line.get("uid", "u1")) != 0]
    figures = score(lines, as_claimed(lines))
    assert figures["user_seconds"] > 500
    assert figures["late"] == 0


@pytest.mark.parametrize("profile", ["v2.1", "v2.2"])
def test_users_of_slot_zero_are_never_reported_offline_by_v2(profile: Profile) -> None:
    lines = generate(Plan(profile=profile, faults=frozenset(["slot-zero"]), seed=5))
    silenced = {line["uid"] for line in actions(lines) if line["do"] == "close" and slot_for(line["uid"]) == 0}
    told = {
        uid
        for line in webhooks(lines)
        for uid, _, online, *_ in (item.rsplit("-", 5) for item in json.loads(line["body"]))
        if online == "0"
    }
    assert len(silenced) > 3
    assert told
    assert not told & silenced
    assert score(lines, as_claimed(lines))["late"] > 0


@pytest.mark.parametrize("profile", ["v1", "v3"])
def test_v1_and_v3_do_report_users_of_slot_zero(profile: Profile) -> None:
    lines = generate(Plan(profile=profile, faults=frozenset(["slot-zero"]), seed=5))
    offline = [item for line in webhooks(lines) for item in json.loads(line["body"]) if item.rsplit("-", 5)[2] == "0"]
    assert any(slot_for(item.rsplit("-", 5)[0]) == 0 for item in offline)


@pytest.mark.parametrize("profile", PROFILES)
def test_duplicate_shows_a_retried_delivery_and_a_copy_within_a_minute(profile: Profile) -> None:
    plan = Plan(profile=profile, faults=frozenset(["duplicate"]), seed=1)
    bodies = Counter(line["body"] for line in webhooks(generate(plan)))
    world, arrivals = SimulatedWorld(plan), []
    while (t := world.next_at()) is not None and t <= 60.0:
        for event in world.advance(t):
            if isinstance(event, Arrival):
                arrivals.append(event)
                world.answered(event, event.t, "ok")
    lost = next(arrival for arrival in arrivals if arrival.answer_lost)
    again = next(a for a in arrivals if a.body == lost.body and a.attempt == lost.attempt + 1)
    pause = plan.traits.pause_seconds
    assert lost.t + pause <= again.t <= lost.t + pause + 0.1
    assert any(arrival.copy == 2 for arrival in arrivals)
    assert max(bodies.values()) > 1


def test_v3_posts_overtake_each_other() -> None:
    lines = generate(Plan(profile="v3", rate=200.0, users=500, seed=2, seconds=10.0))
    first_conn = [
        int(item.rsplit("-", 3)[1])
        for line in webhooks(lines)
        for item in json.loads(line["body"])[:1]
        if item.rsplit("-", 5)[2] == "1"
    ]
    assert first_conn != sorted(first_conn)


@pytest.mark.parametrize("profile", ["v1", "v2.1", "v2.2"])
def test_a_serial_sender_keeps_the_order_unless_told_to_lie(profile: Profile) -> None:
    def conn_ids(faults: frozenset[Fault]) -> list[int]:
        lines = generate(Plan(profile=profile, seed=2, seconds=30.0, faults=faults))
        items = [item.rsplit("-", 5) for line in webhooks(lines) for item in json.loads(line["body"])]
        return [int(conn_id) for _, _, online, conn_id, _, _ in items if online == "1"]

    assert conn_ids(frozenset()) == sorted(conn_ids(frozenset()))
    lied = conn_ids(frozenset(["reorder"]))
    assert lied != sorted(lied)


def test_dropped_items_are_lost_for_good() -> None:
    plan = Plan(faults=frozenset(["drop"]), seed=4, seconds=300.0)
    world = SimulatedWorld(plan)
    received = 0
    while (t := world.next_at()) is not None and t <= 300.0:
        for event in world.advance(t):
            if isinstance(event, Arrival):
                received += event.items
                world.answered(event, event.t, "ok")
    assert world.totals.dropped_items > 20
    assert world.totals.lost_on_the_way > 0
    assert received <= world.totals.items - world.totals.dropped_items


def test_a_receiver_that_always_fails_loses_every_batch() -> None:
    world = SimulatedWorld(Plan(seed=4, seconds=60.0))
    while (t := world.next_at()) is not None and t <= 60.0:
        for event in world.advance(t):
            if isinstance(event, Arrival):
                world.answered(event, event.t, "204")
    assert world.totals.accepted == 0
    assert world.totals.dropped_batches >= 10


def test_a_receiver_that_never_answers_is_given_up_after_the_time_out() -> None:
    world = SimulatedWorld(Plan(profile="v2.2", seed=4, seconds=60.0))
    sent_at = []
    while (t := world.next_at()) is not None and t <= 30.0:
        sent_at += [event.t for event in world.advance(t) if isinstance(event, Arrival)]
    assert [round(b - a, 1) for a, b in pairwise(sent_at)] == [11.0, 11.0]


@pytest.mark.parametrize("profile", PROFILES)
def test_after_a_restart_conn_ids_start_again(profile: Profile) -> None:
    lines = generate(Plan(profile=profile, faults=frozenset(["restart"]), seed=3))
    kinds = Counter(line["do"] for line in actions(lines))
    assert kinds["crash"] + kinds["stop"] >= 2
    assert kinds["start"] >= 2
    onlines = [item.rsplit("-", 5) for line in webhooks(lines) for item in json.loads(line["body"])]
    assert sum(parts[2] == "1" and parts[3] == "1" for parts in onlines) >= 2


def test_a_storm_brings_most_users_back_at_once() -> None:
    lines = generate(Plan(profile="v2.2", users=400, rate=100.0, faults=frozenset(["storm"]), seed=3, seconds=40.0))
    assert max(len(json.loads(line["body"])) for line in webhooks(lines)) > 100


def test_users_are_of_every_kind() -> None:
    people = SimulatedWorld(Plan(users=64)).population.people
    uids = [person.uid for person in people]
    assert len(set(uids)) == 64
    assert any(len(uid) == 36 and uid.count("-") == 4 for uid in uids)
    assert any(uid.startswith("用户-") for uid in uids)
    assert any(uid.endswith("___vstr") for uid in uids)
    assert any(slot_for(uid) == 0 for uid in uids)
    devices = [device for person in people for device in person.devices]
    assert {flag for flag, _ in devices} >= {0, 1, 2, 4, 42, 99}
    assert any(Counter(flag for flag, _ in person.devices)[1] > 1 for person in people)


def test_a_recording_with_polls_can_be_asked() -> None:
    plan = Plan(nodes=(NodePlan("n1"), NodePlan("n2")), faults=frozenset(["restart"]), seed=3, seconds=30.0)
    polls = [line for line in generate(plan, polls=True) if line["kind"] == "poll"]
    routes = Counter(line["route"] for line in polls)
    assert routes["GET /varz"] >= 50
    assert routes["GET /connz?limit=100000"] >= 10
    assert {line.get("status", line.get("error")) for line in polls} == {200, 400, "ConnectError"}
    assert [line for line in generate(plan, polls=True) if line["kind"] != "poll"] == generate(plan)


def test_polls_of_v3_are_status_and_metrics() -> None:
    polls = [line for line in generate(Plan(profile="v3", seconds=5.0), polls=True) if line["kind"] == "poll"]
    assert {line["route"] for line in polls} == {"GET /metrics", "POST /user/onlinestatus"}


def test_the_recorder_keeps_later_lines_back_until_a_webhook_is_answered() -> None:
    written: list[str] = []
    recorder = Recorder(written.append)

    def action(t: float) -> Action:
        return Action(t, "close", {"t": t, "kind": "action", "do": "close"})

    def arrival(t: float) -> Arrival:
        return Arrival(t, "n1", 1, b'["a-0-1-1-1-1"]', 1, 1, 1, answer_lost=False, patience_seconds=5.0)

    recorder.add(action(1.0))
    recorder.expect(1, 2.0)
    recorder.add(action(3.0))
    recorder.expect(2, 3.5)
    assert len(written) == 1
    recorder.add(AnsweredWebhook(arrival(2.0), "ok"), 1)
    assert len(written) == 3
    recorder.add(action(4.0))
    recorder.give_up(2)
    recorder.close(5.0)
    assert [json.loads(line)["t"] for line in written] == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"nodes": ()}, "at least one node"),
        ({"nodes": (NodePlan("n1"), NodePlan("n1"))}, "each name once"),
        ({"nodes": (NodePlan("n1"), NodePlan("n2")), "profile": "v1"}, "no cluster"),
        ({"users": 0}, "above 0"),
        ({"seconds": 0.0}, "above 0"),
        ({"faults": frozenset(["gremlins"])}, "unknown fault gremlins"),
        ({"profile": "v4"}, "unknown profile v4"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Plan(**wrong)


def test_a_recording_needs_an_end() -> None:
    with pytest.raises(PlanError, match="needs an end"):
        generate(Plan(seconds=None))


def test_a_plan_shows_no_secret() -> None:
    plan = Plan(nodes=(NodePlan("n1", "hush"), NodePlan("n2", hook="http://h/hush")), token="hush")
    assert "hush" not in repr(plan)
    assert plan.hook_url(plan.nodes[0]) == "http://127.0.0.1:8640/hooks/main/n1/hush"
    assert plan.hook_url(plan.nodes[1]) == "http://h/hush"

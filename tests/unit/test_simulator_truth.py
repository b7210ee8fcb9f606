"""What a run of any size knows about itself: the truth of every user, who is online at the start, faults by share."""

import importlib.util
import json
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench._truth import as_lines
from ledger.simulator.answers import QueryApi
from ledger.simulator.events import Action, Arrival
from ledger.simulator.offline import generate
from ledger.simulator.plan import FAULTS, PROFILES, NodePlan, Plan, PlanError, Profile, Shares, parse_shares
from ledger.simulator.sender import encode
from ledger.simulator.world import SimulatedWorld

SCORE = Path(__file__).parents[1] / "fixtures" / "score.py"
WAY = frozenset(FAULTS[:4])


@cache
def judge() -> ModuleType:
    """The fixtures' scorer, which stands alone."""
    spec = importlib.util.spec_from_file_location("score", SCORE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(world: SimulatedWorld, to: float) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Let a world go on until `to` -> (its actions, how often each item arrived)."""
    actions: list[dict[str, Any]] = []
    items: Counter[str] = Counter()
    while (t := world.next_at()) is not None and t <= to:
        for event in world.advance(t):
            if isinstance(event, Action):
                actions.append(event.line)
            elif isinstance(event, Arrival):
                items.update(json.loads(event.body))
                world.answered(event, event.t + 0.002, "ok")
    assert world.advance(to) == []
    return actions, items


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("nodes", [1, 2])
def test_the_truth_is_what_the_scorer_makes_of_the_actions(profile: Profile, nodes: int) -> None:
    names = tuple(NodePlan(f"n{n}") for n in range(1, (1 if profile == "v1" else nodes) + 1))
    world = SimulatedWorld(
        Plan(profile=profile, nodes=names, users=60, rate=20.0, faults=frozenset(FAULTS), seed=9, start_online=0.5)
    )
    actions, _ = run(world, 90.0)
    spans, end = judge().truth([*actions, {"kind": "meta", "t": 90.0}])
    assert end == 90.0
    assert world.truth(90.0) == spans
    assert sum(map(len, spans.values())) > 150


def test_the_short_recording_of_a_truth_is_scored_as_the_long_one() -> None:
    plan = Plan(users=60, rate=20.0, faults=frozenset(FAULTS), seed=9, seconds=90.0)
    lines = generate(plan)
    world = SimulatedWorld(plan)
    run(world, 90.0)
    users = {uid: {"transitions": [(3.0, "online"), (40.0, "offline")]} for uid in world.truth(90.0)}
    figures = judge().score(lines, users)
    assert judge().score(as_lines(world.truth(90.0), 90.0), users) == figures
    assert figures["user_seconds"] > 1000


@pytest.mark.parametrize("profile", PROFILES)
def test_a_share_of_the_users_is_online_from_the_start_and_announced(profile: Profile) -> None:
    world = SimulatedWorld(Plan(profile=profile, users=2000, rate=1e-9, start_online=0.75, seed=2))
    assert len(world.online()) == 0
    _, items = run(world, 6.0)
    assert len(world.online()) == world.population.online_count() == 1500
    assert {item.rsplit("-", 5)[0] for item in items} == set(world.online())
    assert world.totals.dropped_items == 0
    assert {since for spans in world.truth().values() for since, _ in spans} <= {0.0, 0.1, 0.2}


def test_who_is_online_at_the_start_is_of_the_seed() -> None:
    plan = Plan(users=200, rate=1e-9, start_online=0.5, seed=2)
    online = []
    for each in (plan, plan, replace(plan, seed=3)):
        world = SimulatedWorld(each)
        world.advance(1.0)
        online.append(world.online())
    assert online[0] == online[1] != online[2]


@pytest.mark.parametrize("profile", ["v1", "v2.2", "v3"])
def test_with_a_share_of_faults_that_share_of_all_items_never_arrives(profile: Profile) -> None:
    plan = Plan(profile=profile, users=2000, rate=200.0, faults=WAY, fault_share=0.3, seed=5)
    world = SimulatedWorld(plan)
    _, items = run(world, 60.0)
    assert 0.24 < 1 - len(items) / world.totals.items < 0.4
    assert items.total() > 1.15 * len(items)
    assert world.totals.lost_on_the_way > 0.1 * world.totals.sent


def test_a_share_of_none_leaves_each_fault_its_own_and_nought_is_no_fault() -> None:
    assert parse_shares(None) == Shares()
    assert parse_shares(0.0) == Shares(*[0.0] * 8)
    quiet = SimulatedWorld(Plan(faults=WAY, fault_share=0.0, seed=1))
    run(quiet, 60.0)
    assert (quiet.totals.dropped_items, quiet.totals.lost_on_the_way) == (0, 0)


def test_calm_ends_faults_and_traffic_but_brings_everybody_back() -> None:
    world = SimulatedWorld(
        Plan(users=500, rate=50.0, faults=frozenset(FAULTS), fault_share=0.3, start_online=0.5, seed=3)
    )
    run(world, 60.0)
    world.faults.crash("n1", returns=(1.0, 0.0, 5.0), down_seconds=4.0)
    online = world.online()
    assert online == []
    world.calm(traffic=False)
    dropped = world.totals.dropped_items
    run(world, 120.0)
    assert world.cluster.nodes["n1"].up
    assert len(world.online()) > 100
    actions, _ = run(world, 400.0)
    assert actions == []
    assert world.totals.dropped_items == dropped


def test_with_traffic_calm_ends_the_faults_alone() -> None:
    world = SimulatedWorld(Plan(users=50, rate=20.0, faults=frozenset(FAULTS), seed=3))
    run(world, 60.0)
    world.calm()
    run(world, 100.0)
    actions, _ = run(world, 160.0)
    assert {"connect", "close"} <= {line["do"] for line in actions}
    assert not {"crash", "stop", "lie"} & {line["do"] for line in actions}


def test_a_node_that_is_down_is_neither_killed_nor_stopped_again() -> None:
    world = SimulatedWorld(Plan(rate=1e-9, start_online=1.0))
    run(world, 1.0)
    for _ in range(2):
        world.faults.crash("n1", down_seconds=2.0)
        world.faults.stop("n1")
    actions, _ = run(world, 30.0)
    assert Counter(line["do"] for line in actions if "uid" not in line) == {"crash": 1, "start": 1}
    assert world.cluster.nodes["n1"].boots == 2


def test_a_crash_of_a_crowd_brings_the_share_back_evenly() -> None:
    world = SimulatedWorld(Plan(users=5000, rate=1e-9, start_online=1.0, seed=6))
    run(world, 5.0)
    world.faults.crash("n1", returns=(0.8, 0.0, 20.0), down_seconds=3.0)
    actions, _ = run(world, 40.0)
    back = [line["t"] - 8.0 for line in actions if line["do"] == "connect"]
    assert len(back) == pytest.approx(4000, rel=0.05)
    by_second = Counter(int(t) for t in back)
    assert set(by_second) == set(range(20))
    assert max(by_second.values()) < 1.3 * min(by_second.values())


def test_thousands_of_sessions_are_answered_for_whole() -> None:
    world = SimulatedWorld(Plan(users=5000, rate=1e-9, start_online=1.0, seed=6))
    run(world, 5.0)
    api = QueryApi(world.cluster, 1.8e9)
    rows = json.loads(api.connz("n1", 65.0, limit=100_000).body)["connections"]
    assert [row["id"] for row in rows] == list(range(1, 5001))
    assert {row["uptime"] for row in rows} == {"1m5s"}
    some = world.online()[:1000]
    assert {row["uid"] for row in json.loads(api.online_status("n1", encode(some)).body)} == set(some)
    assert [row["uid"] for row in json.loads(api.connz("n1", 65.0, uid=some[3]).body)["connections"]] == [some[3]]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fault_share": 1.0}, "below 1"),
        ({"fault_share": -0.1}, "at least 0"),
        ({"start_online": 1.5}, "from 0 to 1"),
    ],
)
def test_a_share_that_is_none_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        Plan(**wrong)

"""What the simulated nodes say, compared with what real servers said when the same clients did the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.simulator.cluster import Cluster, Session, slot_of
from ledger.simulator.events import Arrival
from ledger.simulator.plan import TRAITS, NodePlan, Plan, Profile
from ledger.simulator.world import World

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "wukongim"
FOLDERS: dict[Profile, str] = {"v1": "v12", "v2.1": "v21", "v2.2": "v22", "v3": "v3"}
PROFILES = list(FOLDERS)


def load(profile: Profile, name: str) -> list[dict[str, Any]]:
    text = (RECORDINGS / FOLDERS[profile] / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def recorded(lines: list[dict[str, Any]]) -> list[str]:
    return [item for line in lines if line["kind"] == "webhook" for item in json.loads(line["body"])]


def said(profile: Profile, lines: list[dict[str, Any]]) -> list[str]:
    """What a cluster of this profile says when the recording's clients and servers do what they did."""
    names = list(dict.fromkeys(line["node"] for line in lines if line.get("do") == "start"))
    cluster = Cluster(TRAITS[profile], names)
    sessions: dict[int, Session] = {}
    booted: set[str] = set()
    items = []
    for line in lines:
        match line.get("do"):
            case "start" if line["node"] in booted:
                cluster.boot(line["t"], line["node"])
            case "start":
                booted.add(line["node"])
            case "connect":
                session, more = cluster.connect(
                    line["t"], line["uid"], line["device_flag"], line["device_id"], line["node"]
                )
                sessions[line["conn"]] = session
                items += more
            case "close" | "vanish" | "ended_by_server":
                items += cluster.close(sessions[line["conn"]])
            case "stop" if profile == "v3":
                items += cluster.close_all(line["node"])
            case "crash" | "stop":
                cluster.halt(line["node"])
    return [item for _, item in items]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["basic", "slot_zero", "many_connections_one_device", "graceful_stop"])
def test_counts_and_conn_ids_are_those_of_the_real_server(profile: Profile, name: str) -> None:
    lines = load(profile, name)
    assert sorted(said(profile, lines)) == sorted(recorded(lines))


@pytest.mark.parametrize("profile", PROFILES)
def test_after_a_crash_nothing_is_said_and_conn_ids_start_again(profile: Profile) -> None:
    lines = load(profile, "crash_and_restart")
    assert sorted(said(profile, lines)) == sorted(recorded(lines))


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_a_cluster_says_what_the_real_one_said(profile: Profile) -> None:
    lines = load(profile, "two_nodes")
    assert sorted(said(profile, lines)) == sorted(recorded(lines))


def still(profile: Profile, nodes: tuple[str, ...] = ("n1",)) -> World:
    """A world in which nothing happens by itself."""
    plan = Plan(profile=profile, nodes=tuple(NodePlan(name) for name in nodes), rate=1e-9, idle_seconds=20.0)
    return World(plan)


def bodies(world: World, to: float) -> list[str]:
    """Everything the nodes deliver until `to`, each webhook answered at once."""
    items: list[str] = []
    while (t := world.next_at()) is not None and t <= to:
        for event in world.advance(t):
            if isinstance(event, Arrival):
                items += json.loads(event.body)
                world.answered(event, t, "ok")
    return items


@pytest.mark.parametrize("profile", PROFILES)
def test_the_same_device_again_is_told_as_the_real_server_told_it(profile: Profile) -> None:
    world = still(profile)
    world.agenda.at(2.0, lambda: world.crowd.connect("dave", 0, "phone"))
    world.agenda.at(5.0, lambda: world.crowd.connect("dave", 0, "phone"))
    new_closes_at = {"v1": 11.0, "v2.1": 11.0, "v2.2": 7.5, "v3": 11.0}[profile]
    world.agenda.at(new_closes_at, lambda: world.crowd.close(world.crowd.sessions("dave")[0]))
    assert bodies(world, 60.0) == recorded(load(profile, "same_device_replaced"))


@pytest.mark.parametrize("profile", ["v2.1", "v2.2"])
def test_a_vanished_client_is_reported_twice_by_v2(profile: Profile) -> None:
    world = still(profile)
    world.agenda.at(2.0, lambda: world.crowd.connect("frank", 0, "d"))
    world.agenda.at(2.1, lambda: world.crowd.vanish(world.crowd.sessions("frank")[0]))
    online = {"v2.1": "frank-0-1-1-0-0", "v2.2": "frank-0-1-1-1-1"}[profile]
    assert bodies(world, 60.0) == [online, "frank-0-0-1-0-0", "frank-0-0-1-0-0"]


@pytest.mark.parametrize(("profile", "offlines"), [("v1", 1), ("v3", 0)])
def test_a_vanished_client_is_reported_once_by_v1_and_never_by_v3(profile: Profile, offlines: int) -> None:
    world = still(profile)
    world.agenda.at(2.0, lambda: world.crowd.connect("frank", 0, "d"))
    world.agenda.at(2.1, lambda: world.crowd.vanish(world.crowd.sessions("frank")[0]))
    assert bodies(world, 200.0) == ["frank-0-1-1-1-1"] + ["frank-0-0-1-0-0"] * offlines


def test_in_a_v2_cluster_the_sender_is_the_slot_leader_and_the_conn_id_the_holders() -> None:
    cluster = Cluster(TRAITS["v2.2"], ["n1", "n2"])
    leader = cluster.leader("alice").name
    holder = "n1" if leader == "n2" else "n2"
    cluster.connect(0.0, "someone", 0, "d", holder)
    _, said_of_alice = cluster.connect(0.0, "alice", 0, "d", holder)
    assert said_of_alice == [(leader, "alice-0-1-2-1-1")]


def test_a_leader_that_came_back_says_nothing_of_those_it_forgot() -> None:
    cluster = Cluster(TRAITS["v2.2"], ["n1", "n2"])
    leader = cluster.leader("alice").name
    holder = "n1" if leader == "n2" else "n2"
    session, _ = cluster.connect(0.0, "alice", 0, "d", holder)
    cluster.halt(leader)
    cluster.boot(3.0, leader)
    assert cluster.close(session) == []


def test_conn_ids_wrap() -> None:
    cluster = Cluster(TRAITS["v2.2"], ["n1"])
    cluster.nodes["n1"].next_conn_id = 2**32 - 1
    ids = [cluster.connect(0.0, f"u{n}", 0, "d", "n1")[0].conn_id for n in range(2)]
    assert ids == [2**32 - 1, 1]


@pytest.mark.parametrize(("uid", "slot"), [("bob", 0), ("u36", 0), ("49", 0), ("lee", 35)])
def test_slots_are_those_of_the_real_server(uid: str, slot: int) -> None:
    assert slot_of(uid) == slot

"""What the simulated nodes say, compared with what real servers said when the same clients did the same."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.simulator.answers import QueryApi, go_duration
from ledger.simulator.cluster import Cluster, SimulatedSession, slot_for
from ledger.simulator.events import Arrival
from ledger.simulator.plan import TRAITS, NodePlan, Plan, Profile
from ledger.simulator.sender import encode
from ledger.simulator.world import SimulatedWorld

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
    sessions: dict[int, SimulatedSession] = {}
    booted: set[str] = set()
    items = []
    ends_at = [line["t"] for line in lines if line.get("do") in {"crash", "stop"}]
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
            case "ended_by_server" if any(abs(line["t"] - t) < 2.0 for t in ends_at):
                continue
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


def still(profile: Profile, nodes: tuple[str, ...] = ("n1",)) -> SimulatedWorld:
    """A world in which nothing happens by itself."""
    plan = Plan(profile=profile, nodes=tuple(NodePlan(name) for name in nodes), rate=1e-9, idle_seconds=20.0)
    return SimulatedWorld(plan)


def bodies(world: SimulatedWorld, to: float) -> list[str]:
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
    world.agenda.at(2.0, lambda: world.population.connect("dave", 0, "phone"))
    world.agenda.at(5.0, lambda: world.population.connect("dave", 0, "phone"))
    new_closes_at = {"v1": 11.0, "v2.1": 11.0, "v2.2": 7.5, "v3": 11.0}[profile]
    world.agenda.at(new_closes_at, lambda: world.population.close(world.population.sessions("dave")[0]))
    assert bodies(world, 60.0) == recorded(load(profile, "same_device_replaced"))


@pytest.mark.parametrize("profile", ["v2.1", "v2.2"])
def test_a_vanished_client_is_reported_twice_by_v2(profile: Profile) -> None:
    world = still(profile)
    world.agenda.at(2.0, lambda: world.population.connect("frank", 0, "d"))
    world.agenda.at(2.1, lambda: world.population.vanish(world.population.sessions("frank")[0]))
    online = {"v2.1": "frank-0-1-1-0-0", "v2.2": "frank-0-1-1-1-1"}[profile]
    assert bodies(world, 60.0) == [online, "frank-0-0-1-0-0", "frank-0-0-1-0-0"]


@pytest.mark.parametrize(("profile", "offlines"), [("v1", 1), ("v3", 0)])
def test_a_vanished_client_is_reported_once_by_v1_and_never_by_v3(profile: Profile, offlines: int) -> None:
    world = still(profile)
    world.agenda.at(2.0, lambda: world.population.connect("frank", 0, "d"))
    world.agenda.at(2.1, lambda: world.population.vanish(world.population.sessions("frank")[0]))
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
    assert slot_for(uid) == slot


def cluster_of_two(profile: Profile) -> tuple[SimulatedWorld, QueryApi, list[str]]:
    """Forty users on two nodes, one of which is killed at 10 s; it is back at 13 s."""
    world = still(profile, ("n1", "n2"))
    uids = [f"t{n}" for n in range(40)]
    for uid in uids:
        world.agenda.at(2.0, partial(world.population.connect, uid, 0, "d"))
    world.agenda.at(10.0, partial(world.faults.crash, "n2", returns=(0.0, 0.0, 0.0)))
    return world, QueryApi(world.cluster, 0.0), uids


def asked(api: QueryApi, node: str, uids: list[str]) -> set[str]:
    status, body = api.online_status(node, encode(uids))
    assert status == 200
    return {row["uid"] for row in json.loads(body)}


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_after_a_node_came_back_the_query_is_wrong_both_ways_and_right_again_later(profile: Profile) -> None:
    world, api, uids = cluster_of_two(profile)
    bodies(world, 5.0)
    assert asked(api, "n1", uids) == asked(api, "n2", uids) == set(world.online()) == set(uids)
    bodies(world, 12.0)
    assert api.online_status("n1", encode(uids))[0] == 400
    bodies(world, 14.0)
    answer, truth = asked(api, "n1", uids), set(world.online())
    assert answer - truth
    assert truth - answer
    bodies(world, 120.0)
    answer = asked(api, "n1", uids)
    assert not answer - truth
    assert (answer == truth) == (profile == "v3")


def test_the_union_of_the_nodes_own_connz_rows_is_the_truth() -> None:
    world, api, _ = cluster_of_two("v2.2")
    bodies(world, 14.0)
    own: set[str] = set()
    foreign: set[str] = set()
    for name, node in world.cluster.nodes.items():
        status, body = api.connz(name, 14.0, limit=100_000)
        assert status == 200
        for row in json.loads(body)["connections"]:
            (own if row["node_id"] == node.number else foreign).add(row["uid"])
    assert own == set(world.online())
    assert foreign - own


def test_a_cluster_answers_null_where_it_asked_another_node_that_knows_nobody() -> None:
    cluster = Cluster(TRAITS["v2.2"], ["n1", "n2"])
    leader = cluster.leader("alice").name
    other = "n1" if leader == "n2" else "n2"
    api = QueryApi(cluster, 0.0)
    assert api.online_status(other, b'["alice"]') == (200, b"null")
    assert api.online_status(leader, b'["alice"]') == (200, b"[]")


def test_v3_answers_each_repetition_with_every_repetition() -> None:
    cluster = Cluster(TRAITS["v3"], ["n1"])
    cluster.connect(0.0, "j1", 0, "d", "n1")
    _, body = QueryApi(cluster, 0.0).online_status("n1", b'["j1","j1"]')
    assert json.loads(body) == [{"uid": "j1", "device_flag": 0, "online": 1}] * 4


@pytest.mark.parametrize("profile", PROFILES)
def test_query_rows_have_the_shape_of_the_recorded_ones(profile: Profile) -> None:
    world = still(profile)
    for flag, uid in ((0, "u100"), (1, "u100"), (4, "用户-一")):
        world.agenda.at(2.0, partial(world.population.connect, uid, flag, f"d-{uid}-{flag}"))
    bodies(world, 4.0)
    api = QueryApi(world.cluster, 1.8e9)
    polls = [line for line in load(profile, "basic") if line["kind"] == "poll"]
    real = next(line["body"] for line in polls if line["route"] == "POST /user/onlinestatus")
    _, ours = api.online_status("n1", encode(["u100", "用户-一", "nobody"]))
    assert [row for row in json.loads(real) if row["uid"] in {"u100", "用户-一"}] == json.loads(ours)
    if profile == "v3":
        real = next(line["body"] for line in polls if line["route"] == "GET /metrics")
        assert api.metrics("n1").text.splitlines()[:2] == real.splitlines()[:2]
        assert api.metrics("n1").text.splitlines()[2].split()[0] == real.splitlines()[2].split()[0]
        return
    assert api.metrics("n1")[0] == 404
    real = next(line["body"] for line in polls if line["route"].startswith("GET /connz"))
    ours = json.loads(api.connz("n1", 4.0)[1])
    assert set(ours) == set(json.loads(real))
    assert set(ours["connections"][0]) <= set(json.loads(real)["connections"][0])
    real = next(line["body"] for line in polls if line["route"] == "GET /varz")
    assert set(json.loads(api.varz("n1", 4.0)[1])) <= set(json.loads(real))


@pytest.mark.parametrize(("seconds", "text"), [(0.9, "0s"), (62.0, "1m2s"), (3723.5, "1h2m3s"), (7200.0, "2h0m0s")])
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_v3_keeps_a_replaced_connection_of_another_node_until_its_client_closes() -> None:
    world = still("v3", ("n1", "n2"))
    for t in range(2, 22):
        world.agenda.at(float(t), lambda: world.population.connect("dave", 0, "phone"))
    items = bodies(world, 60.0)
    assert len(world.population.sessions("dave")) == 1
    sockets = [s for node in world.cluster.nodes.values() for s in node.sockets.values()]
    assert len(sockets) == 1
    assert sum(item.rsplit("-", 5)[2] == "0" for item in items) > 0

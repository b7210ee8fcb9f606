"""The lies of the simulated query APIs: what each says, to whom, from when until when, and that a seed repeats them."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger.simulator.answers import CONNZ, METRICS, ONLINE_STATUS, VARZ, QueryApi
from ledger.simulator.cluster import Cluster, SimulatedSession, slot_for
from ledger.simulator.events import Arrival
from ledger.simulator.lies import ERRORS, Error
from ledger.simulator.node_answers import ODD_FLAG, ODD_UID, NodeAnswers, Question, TimedReply
from ledger.simulator.offline import generate
from ledger.simulator.plan import TRAITS, Fault, NodePlan, Plan, Profile
from ledger.simulator.sender import encode
from ledger.simulator.world import SimulatedWorld

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "wukongim"
API_FAULTS: tuple[Fault, ...] = ("api-errors", "api-slow", "api-odd", "leader-change", "empty-list")
UIDS = [f"t{n}" for n in range(200)]


class Scene:
    """A world in which everybody of `UIDS` connects at 1 s and nothing else happens by itself."""

    def __init__(self, profile: Profile = "v2.2", nodes: int = 1, faults: frozenset[Fault] = frozenset()) -> None:
        names = tuple(NodePlan(f"n{n}") for n in range(1, nodes + 1))
        self.world = SimulatedWorld(Plan(profile=profile, nodes=names, rate=1e-9, seed=4, faults=faults))
        self.node_answers = NodeAnswers(QueryApi(self.world.cluster, 0.0), self.world.lies)
        for uid in UIDS:
            self.world.agenda.at(1.0, partial(self.world.population.connect, uid, 0, "d"))
        self.to(2.0)

    def to(self, t: float) -> None:
        for event in self.world.advance(t):
            if isinstance(event, Arrival):
                self.world.answered(event, event.t, "ok")

    def told(self, route: str = ONLINE_STATUS, node: str = "n1") -> TimedReply:
        question = Question(route, encode(UIDS), limit=100_000)
        return self.node_answers.ask(node, question, self.world.now)

    def online(self, node: str = "n1") -> set[str]:
        told = self.told(node=node)
        assert (told.reply.status, told.error) == (200, None)
        return {row["uid"] for row in json.loads(told.reply.body) or []}


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_is_all_that_a_node_says_for_a_while(error: Error) -> None:
    scene = Scene(nodes=2)
    truth = scene.told().reply
    scene.world.lies.errors(error, seconds=5.0, node="n1")
    scene.to(3.0)
    told = scene.told()
    expected = {"500": 500, "400": 400, "401": 401, "html": 502}.get(error, 200)
    assert told.reply.status == expected
    assert (told.error == "ReadError") == (error in {"cut", "reset"}) == (scene.world.lies.breaks("n1", 3.0) == error)
    if error == "half":
        assert told.reply.body == truth.body[: len(truth.body) // 2]
        with pytest.raises(json.JSONDecodeError):
            json.loads(told.reply.body)
    assert scene.online("n2") == set(UIDS)
    scene.to(7.5)
    assert scene.online() == set(UIDS)


def test_only_the_status_fails_for_want_of_a_peer() -> None:
    scene = Scene()
    scene.world.lies.errors("400")
    scene.to(3.0)
    assert scene.told().reply.status == 400
    assert scene.told(VARZ).reply.status == scene.told(CONNZ).reply.status == 200


def test_an_error_that_is_not_named_is_drawn_from_the_seed() -> None:
    drawn = []
    for _ in range(2):
        scene = Scene()
        for _ in range(6):
            scene.world.lies.errors()
            scene.to(scene.world.now + 1.0)
            spell = scene.world.lies.told("errors", "n1", scene.world.now)
            assert spell is not None
            drawn.append(spell.what)
    assert drawn[:6] == drawn[6:]
    assert set(drawn) <= set(ERRORS)
    assert len(set(drawn)) > 1


@pytest.mark.parametrize(("never", "seconds"), [(False, 30.0), (True, float("inf"))])
def test_slow_answers_come_after_half_a_minute_or_never(never: bool, seconds: float) -> None:
    scene = Scene()
    scene.world.lies.slow(never=never, seconds=4.0)
    scene.to(3.0)
    assert (scene.told(VARZ).after_seconds, scene.told().error) == (seconds, "ReadTimeout")
    scene.to(6.5)
    assert scene.told().after_seconds == 0.0


@pytest.mark.parametrize("profile", ["v1", "v2.2", "v3"])
def test_after_a_leader_change_the_status_leaves_out_a_share_of_those_who_were_there(profile: Profile) -> None:
    scene = Scene(profile)
    scene.world.lies.leader_change(0.3, seconds=20.0)
    scene.to(3.0)
    missing = set(UIDS) - scene.online()
    assert 0.15 < len(missing) / len(UIDS) < 0.45
    slots = {slot_for(uid) for uid in missing}
    assert len(slots) <= round(0.3 * 64)
    assert missing == {uid for uid in UIDS if slot_for(uid) in slots}
    assert scene.world.online() == sorted(UIDS)
    if profile != "v3":
        connz = json.loads(scene.told(CONNZ).reply.body)
        assert {row["uid"] for row in connz["connections"]} == set(UIDS)

    again = min(missing)
    scene.world.population.connect(again, 1, "other")
    scene.to(22.5)
    assert scene.online() == set(UIDS)


def test_the_new_leader_knows_who_connects_after_the_change() -> None:
    scene = Scene()
    scene.world.lies.leader_change(1.0, seconds=20.0)
    scene.to(3.0)
    assert scene.online() == set()
    scene.world.population.connect(UIDS[0], 1, "other")
    rows = json.loads(scene.told().reply.body)
    assert rows == [{"uid": UIDS[0], "device_flag": 1, "online": 1}]


@pytest.mark.parametrize("null", [False, True])
def test_an_empty_list_is_said_of_everybody(null: bool) -> None:
    scene = Scene()
    scene.world.lies.empty_list(null=null, seconds=3.0)
    scene.to(4.0)
    assert scene.told().reply == (200, b"null" if null else b"[]")
    assert json.loads(scene.node_answers.ask("n1", Question(ONLINE_STATUS, b"[]"), 4.0).reply.body) == {"status": 200}
    assert len(json.loads(scene.told(CONNZ).reply.body)["connections"]) == len(UIDS)
    scene.to(5.5)
    assert scene.online() == set(UIDS)


def test_after_a_boot_the_list_is_empty_although_clients_are_back() -> None:
    scene = Scene(faults=frozenset(["empty-list"]))
    scene.world.faults.calm()
    scene.world.faults.crash("n1", returns=(1.0, 0.0, 0.5))
    scene.to(2.0 + 3.0 + 1.0)
    assert len(scene.world.online()) == len(UIDS)
    assert scene.told().reply.body in {b"null", b"[]"}
    scene.to(2.0 + 3.0 + 8.5)
    assert scene.online() == set(UIDS)


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_odd_answers_say_more_than_was_asked_and_still_the_truth(profile: Profile) -> None:
    scene = Scene(profile)
    scene.world.lies.odd()
    scene.to(3.0)
    rows = json.loads(scene.told().reply.body)
    assert {row["uid"] for row in rows} == {*UIDS, ODD_UID}
    assert ODD_FLAG in {row["device_flag"] for row in rows}
    assert len(rows) > len(UIDS) + 2
    assert set(rows[0]) > {"uid", "device_flag", "online"}
    assert json.loads(scene.node_answers.ask("n1", Question(ONLINE_STATUS, b"[]"), 3.0).reply.body) == {"status": 200}
    route = METRICS if profile == "v3" else CONNZ
    told = scene.told(route).reply
    assert told.status == 200
    if profile != "v3":
        assert {row["uid"] for row in json.loads(told.body)["connections"]} == set(UIDS)


def test_calm_ends_every_lie() -> None:
    scene = Scene(faults=frozenset(API_FAULTS))
    scene.to(60.0)
    scene.world.lies.errors("500", seconds=1e6)
    scene.to(61.0)
    scene.world.calm(traffic=False)
    for t in range(62, 300):
        scene.to(float(t))
        told = scene.told()
        if scene.world.cluster.nodes["n1"].up:
            assert told.error is None
            assert {row["uid"] for row in json.loads(told.reply.body)} == set(scene.world.online())


def lies_of(plan: Plan) -> Iterator[tuple[float, str]]:
    for line in generate(plan):
        if line.get("do") == "lie":
            yield line["t"], line["lie"]


@pytest.mark.parametrize(
    ("fault", "lie"),
    [
        ("api-errors", "errors"),
        ("api-slow", "slow"),
        ("api-odd", "odd"),
        ("leader-change", "leader_change"),
        ("empty-list", "empty_list"),
    ],
)
def test_a_fault_tells_its_lie_at_instants_of_the_seed(fault: Fault, lie: str) -> None:
    plan = Plan(profile="v2.2", faults=frozenset([fault]), seed=7)
    told = list(lies_of(plan))
    assert {name for _, name in told} == {lie}
    assert list(lies_of(plan)) == told


def test_lies_change_nothing_of_what_people_do() -> None:
    def done(faults: frozenset[Fault]) -> list[dict[str, Any]]:
        lines = generate(Plan(faults=faults, seed=7))
        return [line for line in lines if line["kind"] == "action" and line["do"] != "lie"]

    assert done(frozenset(["api-errors", "api-slow", "api-odd", "leader-change"])) == done(frozenset())


@pytest.mark.parametrize("profile", ["v2.2", "v3"])
def test_lies_show_in_the_polls_of_a_recording(profile: Profile) -> None:
    plan = Plan(profile=profile, faults=frozenset(API_FAULTS), seed=7, seconds=120.0, users=100, rate=20.0)
    polls = [line for line in generate(plan, polls=True) if line["kind"] == "poll"]
    assert {"ConnectError", "ReadTimeout"} <= {line["error"] for line in polls if "error" in line}
    asked = [line for line in polls if line["route"] == ONLINE_STATUS and line.get("status") == 200]
    assert any(line["body"] in {"[]", "null"} for line in asked)
    assert any(ODD_UID in line["body"] for line in asked)


def recorded(folder: str) -> list[dict[str, Any]]:
    text = (RECORDINGS / folder / "two_nodes.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("profile", "folder"), [("v2.2", "v22"), ("v3", "v3")])
def test_a_cluster_answers_as_the_real_one_and_is_wrong_in_the_same_ways_after_a_crash(
    profile: Profile, folder: str
) -> None:
    """Who leads which slot is not known, so after the crash it is the kinds of error that are compared."""
    cluster = Cluster(TRAITS[profile], ["n1", "n2"])
    api = QueryApi(cluster, 0.0)
    sessions: dict[int, SimulatedSession] = {}
    crashed = False
    ghosts: dict[str, set[str]] = {"real": set(), "ours": set()}
    missing: dict[str, set[str]] = {"real": set(), "ours": set()}
    for line in recorded(folder):
        match line.get("do"):
            case "start" if crashed:
                cluster.boot(line["t"], line["node"])
            case "connect":
                session, _ = cluster.connect(
                    line["t"], line["uid"], line["device_flag"], line["device_id"], line["node"]
                )
                sessions[line["conn"]] = session
            case "close":
                cluster.close(sessions[line["conn"]])
            case "crash":
                crashed = True
                cluster.halt(line["node"])
        if line.get("route") != ONLINE_STATUS or line.get("status") != 200:
            continue
        real = {row["uid"] for row in json.loads(line["body"]) or []}
        reply = api.online_status(line["node"], encode(line["request"]))
        assert reply.status == 200
        ours = {row["uid"] for row in json.loads(reply.body) or []}
        truth = {session.uid for session in sessions.values() if session.alive} & set(line["request"])
        if not crashed:
            assert ours == real
        for name, answer in (("real", real), ("ours", ours)):
            ghosts[name] |= answer - truth if crashed else set()
            missing[name] |= truth - answer if crashed else set()
    of_the_dead = {session.uid for session in sessions.values() if session.node == "n2"}
    assert all(found and found <= of_the_dead for found in ghosts.values())
    assert all(found and not found <= of_the_dead for found in missing.values())

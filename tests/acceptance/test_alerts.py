"""Alerts provoked for real, all at once: each begins once, of the right source, is told once, ends; all on record."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import pytest

from tests.support.external import ExternalPostgres
from tests.support.im_node import Answer, ImNode, im_node
from tests.support.notices import Receiver, receiver
from tests.support.service import Api, Service, new_service, source_table, wait_for

SHORT = """
[policy]
tier_normal_seconds = 2
tier_vip_seconds = 2
tier_cold_seconds = 4
confirm_seconds = 0.5
breaker_hold_seconds = 2
dark_seconds = 4

[alerts]
evaluate_seconds = 0.2
clear_seconds = 1
node_down_for_seconds = 0.5
query_api_failing_for_seconds = 3
token_missing_for_seconds = 0.5
clock_skew_for_seconds = 0.5
store_unavailable_for_seconds = 0.5
disk_low_for_seconds = 0
disk_low_share = 0
disk_low_bytes = {disk_low_bytes}
projection_lagging_for_seconds = 0
projection_lagging_events = 60
sink_failing_after_seconds = 0.5
notify_failing_after_seconds = 0.5
webhooks_silent_after_seconds = 1
drift_rate_users = 3
drift_rate_window_seconds = 5
webhook_secret_unknown_window_seconds = 5
"""
SINK = """
[[sinks]]
name = "app"
kind = "webhook"
url = "http://127.0.0.1:{port}/presence"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""
MUCH = 10**15
"""No disk has so many bytes."""

FAULTY = ("down", "failing", "locked", "ghosts", "silent", "counts", "secret", "clock")
EXPECTED = {
    ("node_down", "down", "n1"),
    ("source_dark", "down", None),
    ("query_api_failing", "failing", "n1"),
    ("token_missing", "locked", "n1"),
    ("breaker_open", "ghosts", None),
    ("wrong_cluster", "ghosts", None),
    ("webhooks_silent", "silent", None),
    ("drift_rate", "silent", None),
    ("profile_mismatch", "counts", "n1"),
    ("webhook_secret_unknown", "secret", "n1"),
    ("clock_skew", "clock", "n1"),
    ("sink_failing", None, "app"),
    ("projection_lagging", None, "timeline"),
    ("notify_failing", None, "away"),
}
FOR_GOOD = {("wrong_cluster", "doubled", "n1"), ("wrong_cluster", "doubled", "n2")}
"""Two nodes of the settings with the address of one: that goes on until somebody corrects it."""
LATE = ("late-1", "late-2", "late-3")
CROWD = tuple(f"crowd-{number}" for number in range(25))


class World(NamedTuple):
    """A service with its nodes, and those who are told of alerts."""

    service: Service
    api: Api
    postgres: ExternalPostgres
    nodes: dict[str, ImNode]
    oncall: Receiver
    away: Receiver
    sink: Receiver

    def alerts(self, **query: Any) -> list[dict[str, Any]]:
        return list(self.api.pages("/v1/alerts", **query))

    def found(self, **query: Any) -> set[tuple[str, str | None, str | None]]:
        return {key(each) for each in self.alerts(**query)}


def key(alert: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return alert["name"], alert["source"], alert["subject"]


def tables(world_nodes: dict[str, ImNode], oncall: Receiver, away: Receiver, sink: Receiver, **short: Any) -> str:
    profiles = {"counts": "v2.1"}
    sources = [
        source_table(name, {"n1": node.url}, profile=profiles.get(name, "v2.2")) for name, node in world_nodes.items()
    ]
    twice = world_nodes["clock"].url
    sources.append(source_table("doubled", {"n1": twice, "n2": twice}))
    entries = [
        f'[[notify]]\nname = "{name}"\nurl = "{to.url}"\nlang = "{lang}"\n'
        for name, to, lang in (("oncall", oncall, "zh"), ("away", away, "en"))
    ]
    return "\n".join([*sources, SHORT.format(**short), SINK.format(port=sink.port), *entries])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("alerts")
    postgres = ExternalPostgres(Path(folder) / "postgres")
    with ExitStack() as stack:
        nodes = {name: stack.enter_context(im_node()) for name in FAULTY}
        oncall, away, sink = (stack.enter_context(receiver(there=there)) for there in (True, False, False))
        stack.callback(postgres.kill)
        with psycopg.connect(postgres.start(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE ledger")
        url = postgres.url("ledger")
        settings = tables(nodes, oncall, away, sink, disk_low_bytes=MUCH)
        service = stack.enter_context(new_service(folder, folder / "data", database_url=url, tables=settings))
        service.start()
        yield World(service, stack.enter_context(Api(service)), postgres, nodes, oncall, away, sink)


def provoke(world: World) -> None:
    """Let everything go wrong that can."""
    api, nodes = world.api, world.nodes
    wait_for(lambda: len({each["source"] for each in api.source_events("node_booted")}) == 9, world.service.log)
    nodes["ghosts"].mode = "nobody"
    api.deliver(*(nodes["ghosts"].connect(uid) for uid in CROWD), source="ghosts")
    for uid in LATE:
        api.deliver(nodes["silent"].connect(uid), nodes["silent"].close(uid), source="silent")
    for _ in range(8):
        api.deliver(nodes["counts"].connect("often"), source="counts")
        api.deliver(nodes["counts"].close("often"), source="counts")
    nodes["down"].crash()
    nodes["failing"].mode = "500"
    nodes["locked"].lies["*"] = Answer(401, b"")
    nodes["clock"].clock_ahead_seconds = 30.0
    wait_for(lambda: all(api.presence(uid)["verified_at"] for uid in LATE), world.service.log)
    for uid in LATE:
        nodes["silent"].connect(uid)
    for _ in range(3):
        path = "/hooks/secret/n1/an-older-secret?event=user.onlinestatus"
        assert api.http.post(path, content=b"[]").status_code == 403
    projector(world.service).suspend()
    api.deliver(nodes["clock"].connect("u"), nodes["clock"].close("u"), source="clock")


def projector(service: Service) -> psutil.Process:
    [found] = [
        child
        for child in psutil.Process(service.process.pid).children(recursive=True)
        if "ledger.service.projector" in " ".join(child.cmdline())
    ]
    return found


def test_each_is_told_once_and_ends(world: World) -> None:
    api, nodes = world.api, world.nodes
    provoke(world)

    def all_began() -> bool:
        return world.found() >= EXPECTED | FOR_GOOD and "disk_low" in {name for name, *_ in world.found()}

    # That webhooks go on tells a wrong address from a cluster that has lost everybody.
    wait_for(lambda: "breaker_open" in {name for name, *_ in world.found()}, world.service.log)
    api.deliver(nodes["ghosts"].connect("one-more"), source="ghosts")
    wait_for(all_began, lambda: (EXPECTED | FOR_GOOD - world.found(), world.service.log()[-4000:]))
    [down] = [each for each in world.alerts(state="firing") if each["name"] == "node_down"]
    known = api.http.post(f"/v1/alerts/{down['id']}/acknowledge").json()
    assert (known["state"], known["acknowledged_by"]) == ("acknowledged", "admin")
    assert "来源 down 的节点 n1" in known["summary"]["zh"]
    [event] = [each for each in api.source_events("node_down") if each["source"] == "down"]
    assert event["position"] in known["events"]
    wait_for(lambda: titled(world.oncall, "[严重] 来源 down 的节点 n1 宕机"), world.oncall.titles)

    # Another instance goes on from what is on record; whatever it finds settings for is over.
    world.service.stop()
    settings = tables(nodes, world.oncall, world.away, world.sink, disk_low_bytes=1)
    world.service.reconfigure(tables=settings)
    world.service.start()
    wait_for(lambda: not {"disk_low"} & {name for name, *_ in world.found(state="firing")}, world.service.log)
    assert down["id"] in {each["id"] for each in world.alerts(state="acknowledged")}

    nodes["down"].start()
    nodes["failing"].mode = nodes["ghosts"].mode = "truth"
    nodes["locked"].lies.clear()
    nodes["clock"].clock_ahead_seconds = 0.0
    world.away.come()
    world.sink.come()
    api.deliver(nodes["silent"].close(LATE[0]), source="silent")
    api.deliver(nodes["ghosts"].connect("found"), source="ghosts")
    for number in range(8):
        api.deliver(f"rightly-0-1-{100 + number}-0-0", f"rightly-0-0-{100 + number}-0-0", source="counts")
    wait_for(
        lambda: world.found(state="resolved") >= EXPECTED,
        lambda: (EXPECTED - world.found(state="resolved"), world.service.log()[-4000:]),
    )
    assert world.found(state="firing") >= FOR_GOOD
    assert_on_record(world)
    assert_told(world)


def assert_on_record(world: World) -> None:
    """Each incident began once and ended once, as events of its source, and the rows say the same."""
    alerts = {each["id"]: each for each in world.alerts()}
    events = [each for each in world.api.ledger() if each["kind"].startswith("alert_")]
    for kind, at in (("alert_began", "began_at"), ("alert_ended", "ended_at")):
        told = {each["alert"]: each for each in events if each["kind"] == kind}
        assert {alert: each["at"] for alert, each in told.items()} == {
            alert: each[at] for alert, each in alerts.items() if each[at] is not None
        }
        assert all(each["source"] == alerts[alert]["source"] for alert, each in told.items())
    began = Counter(key(each) for each in alerts.values() if key(each) in EXPECTED)
    assert {each: number for each, number in began.items() if number != 1} == {}


def titled(of: Receiver, title: str) -> int:
    return of.titles().count(title)


def assert_told(world: World) -> None:
    """Who is on call was told of each beginning and each end, once; and who was away, once they were back."""

    def told(to: str, over: dict[str, Any]) -> bool:
        return to not in over["notices"] or over["notices"][to]["ended_at"] is not None

    wait_for(
        lambda: all(told(to, over) for over in world.alerts(state="resolved") for to in ("oncall", "away")),
        lambda: [(key(each), each["notices"]) for each in world.alerts(state="resolved")],
    )
    over = world.alerts(state="resolved")
    began = Counter(each["title"]["zh"] for each in over if "oncall" in each["notices"])
    for title, number in began.items():
        assert titled(world.oncall, f"[已恢复] {title}") == number
    titles = [each.partition("] ")[2] for each in world.oncall.titles() if not each.startswith("[已恢复]")]
    firing = Counter(each["title"]["zh"] for each in world.alerts() if each["state"] != "resolved")
    assert Counter(titles) == began + firing
    assert any("Node n1 of down is down" in title for title in world.away.titles())


def test_one_that_begins_while_the_store_is_away_is_recorded_with_its_own_instant(world: World) -> None:
    before = len(world.oncall.taken)
    world.postgres.stop("immediate")
    wait_for(lambda: "[严重] PostgreSQL 无法写入" in world.oncall.titles()[before:], world.service.log)
    world.postgres.start()

    def ended() -> list[dict[str, Any]]:
        if world.api.http.get("/health/ready").status_code != 200:
            return []
        return [each for each in world.alerts(state="resolved") if each["name"] == "store_unavailable"]

    [alert] = wait_for(ended, world.service.log)
    wait_for(lambda: "[已恢复] PostgreSQL 无法写入" in world.oncall.titles()[before:], world.service.log)
    assert world.oncall.titles()[before:].count("[严重] PostgreSQL 无法写入") == 1
    [began] = [each for each in world.api.source_events("alert_began") if each["alert"] == alert["id"]]
    assert (began["source"], began["at"]) == (None, alert["began_at"])
    assert began["recorded_at"] > began["at"]


def test_no_secret_is_told(world: World) -> None:
    shown = world.service.command("config").stdout + world.service.log()
    for secret in ("a-secret-of-", "a-token-of-"):
        assert secret not in shown
    assert signal.SIGTERM

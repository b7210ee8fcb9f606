"""Alerts provoked for real, all at once: each begins once, of the right source, is told once, ends; all on record."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psycopg
import pytest

from ledger.store.commit import COMMIT_LOCK
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
projection_lagging_events = 50
sink_failing_after_seconds = 0.5
notify_failing_after_seconds = 0.5
webhooks_silent_after_seconds = 1
drift_rate_users = 3
webhook_loss_budget_lost = 3
webhook_loss_budget_fast_window_seconds = 20
webhook_loss_budget_fast_short_seconds = 10
webhook_loss_budget_slow_window_seconds = 20
webhook_loss_budget_slow_short_seconds = 10
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
UNKNOWN = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
SELECT 'source:elsewhere', 1, max(position) + 1, 'from_the_future.v1', '{}', max(recorded_at) FROM events
RETURNING position
"""
MUCH = 10**15
"""No disk has so many bytes."""

FAULTY = ("down", "failing", "locked", "ghosts", "silent", "lossy", "counts", "secret", "clock")
EXPECTED = {
    ("node_down", "down", "n1"),
    ("source_dark", "down", None),
    ("query_api_failing", "failing", "n1"),
    ("token_missing", "locked", "n1"),
    ("breaker_open", "ghosts", None),
    ("wrong_cluster", "ghosts", None),
    ("wrong_cluster", "named", "n1"),
    ("webhooks_silent", "silent", None),
    ("drift_rate", "silent", None),
    ("webhook_loss_budget", "lossy", None),
    ("profile_mismatch", "counts", "n1"),
    ("webhook_secret_unknown", "secret", "n1"),
    ("webhook_secret_unknown", "secret", None),
    ("webhook_secret_unknown", None, None),
    ("clock_skew", "clock", "n1"),
    ("sink_failing", None, "app"),
    ("projection_lagging", None, "sessions"),
    ("notify_failing", None, "away"),
}
AGAIN = {"projection_lagging", "drift_rate", "webhook_loss_budget"}
"""On a busy machine their figures may rise once more."""
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
    sources.append(source_table("named", {"n1": twice, "n2": twice.replace("127.0.0.1", "127.0.0.2")}))
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
    wait_for(lambda: len({each["source"] for each in api.source_events("node_booted")}) == 11, world.service.log)
    for source in ("silent", "lossy"):
        for uid in LATE:
            api.deliver(nodes[source].connect(f"{source}-{uid}"), nodes[source].close(f"{source}-{uid}"), source=source)
    users = [f"{source}-{uid}" for source in ("silent", "lossy") for uid in LATE]
    wait_for(lambda: all(api.presence(uid)["verified_at"] for uid in users), world.service.log)
    for uid in LATE:
        nodes["silent"].connect(f"silent-{uid}")
    wait_for(lambda: loses_more(world), world.service.log)
    world.service.beside("ledger.service.projector").suspend()
    nodes["ghosts"].mode = "nobody"
    api.deliver(*(nodes["ghosts"].connect(uid) for uid in CROWD), source="ghosts")
    for number in range(8):
        api.deliver(nodes["counts"].connect("often"), source="counts")
        api.deliver(nodes["counts"].close("often"), source="counts")
        # Of every source, as long as the projections stand still.
        api.deliver(f"much-0-1-{number}-1-1", f"much-0-0-{number}-0-0", source="clock")
    nodes["down"].crash()
    nodes["failing"].mode = "500"
    nodes["locked"].lies["*"] = Answer(401, b"")
    nodes["clock"].clock_ahead_seconds = 30.0
    # Under the name of n1, from the address of n2.
    with httpx2.Client(transport=httpx2.HTTPTransport(local_address="127.0.0.2"), trust_env=False) as other:
        assert other.post(world.service.url + world.service.hook_path("n1", "named"), content=b"[]").status_code == 200
    for _ in range(3):
        for place in ("secret/n1", "secret/n9", "nowhere/n1"):
            path = f"/hooks/{place}/an-older-secret?event=user.onlinestatus"
            assert api.http.post(path, content=b"[]").status_code == 403


def loses_more(world: World) -> bool:
    """Whoever is shown as they are comes or goes again without a word -> whether that is too much."""
    node = world.nodes["lossy"]
    for uid in (f"lossy-{each}" for each in LATE):
        is_online = uid in {held for held, _ in node.connections.values()}
        if (world.api.presence(uid)["status"] == "online") == is_online:
            (node.close if is_online else node.connect)(uid)
    return ("webhook_loss_budget", "lossy", None) in world.found()


@pytest.mark.slow
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
    wait_for(lambda: "[严重] 来源 down 的节点 n1 宕机" in world.oncall.titles(), world.oncall.titles)

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
    api.deliver(nodes["silent"].close(f"silent-{LATE[0]}"), source="silent")
    api.deliver(nodes["ghosts"].connect("found"), source="ghosts")
    api.deliver(source="named")
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
    alerts = world.alerts()
    for kind, at in (("alert_began", "began_at"), ("alert_ended", "ended_at")):
        told = {each["alert"]: each for each in world.api.source_events(kind)}
        for each in alerts:
            if each[at] is not None:
                event = told[each["id"]]
                assert (event["at"], event["source"], event["name"]) == (each[at], each["source"], each["name"])
    began = Counter(key(each) for each in alerts if key(each) in EXPECTED and each["name"] not in AGAIN)
    assert set(began.values()) == {1}


def assert_told(world: World) -> None:
    """Who is on call was told of each beginning and each end, once; and who was away, once they were back."""
    over = [each for each in world.alerts(state="resolved") if key(each) in EXPECTED and each["name"] not in AGAIN]

    def told() -> bool:
        notices = [each["notices"] for each in world.alerts() if each["id"] in {known["id"] for known in over}]
        return all(each["ended_at"] for told_of in notices for each in told_of.values())

    wait_for(told, lambda: [(key(each), each["notices"]) for each in world.alerts()])
    # Two sources may have alerts of one title.
    began = Counter(each["title"]["zh"] for each in world.alerts())
    said = world.oncall.titles()
    for title in {each["title"]["zh"] for each in over}:
        ended = said.count(f"[已恢复] {title}")
        assert 0 < ended <= sum(each.endswith(f"] {title}") for each in said) - ended <= began[title], (title, said)
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


def test_a_projection_that_stops_and_goes_on(world: World) -> None:
    """The last of all: the ledger then holds what this version cannot read."""
    with psycopg.connect(world.postgres.url("ledger")) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
        row = connection.execute(UNKNOWN).fetchone()
    assert row is not None
    stopped = ("projection_stopped", None, "drift")
    wait_for(lambda: stopped in world.found(state="firing"), world.service.log)
    [alert] = [each for each in world.alerts(state="firing") if key(each) == stopped]
    assert alert["events"][0] == alert["figures"]["position"] == row[0]
    assert world.service.command("projections", "--skip", "drift", str(row[0])).returncode == 0
    wait_for(lambda: stopped in world.found(state="resolved"), world.service.log)

"""Canaries of a v2.2 and a v3 node of one service: seen and measured, refused, lost; and counted nowhere."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from bench._watching import simulating
from ledger.simulator.plan import NodePlan, Plan, Profile
from ledger.simulator.ports import free_port
from ledger.simulator.runtime import Simulation
from tests.support.service import SECRET, Api, source_table, wait_for
from tests.support.streams import FrontedService, fronted

pytestmark = pytest.mark.slow

CANARY = """
[[sources.canary]]
node = "n1"
address = "127.0.0.1:{port}"
uid = "canary-{source}"
token = "{token}"
every_seconds = 1
wait_seconds = 3
"""
TOKEN = "the-canary's-token"
POLICY = "[policy]\ntier_normal_seconds = 1\n"
ALERTS = "[alerts]\nevaluate_seconds = 0.5\ncanary_late_after_seconds = 10\nclear_seconds = 0\n"
VERSIONS: dict[str, Profile] = {"old": "v2.2", "new": "v3"}


class Setting(NamedTuple):
    """The service, and the simulated nodes by source."""

    service: FrontedService
    nodes: dict[str, Simulation]


@pytest.fixture(scope="module")
def setting(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("canaries")
    apis, doors = ({source: free_port() for source in VERSIONS} for _ in range(2))
    tables = "".join(
        source_table(source, {"n1": f"http://127.0.0.1:{apis[source]}"}, profile=profile)
        + CANARY.format(source=source, port=doors[source], token=TOKEN)
        for source, profile in VERSIONS.items()
    )
    with (
        fronted(folder, folder / "data", database_url=module_database_url, tables=tables + POLICY + ALERTS) as service,
        ExitStack() as stack,
    ):
        service.start()
        nodes = {}
        for source, profile in VERSIONS.items():
            node = NodePlan("n1", SECRET, apis[source], client_port=doors[source])
            plan = Plan(service.url, source, (node,), profile, users=1, rate=1e-6, seconds=None)
            nodes[source] = stack.enter_context(simulating(plan))
            nodes[source].doors.admission.silent_seconds = 0.1
        yield Setting(service, nodes)


@pytest.fixture(scope="module")
def api(setting: Setting) -> Iterator[Api]:
    with Api(setting.service) as api:
        yield api


def canaries(api: Api) -> dict[str, Any]:
    """What is said of each source's canary."""
    return {source["name"]: source["nodes"][0]["canary"] for source in api.get("/v1/sources")["items"]}


def until(api: Api, outcome: str) -> dict[str, Any]:
    """Wait until the last visit of every source's canary ended so -> what was said of them then."""
    told: dict[str, Any] = {}

    def found() -> bool:
        told.update(canaries(api))
        # Nothing is said of a canary before its first visit has ended.
        return all(canary is not None and canary["outcome"] == outcome for canary in told.values())

    wait_for(found, lambda: told)
    return told


def test_canaries_are_seen_refused_and_lost_and_nobody_counts_them(setting: Setting, api: Api) -> None:
    with setting.service.stream() as everybody:
        everybody.until("ready")
        _are_seen(api)
        _are_in_no_count(api)
        _are_refused(setting, api)
        _are_lost(setting, api)
        assert api.get("/v1/drift")["items"] == []
        _are_alerted(api, "firing", "no webhook has told")
        for node in setting.nodes.values():
            node.mute(0)
        _are_alerted(api, "resolved")
        setting.nodes["old"].bring(["alice"])
        told = everybody.until(lambda each: each.event == "presence" and each.data["uid"] == "alice")
    assert {each.data["uid"] for each in told if each.event == "presence"} == {"alice"}
    _are_in_no_count(api, online=1)
    setting.service.stop()
    assert TOKEN not in setting.service.log()


def _are_alerted(api: Api, state: str, words: str = "") -> None:
    """Wait until the last `canary_late` of each source is in a state, and says so."""

    def last() -> dict[str, Any]:
        return {each["source"]: each for each in api.pages("/v1/alerts") if each["name"] == "canary_late"}

    def holds() -> bool:
        alerts = last()
        return alerts.keys() == VERSIONS.keys() and all(
            each["state"] == state and words in each["summary"]["en"] for each in alerts.values()
        )

    wait_for(holds, last)


def _are_seen(api: Api) -> None:
    for told in until(api, "seen").values():
        latency = told["last_latency_seconds"]
        assert 0 <= latency["webhook"] <= latency["commit"]
        assert latency["stream"] > 0
        assert told["last_success_at"] == told["last_visit_at"]
        assert told["failing_since"] is None
    for source in VERSIONS:
        assert api.counted("canary_visits", source=source, node="n1", outcome="seen") >= 1
        assert {event["verdict"] for event in api.events(f"canary-{source}")} >= {"opened", "closed"}
        assert api.presence(f"canary-{source}")["status"] in ("online", "offline")


def _are_in_no_count(api: Api, online: int = 0) -> None:
    summary = api.get("/v1/presence/summary")
    assert summary["users"] == {"online": online, "offline": 0, "unknown": 0}
    assert sum(each["devices"] for each in summary["devices_online"]) == online
    assert [each["uid"] for each in api.get("/v1/presence")["items"]] == ["alice"] * online


def _are_refused(setting: Setting, api: Api) -> None:
    for node in setting.nodes.values():
        node.doors.admission.tokens = {}
    told = until(api, "refused")
    assert told["new"]["last_error"].startswith("authentication failed")
    assert "WuKongIM's reason code 2" in told["new"]["last_error"]
    assert "as v2 does where it refuses the token" in told["old"]["last_error"]
    before = {source: api.events(f"canary-{source}")[-1] for source in VERSIONS}
    setting.nodes["new"].doors.admission.tokens = None
    setting.nodes["new"].doors.admission.banned = {"canary-new"}
    until_banned = wait_for(lambda: _banned(api), lambda: canaries(api))
    assert until_banned == "the user is banned (WuKongIM's reason code 19)"
    after = {source: api.events(f"canary-{source}")[-1] for source in VERSIONS}
    assert after == before
    reasons = {source["name"]: source["reasons"] for source in api.get("/v1/sources")["items"]}
    assert any("n1: its canary has failed since" in reason for reason in reasons["new"])
    for node in setting.nodes.values():
        node.doors.admission.tokens, node.doors.admission.banned = None, set()


def _banned(api: Api) -> str | None:
    error: str = canaries(api)["new"]["last_error"]
    return error if "banned" in error and "v2" not in error else None


def _are_lost(setting: Setting, api: Api) -> None:
    before = canaries(api)
    for node in setting.nodes.values():
        node.mute(1e6)
    told = until(api, "lost")
    for source, canary in told.items():
        assert canary["lost"] > before[source]["lost"]
        assert canary["last_error"].startswith("no webhook has told within 3 s that it is")
        assert api.counted("canary_webhooks_lost", source=source, node="n1", change="offline") >= 1

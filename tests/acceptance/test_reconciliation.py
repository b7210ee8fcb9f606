"""Reconciliation as its users see it: drift is found and corrected with evidence, and a bad query API harms nobody."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from operator import gt
from pathlib import Path
from typing import Any

import pytest

from tests.support.im_node import ImNode, Mode, im_node
from tests.support.service import Api, Service, new_service, source_table, wait_for

POLICY = """
[policy]
tier_normal_seconds = 2
tier_vip_seconds = 2
tier_cold_seconds = 4
confirm_seconds = 0.5
breaker_hold_seconds = 2
"""


def settings(*urls: str | None, policy: str = POLICY) -> str:
    """A source `main` whose nodes n1, n2 … have these query APIs."""
    return source_table("main", {f"n{number}": url or "" for number, url in enumerate(urls, 1)}) + policy


@contextmanager
def reconciliation_events(folder: Path, database_url: str, *nodes: ImNode, policy: str = POLICY) -> Iterator[Api]:
    """A service that reconciles these nodes, and has begun to."""
    tables = settings(*(node.url for node in nodes), policy=policy)
    with (
        new_service(folder, folder / "data", database_url=database_url, tables=tables) as service,
        ExitStack() as stack,
    ):
        service.start()
        api = stack.enter_context(Api(service))
        wait_for(lambda: api.source_events("run_ended"), api.service.log)
        yield api


@pytest.fixture
def node() -> Iterator[ImNode]:
    with im_node() as node:
        yield node


@pytest.fixture
def api(tmp_path: Path, database_url: str, node: ImNode) -> Iterator[Api]:
    with reconciliation_events(tmp_path, database_url, node) as api:
        yield api


def shown(api: Api, uid: str) -> Any:
    return api.presence(uid)["status"]


def wait_until_shown(api: Api, uid: str, status: str) -> None:
    wait_for(lambda: shown(api, uid) == status, lambda: (api.events(uid), api.service.log()[-3000:]))


def verified(api: Api, uids: list[str]) -> list[str]:
    """When each was last found as shown; empty: never."""
    items = api.http.post("/v1/presence/query", json={"uids": uids}).json()["items"]
    return [each["verified_at"] or "" for each in items]


def wait_until_verified(api: Api, uids: list[str]) -> None:
    wait_for(lambda: all(verified(api, uids)), api.service.log)


def test_lost_webhooks_of_both_kinds_are_found_and_corrected_with_evidence(api: Api, node: ImNode) -> None:
    api.deliver(node.connect("alice"), node.connect("carol"))
    api.deliver("bob-0-0-9-0-0")  # bob is known, and shown offline
    node.connect("bob")
    node.close("alice")
    wait_until_shown(api, "alice", "offline")
    wait_until_shown(api, "bob", "online")
    assert shown(api, "carol") == "online"
    events = api.ledger()
    polls = {event["poll"]: event["position"] for event in events if event["kind"] == "poll_observed"}
    runs = {event["run"] for event in events if event["kind"] == "run_started"}
    for uid, drift in (("alice", "ghost"), ("bob", "missed")):
        # On a busy machine a look may have found them before their webhook came.
        [corrected] = [event for event in api.events(uid) if event.get("drift") == drift]
        assert corrected["verdict"] == "corrected"
        assert polls[corrected["poll"]] < corrected["position"]
        assert corrected["run"] in runs
        assert api.presence(uid)["cause"] == {
            "kind": "correction",
            "at": corrected["received_at"],
            "position": corrected["position"],
        }
    wait_for(lambda: api.presence("carol")["verified_at"])


def test_who_is_connected_before_the_first_start_is_found(tmp_path: Path, database_url: str, node: ImNode) -> None:
    for number in range(50):
        node.connect(f"early-{number}", number % 3)
    with reconciliation_events(tmp_path, database_url, node) as api:
        summary = api.get("/v1/presence/summary")
        assert summary["users"]["online"] == 50


def test_a_crash_shows_unknown_and_then_who_came_back(api: Api, node: ImNode) -> None:
    api.deliver(*(node.connect(uid) for uid in ("alice", "bob", "carol")))
    wait_for(lambda: api.source_events("node_booted"))
    node.crash()
    wait_for(lambda: api.presence("alice")["reason"] == "node_down", api.service.log)
    node.start()
    node.connect("bob")  # whose webhook is lost
    api.deliver(node.connect("carol"))
    for uid, status in (("alice", "offline"), ("bob", "online"), ("carol", "online")):
        wait_until_shown(api, uid, status)
    [swept] = [event for event in api.events("alice") if event["verdict"] == "swept"]
    assert swept["rule"] == "restart"
    assert swept["earliest"] < swept["latest"]
    [booted] = [event for event in api.source_events("node_booted") if event["position"] == swept["evidence"]]
    assert not booted["first"]


@pytest.mark.slow
def test_a_query_api_that_fails_changes_nothing(api: Api, node: ImNode) -> None:
    uids = [f"u{number}" for number in range(5)]
    api.deliver(*map(node.connect, uids))
    modes: tuple[Mode, ...] = ("401", "400", "500", "html", "half", "slow")
    for mode in modes:
        node.mode, before = "truth", verified(api, uids)
        # The breaker of the node is closed again: what fails then, fails because of this mode.
        wait_for(lambda before=before: all(map(gt, verified(api, uids), before)), api.service.log)  # type: ignore[misc]
        node.mode = mode
        run = api.http.post("/v1/sources/main/reconcile", json={"uids": uids})
        assert run.status_code == 202, run.text
        path = run.headers["location"]
        wait_for(lambda path=path: api.get(path)["state"] != "running", api.service.log)  # type: ignore[misc]
        failed = api.get(path)
        assert failed["counts"]["failed"] == 5, mode
        assert failed["failures"]["n1"], mode
        assert all(shown(api, uid) == "online" for uid in uids), mode
    # A look at all connections may have found them before their webhooks came.
    corrected = [event for event in api.ledger() if event.get("verdict") == "corrected"]
    assert all(event["status_after"] == "online" for event in corrected)


def test_a_lie_about_many_turns_nobody_offline(api: Api, node: ImNode) -> None:
    uids = [f"u{number}" for number in range(60)]
    api.deliver(*(node.connect(uid) for uid in uids))
    wait_until_verified(api, uids)
    node.mode = "nobody"
    wait_for(lambda: api.source_events("breaker_opened"), api.service.log)
    node.mode = "truth"
    wait_for(lambda: api.source_events("breaker_closed"), api.service.log)
    wait_for(lambda: all(api.presence(uid)["verified_at"] > _opened_at(api) for uid in uids))
    assert all(event["status_after"] == "online" for event in api.ledger() if "status_after" in event)


def _opened_at(api: Api) -> str:
    at: str = api.source_events("breaker_opened")[-1]["at"]
    return at


def test_a_source_that_falls_silent_goes_dark_and_comes_back(tmp_path: Path, database_url: str, node: ImNode) -> None:
    with reconciliation_events(tmp_path, database_url, node, policy=POLICY + "dark_seconds = 3\n") as api:
        api.deliver(node.connect("alice"))
        node.crash()
        wait_for(lambda: api.presence("alice")["reason"] == "source_dark", api.service.log)
        assert api.http.get("/health/ready").status_code == 200
        numbers = count(77)

        def comes_back() -> bool:
            """A webhook, and a look before it is dark again; a busy machine may need another one."""
            api.deliver(f"bob-0-1-{next(numbers)}-1-1")
            return bool(shown(api, "bob") == "online")

        wait_for(comes_back, api.service.log)


def test_a_node_that_is_retired_takes_its_sessions_along(tmp_path: Path, database_url: str) -> None:
    tables = settings(None, None)
    with new_service(tmp_path, tmp_path / "data", database_url=database_url, tables=tables) as service:
        service.start()
        with Api(service) as api:
            api.deliver("alice-0-1-1-1-1", node="n1")
            api.deliver("bob-0-1-1-1-1", node="n2")
        service.stop()
        service.configure(database_url=database_url, tables=settings(None))
        service.start()
        with Api(service) as api:
            wait_until_shown(api, "bob", "offline")
            assert shown(api, "alice") == "online"
            [swept] = [event for event in api.events("bob") if event["verdict"] == "swept"]
            assert swept["rule"] == "node_retired"


def test_an_address_where_nobody_answers_stops_nothing(tmp_path: Path, database_url: str) -> None:
    tables = settings("http://127.0.0.1:9")
    with new_service(tmp_path, tmp_path / "data", database_url=database_url, tables=tables) as service:
        service.start()
        with Api(service) as api:
            api.deliver("alice-0-1-1-1-1")
            wait_for(lambda: api.source_events("run_ended"), service.log)
            assert shown(api, "alice") == "online"
            assert api.http.get("/health/ready").status_code == 200


def test_a_second_instance_takes_over_when_the_leading_one_is_killed(
    tmp_path: Path, database_url: str, node: ImNode
) -> None:
    tables = settings(node.url)

    def instance(name: str) -> Any:
        return new_service(tmp_path / name, tmp_path / name / "data", database_url=database_url, tables=tables)

    with instance("a") as first, instance("b") as second:
        first.start()
        second.start()
        with Api(second) as api:
            wait_for(lambda: api.source_events("run_ended"), first.log)
            begun = len(api.source_events("run_started"))
            first.kill()
            wait_for(lambda: len(api.source_events("run_started")) > begun, second.log)
            api.deliver(node.connect("alice"))
            node.close("alice")
            wait_until_shown(api, "alice", "offline")
            wait_for(lambda: _unended(api) <= 1)


def _unended(api: Api) -> int:
    events = api.ledger()
    started = {event["run"] for event in events if event["kind"] == "run_started"}
    return len(started - {event["run"] for event in events if event["kind"] == "run_ended"})


def test_two_nodes_of_v2_who_is_at_the_living_one_stays_online(tmp_path: Path, database_url: str) -> None:
    with im_node(1001) as living, im_node(1002) as dying, ExitStack() as stack:
        living.peers, dying.peers = [dying], [living]
        api = stack.enter_context(reconciliation_events(tmp_path, database_url, living, dying))
        api.deliver(living.connect("alice"), node="n2")  # the sender leads the user's slot, another one holds them
        api.deliver(dying.connect("bob"), node="n1")
        wait_for(lambda: len(api.source_events("node_booted")) == 2)
        dying.crash()
        wait_for(lambda: api.presence("bob")["reason"] == "node_down", api.service.log)
        wait_until_shown(api, "alice", "online")
        dying.start()
        wait_until_shown(api, "bob", "offline")
        assert shown(api, "alice") == "online"


def test_the_service_that_was_away_learns_what_it_missed(tmp_path: Path, database_url: str, node: ImNode) -> None:
    with reconciliation_events(tmp_path, database_url, node) as api:
        api.deliver(node.connect("alice"), node.connect("bob"))
        service: Service = api.service
        service.stop()
        node.close("alice")
        node.connect("carol")
        service.start()
        wait_until_shown(api, "carol", "online")
        wait_until_shown(api, "alice", "offline")
        assert shown(api, "bob") == "online"

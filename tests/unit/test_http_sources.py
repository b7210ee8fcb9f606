"""Checks what is said of a source's health: from its state, what the leading instance noted, and the settings."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from ledger.console.words import words
from ledger.domain.instants import to_text
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http.counters import Counters
from ledger.http.refusals import Refusals
from ledger.http.source_view import LED_SECONDS, SourceView
from ledger.http.state import Services
from ledger.settings import NodeSettings, SourceSettings
from ledger.sources.wukongim.answers import TOKEN_REFUSED
from ledger.store.mapper import UnreadableEvent
from ledger.working_state.sources import SourceUnreadable

NOW = 1_800_000_000 * SECOND
URL = "http://127.0.0.1:5001"
APIS = ("n1", "n2")
GOOD: dict[str, Any] = {
    "last_good_at": to_text(NOW),
    "last_failure_at": None,
    "failures_in_a_row": 0,
    "last_reason": None,
    "breaker": "closed",
    "breaker_open_until": None,
    "last_good_probe_at": to_text(NOW),
    "probe_reason": None,
    "calls": 3,
    "users_asked": 5,
    "clock_offset_seconds": 0.0,
}
LED: dict[str, Any] = {"leader": "i", "noted_at": to_text(NOW - SECOND), "webhooks_silent": False}
NOTED = {"": LED, "n1": GOOD, "n2": GOOD}
FAILED = GOOD | {"failures_in_a_row": 2, "last_reason": "connection refused", "breaker": "open"}
NEVER = dict.fromkeys(GOOD) | {"failures_in_a_row": 0, "breaker": "closed"}


def settings(apis: tuple[str, ...]) -> SourceSettings:
    """A source of two nodes."""
    nodes = tuple(NodeSettings(name, URL if name in apis else None) for name in ("n1", "n2"))
    return SourceSettings("main", Profile.V2_2, nodes, 900.0)


def services() -> Services:
    counters = Counters()
    clock, refusals = SimpleNamespace(now=lambda: NOW), Refusals({}, counters.registry)
    return cast(Services, SimpleNamespace(clock=clock, counters=counters, refusals=refusals))


def state(**fields: Any) -> SourceState:
    return SourceState("main", 1, node_profiles=dict.fromkeys(("n1", "n2"), Profile.V2_2), **fields)


def view(noted: dict[str, Any] = NOTED, apis: tuple[str, ...] = APIS, **fields: Any) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(SourceView(services(), settings(apis), state(**fields), noted).view())
    return shown


def down(**fields: Any) -> dict[str, Any]:
    """A state in which n2 is in doubt."""
    return {"nodes": {"n2": NodeState(down_since=NOW, **fields)}}


def test_a_source_is_good_where_nothing_is_wrong() -> None:
    source = view()
    assert (source["health"], source["reasons"]) == ("good", [])
    assert [node["api"] for node in source["nodes"]] == [{"configured": True, "health": GOOD}] * 2


@pytest.mark.parametrize(
    ("noted", "state", "reason"),
    [
        (NOTED | {"n2": FAILED}, {}, "n2: its query API fails (2 in a row): connection refused"),
        (NOTED | {"n2": GOOD | {"probe_reason": "no answer"}}, {}, "n2: its last probe failed: no answer"),
        (
            NOTED | {"n2": GOOD | {"probe_reason": TOKEN_REFUSED.reason}},
            {},
            "n2: it wants a token, and none is set (401): set `token` to the managerToken of its configuration",
        ),
        (NOTED | {"n2": GOOD | {"clock_offset_seconds": -7.25}}, {}, "n2: its clock is 7.25 s behind ours: see to NTP"),
        (NOTED | {"n2": GOOD | {"clock_offset_seconds": 7.25}}, {}, "n2: its clock is 7.25 s ahead of ours"),
        (
            NOTED | {"": LED | {"strangers": 20, "strangers_since": to_text(NOW - SECOND)}},
            {"last_webhook_at": NOW},
            "of the last 20 users whom webhooks named as online, queries found nobody",
        ),
        (
            NOTED,
            {"nodes": dict.fromkeys(("n1", "n2"), NodeState(node_id=1001, boot=(NOW - 9, NOW - 8)))},
            "n1 and n2: the api_url of both leads to the same server, whose id is 1001: give each its own",
        ),
        (NOTED | {"n2": NEVER}, {}, "n2: its query API has not answered yet"),
        ({"": LED, "n1": GOOD}, {}, "n2: its query API has not answered yet"),
        (NOTED | {"": LED | {"webhooks_silent": True}}, {}, "webhooks have stopped while queries answer"),
        (
            NOTED | {"": LED | {"profile_mismatches": {"n2": "offlines come alone", "gone": "too"}}},
            {},
            "n2: its profile is v2.2, but offlines come alone: set `profile` to the version that runs there",
        ),
        (
            NOTED | {"": LED | {"noted_at": to_text(NOW - round((LED_SECONDS + 1) * SECOND))}},
            {},
            "no instance has reconciled since 2027-01-15T07:59:49.000000Z",
        ),
        ({"n1": GOOD, "n2": GOOD}, {}, "reconciliation has not begun yet"),
        (NOTED, {"breaker_until": NOW}, "corrections to offline are held until 2027-01-15T08:00:00.000000Z at least"),
        (NOTED, down(), "n2: has not answered since 2027-01-15T08:00:00.000000Z"),
        (NOTED, down(swept=False, boot=(NOW, NOW)), "n2: has booted; who was connected to it before is still being"),
        (NOTED, {"retired": {"n3": 17}}, "n3: no longer configured; its sessions are still to be ended"),
    ],
)
def test_a_source_is_degraded_for_a_reason(noted: dict[str, Any], state: dict[str, Any], reason: str) -> None:
    source = view(noted, **state)
    assert source["health"] == "degraded"
    assert [reason in each for each in source["reasons"]] == [True]
    # The console has it in Chinese, too.
    assert [words("zh").said(each) != each for each in source["reasons"]] == [True]


def test_a_source_that_cannot_be_read_is_shown_as_far_as_it_can() -> None:
    unreadable = SourceUnreadable(state(), UnreadableEvent("At position 3 the ledger holds an event of kind 'odd.v1'"))
    for apis in (APIS, ()):
        source = SourceView(services(), settings(apis), unreadable, NOTED).view()
        assert (source.health, source.version) == ("degraded", 1)
        assert "At position 3 the ledger holds" in source.reasons[0]


def test_a_source_of_which_nothing_can_be_read_has_the_nodes_of_the_settings() -> None:
    unreadable = SourceUnreadable(SourceState("main", 7), "Its state kept at version 7 cannot be read")
    source = SourceView(services(), settings(APIS), unreadable, NOTED).view()
    assert (source.health, source.version) == ("degraded", 7)
    assert [(node.name, node.profile) for node in source.nodes] == [("n1", "v2.2"), ("n2", "v2.2")]


def test_a_source_without_an_address_is_not_reconciled() -> None:
    source = view({"": LED}, apis=())
    assert source["health"] == "unreconciled"
    assert source["reasons"] == ["no node has an api_url: what webhooks miss stays unseen"]
    assert [node["api"] for node in source["nodes"]] == [{"configured": False, "health": None}] * 2


def test_a_node_without_an_address_says_nothing_of_an_older_one() -> None:
    source = view(NOTED | {"n2": FAILED}, apis=("n1",))
    assert (source["health"], source["nodes"][1]["api"]) == ("good", {"configured": False, "health": None})


@pytest.mark.parametrize("apis", [APIS, ()])
def test_a_source_that_has_gone_dark_says_since_when(apis: tuple[str, ...]) -> None:
    source = view(apis=apis, dark_since=NOW, **down())
    assert (source["health"], source["dark_since"]) == ("dark", "2027-01-15T08:00:00.000000Z")
    assert source["reasons"][0] == "neither a webhook nor a good answer since 2027-01-15T08:00:00.000000Z"
    assert source["reasons"][-1] == "n2: has not answered since 2027-01-15T08:00:00.000000Z"


def test_what_else_is_told_of_it() -> None:
    led = LED | {"webhook_interval_seconds": 2.5, "last_good_poll_at": to_text(NOW), "webhooks_silent": True}
    runs = {"r1": OpenRun(NOW, "restart", "n2"), "r2": OpenRun(NOW, "manual", None, ("a", "b"))}
    nodes = {"n2": NodeState(last_webhook_at=NOW, boot=(NOW, NOW + 1), highest_conn_id=4)}
    source = view(NOTED | {"": led}, open_runs=runs, nodes=nodes, breaker_until=NOW, retired={"n3": 7})
    told = {name: source[name] for name in ("leader", "rhythm_seconds", "webhooks_silent", "last_good_poll_at")}
    assert told == {"leader": "i", "rhythm_seconds": 2.5, "webhooks_silent": True, "last_good_poll_at": to_text(NOW)}
    assert source["breaker"] == {"open": True, "until": to_text(NOW)}
    assert source["retired_nodes"] == ["n3"]
    assert source["open_runs"] == [
        {"run": "r1", "scope": "restart", "node": "n2", "started_at": to_text(NOW), "users": None},
        {"run": "r2", "scope": "manual", "node": None, "started_at": to_text(NOW), "users": 2},
    ]
    node = source["nodes"][1]
    assert node["boot"] == {"earliest": to_text(NOW), "latest": to_text(NOW + 1)}
    assert (node["last_webhook_at"], node["highest_conn_id"]) == (to_text(NOW), 4)


def test_a_node_that_posts_under_anothers_name() -> None:
    source = SourceView(services(), settings(APIS), state(), NOTED, [{}, {"n1": "n2"}]).view()
    assert source.health == "degraded"
    [reason] = source.reasons
    assert reason.startswith("n1: webhooks under its name come from the address of n2: paste what `presence-ledger")


def test_a_token_that_is_refused_is_another_thing_than_none() -> None:
    nodes = (NodeSettings("n1", URL, "secret-token"), NodeSettings("n2", URL))
    refused = GOOD | {"failures_in_a_row": 2, "last_reason": TOKEN_REFUSED.reason}
    of_source = SourceSettings("main", Profile.V2_2, nodes, 900.0)
    [reason] = SourceView(services(), of_source, state(), NOTED | {"n1": refused}).view().reasons
    assert reason.startswith("n1: it refuses the token of the settings (401)")
    assert "secret-token" not in reason


def test_few_strangers_and_those_of_before_the_last_webhook_prove_nothing() -> None:
    for noted in (
        {"strangers": 19, "strangers_since": to_text(NOW - SECOND)},
        {"strangers": 99, "strangers_since": to_text(NOW + SECOND)},
    ):
        assert view(NOTED | {"": LED | noted}, last_webhook_at=NOW)["reasons"] == []

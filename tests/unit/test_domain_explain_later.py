"""Explaining a status: what was learnt later, what nobody could know, what was not followed, and how sure it all is."""

from typing import Any

import pytest
from msgspec.structs import replace

from ledger.domain.explain import explain
from ledger.domain.policy import Policy
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    NodeBooted,
    NodeDown,
    NodeSettled,
    SourceDark,
    SourceLit,
    Swept,
    TierSet,
)
from projections.queries.evidence import gather
from tests.support.explained import remembered
from tests.support.explaining import SOURCE, Explaining, Told, online
from tests.support.lived import lived


def test_until_when_it_held() -> None:
    world = online().hears("u-0-0-1-0-0").wait(20)
    assert world.told(ago=21).the("next_change").params == {"status": "offline", "changed_at": world.ago(20)}
    assert "nothing_since" in world.told().codes
    world.hears("u-0-0-1-0-0").wait(1)
    assert world.told(ago=10).the("no_change_yet").params["number"] == 1


def test_nothing_at_all_is_recorded() -> None:
    evidence = replace(online().evidence(uid="nobody"), head=0, position=0, recorded=0)
    assert Told(explain(evidence)).the("nothing_since").positions == ()


def test_an_item_that_had_arrived_and_was_not_recorded() -> None:
    world = online().hears("u-0-0-1-0-0", recorded_later=3)
    told = world.told(ago=1)
    assert told.answer == ("shown_opened", "refuted", "refuted")
    assert told.the("recorded_late").params["recorded_at"] == world.at
    assert told.the("today_other").params == {"status": "offline"}


@pytest.mark.parametrize(
    ("agreed", "disagreed", "ago", "code", "level"),
    [
        (9, 4, 2, "correction_before", "refuted"),
        (9, 4, 6, "correction_around", "doubtful"),
        (None, 4, 2, "correction_before_open", "refuted"),
        (None, 4, 6, "correction_around_open", "likely"),
    ],
)
def test_a_correction_of_later(agreed: float | None, disagreed: float, ago: float, code: str, level: str) -> None:
    world = online().wait(5)
    bounds = {"agreed_at": None if agreed is None else world.ago(agreed), "disagreed_at": world.ago(disagreed)}
    world.looks("corrected", disagreed, agreed).corrects("poll_ghost", "online", "offline", **bounds)
    told = world.told(ago=ago)
    assert code in told.codes
    assert told.explanation.confidence == level
    assert ("today_uncertain" in told.codes) == (level == "doubtful")


@pytest.mark.parametrize(
    ("earliest", "latest", "ago", "code", "reason"),
    [
        (14, 4, 2, "sweep_before", "refuted"),
        (14, 4, 6, "sweep_around", "doubtful_between"),
        (None, 4, 2, "sweep_before_open", "refuted"),
        (None, 4, 6, "sweep_around_open", "likely_unopposed"),
        (5, 4, 6, None, "certain_agreed_after"),
    ],
)
def test_a_restart_of_later(earliest: float | None, latest: float, ago: float, code: str | None, reason: str) -> None:
    world = online().wait(5)
    world.says(
        NodeBooted(node="n1", at=world.at, earliest=world.ago(5), latest=world.ago(4), route="/varz", first=True)
    )
    world.sweeps(4, earliest=None if earliest is None else world.ago(earliest), latest=world.ago(latest))
    told = world.told(ago=ago)
    assert [c for c in told.codes if c.startswith("sweep_")] == ([] if code is None else [code])
    assert told.answer[2] == reason


def test_a_sweep_and_a_correction_without_bounds_speak_of_no_instant_before() -> None:
    world = online().wait(5).sweeps(1)
    world.corrects("connz_located", "offline", "offline", drift=None, disagreed_at=None, closed=())
    told = world.told(ago=3)
    assert told.answer == ("shown_opened", "likely", "likely_unopposed")


def test_a_look_that_waits_for_a_second_one() -> None:
    world = online().looks("open", agreed=10).wait(1)
    told = world.told()
    assert told.answer == ("shown_opened", "doubtful", "doubtful_drift")
    assert "look_open" in told.codes
    held = online().looks("open", agreed=10).wait(1).looks("held", disagreed=1, agreed=11).wait(1)
    assert "look_held" in held.told().codes
    for outcome in ("corrected", "cleared", "in_flight"):
        ended = online().looks("open", agreed=10).wait(5).looks(outcome, disagreed=5, agreed=15).wait(1)
        assert f"drift_{outcome}" in ended.told(ago=3).codes
        assert f"drift_{outcome}" not in ended.told().codes


def test_a_look_is_void_once_something_has_changed() -> None:
    world = online().looks("open", agreed=10).wait(1).hears("u-1-1-2-1-2").wait(1)
    assert "look_open" not in world.told().codes
    partly = online().hears("u-1-1-2-1-2").looks("open", agreed=1)
    told = partly.corrects("poll_devices", "online", "online", drift="devices", disagreed_at=partly.at).wait(1).told()
    assert "look_open" in told.codes


def test_a_drift_whose_begin_nobody_saw_and_a_poll_of_others() -> None:
    world = online().looks("open").wait(5).looks("cleared", disagreed=5).wait(1)
    assert "drift_cleared" in world.told(ago=3).codes
    evidence = world.evidence(ago=3)
    assert "drift_cleared" not in Told(explain(replace(evidence, at=world.ago(12)))).codes
    other = [
        placed._replace(event=TierSet(received_at=0, tier=None, by="k", status_before="online", status_after="online"))
        for placed in evidence.polls
    ]
    assert "drift_cleared" not in Told(explain(replace(evidence, polls=other))).codes
    assert "drift_cleared" not in Told(explain(replace(evidence, uid="another"))).codes


def test_a_webhook_on_its_way_said_the_same() -> None:
    world = online().looks("open", agreed=10).wait(4).hears("u-0-0-1-0-0").wait(1)
    told = world.looks("in_flight", disagreed=5, agreed=15).told(ago=3)
    assert told.answer == ("shown_opened", "doubtful", "doubtful_drift")
    assert told.the("drift_in_flight").positions == (7,)
    assert world.told(ago=8).answer[2] == "certain_seen_after"


def test_an_offline_of_somebody_unheard_of_soon_afterwards() -> None:
    world = online().hears("u-0-0-1-0-0").wait(20).hears("u-0-0-9-0-0").wait(100)
    told = world.told(ago=110)
    assert told.answer == ("shown_closed", "doubtful", "doubtful_late_offline")
    assert told.the("late_offline").params["raw"] == "u-0-0-9-0-0"
    assert "late_offline" not in world.told(ago=125).codes


def test_a_source_that_was_dark_and_a_node_that_was_down() -> None:
    world = online()
    world.says(SourceDark(at=world.at, since=world.ago(3))).says(SourceDark(at=world.at, since=world.ago(2)))
    world.says(NodeDown(node="n1", at=world.at, since=world.ago(5), reason="x")).wait(5)
    world.says(SourceLit(at=world.at, by="webhook")).says(SourceLit(at=world.at, by="webhook"))
    world.says(NodeSettled(node="n1", at=world.at)).says(NodeSettled(node="n1", at=world.at)).wait(1)
    told = world.told()
    assert told.the("source_was_dark").params["until"] == world.ago(1)
    assert told.the("node_was_down").params["node"] == "n1"
    world.hears("u-0-1-1-1-1", "x-0-1-3-1-1").wait(1)
    assert not {"source_was_dark", "node_was_down"} & {*world.told().codes}
    world.says(SourceDark(at=world.at, since=world.ago(0.5))).says(
        NodeBooted(node="n1", at=world.at, earliest=world.ago(0.5), latest=world.at, route="/varz")
    )
    assert "node_was_down_open" in world.told().codes


def test_a_source_still_dark_that_is_not_the_reason() -> None:
    world = online().hears("v-0-1-1-1-1", node="n1")
    evidence = world.says(SourceDark(at=world.at, since=world.ago(1))).evidence(ago=0.5)
    told = Told(explain(evidence))
    assert told.the("source_was_dark_open").params["source"] == SOURCE


def test_the_breaker_held_corrections() -> None:
    world = online()
    opened = BreakerOpened(at=world.at, looked=100, missing=30, window_seconds=60.0, until=world.at + 1)
    world.says(opened).wait(1)
    assert world.told().the("breaker_was_open").params == {"looked": 100, "missing": 30, "opened_at": opened.at}
    assert "breaker_was_open" not in world.told(ago=5).codes
    assert "breaker_was_open" not in world.says(BreakerClosed(at=world.at)).told().codes


def test_a_user_whose_going_is_never_told() -> None:
    told = Explaining().hears("bob-0-1-1-1-1").wait(1).told(uid="bob")
    assert told.answer == ("shown_opened", "doubtful", "doubtful_mute")
    assert told.the("never_reported_offline").params == {"profile": "v2.2"}
    sources: dict[str, Any] = {}
    evidence = replace(Explaining().hears("bob-0-1-1-1-1").evidence(uid="bob"), sources=sources)
    assert Told(explain(evidence)).answer[2] == "likely_unopposed"


def test_items_that_were_not_followed() -> None:
    world = online().hears("u-0-0-1-0-0").wait(1).hears("u-0-1-1-1-1").wait(9)
    world.hears("u-0-0-7-0-0", "u-0-0-7-0-0").wait(1)
    told = world.told()
    assert told.the("ignored_stale").params["rule"] == "online_overtaken_by_its_offline"
    assert told.the("ignored_late").params["raw"] == "u-0-0-7-0-0"
    assert told.the("ignored_duplicates").params["number"] == 1
    assert not world.wait(200).told().about("alternative")


def test_a_connection_heard_of_again_is_certain() -> None:
    world = online().hears("u-0-1-1-1-1", "x-0-1-9-1-1").wait(20)
    assert world.told(ago=25).answer == ("shown_opened", "certain", "certain_seen_after")
    world.hears("u-0-0-1-0-0").wait(1)
    assert world.told(ago=2).answer[1] == "likely"
    assert world.told(ago=5).answer == ("shown_opened", "certain", "certain_seen_after")


def test_what_is_heard_of_other_connections_or_repeated_confirms_nothing() -> None:
    world = online().hears("u-0-1-1-1-1").hears("u-1-1-5-1-2").hears("u-0-1-6-2-3").wait(20)
    assert world.told(ago=25).answer[2] == "likely_unopposed"
    away = Explaining().hears("u-0-1-1-1-1").wait(5).hears("u-0-0-1-0-0").wait(100).hears("u-0-1-2-1-1").wait(1)
    assert away.told(ago=50).answer[2] == "likely_unopposed"


def test_a_look_that_agreed_afterwards_is_certain() -> None:
    world = online()
    world.wait(5).looks("corrected", agreed=2).corrects("poll_ghost", "online", "offline", agreed_at=world.ago(2))
    assert world.told(ago=4).answer == ("shown_opened", "certain", "certain_agreed_after")


def test_what_is_unknown_today_or_another_rules() -> None:
    world = online()
    unknown = replace(world.evidence().now, status="unknown", reason="node_down")
    assert Told(explain(replace(world.evidence(), now=unknown))).answer[2] == "doubtful_unknown_today"
    other = replace(world.evidence().now, status="offline")
    assert Told(explain(replace(world.evidence(), now=other))).answer[2] == "doubtful_rules"


def test_only_grace_lets_it_be_the_same_today() -> None:
    world = online(Policy(grace_seconds=30.0)).hears("u-0-0-1-0-0", recorded_later=3)
    told = world.told(ago=1)
    assert told.answer == ("shown_opened", "doubtful", "doubtful_grace")
    assert "today_same" in told.codes


def test_that_another_connection_has_opened_since_is_no_matter_of_grace() -> None:
    """A sweep of before is recorded after another device has come: it says online, and nobody was at the instant."""
    history = remembered(lived(3165, 51))
    [swept] = [row for row in history.rows if isinstance(row.event, Swept) and row.uid == "alice"]
    [heard, *_] = [row for row in history.rows if row.uid == "alice" and row.position > 12]
    assert isinstance(swept.event, Swept)
    assert swept.event.latest is not None
    told = Told(explain(gather(history, "alice", swept.event.latest, heard.position)))
    assert told.answer == ("shown_closed", "likely", "likely_unopposed")
    assert "today_same" in told.codes

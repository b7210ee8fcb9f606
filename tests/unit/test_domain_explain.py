"""Explaining a status: the headline for each cause, the event and its rule, the evidence behind it."""

import pytest
from msgspec.structs import replace

from ledger.domain.events import Status
from ledger.domain.explain import explain
from ledger.domain.imported import as_imported
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import (
    NodeBooted,
    NodeDown,
    NodeSettled,
    RunStarted,
    SourceDark,
    SourceLit,
    TierSet,
)
from tests.support.explaining import STARTED_AT, Explaining, Told, online

GRACE = Policy(grace_seconds=5.0)


def test_never_observed() -> None:
    told = online().told(uid="nobody")
    assert told.answer == ("shown_never_observed", "unknown", "unknown_never_observed")
    assert told.codes[2:] == ["rule_never_observed", "nothing_since", "today_same"]
    assert {statement.positions for statement in told.explanation.statements} == {(3,)}


def test_before_anything_was_recorded_there_is_nothing_to_cite() -> None:
    told = online().told(ago=12)
    assert told.answer == ("shown_nothing_recorded", "unknown", "unknown_never_observed")
    assert (told.explanation.position, told.the("shown_nothing_recorded").positions) == (0, ())
    assert not any(code.startswith("with_hindsight") for code in told.codes)
    assert told.the("next_change").params["status"] == "online"


def test_an_online_with_its_item_and_rule() -> None:
    told = online().told()
    assert told.answer == ("shown_opened", "likely", "likely_unopposed")
    headline, item = told.the("shown_opened"), told.the("cause_online_counted_item")
    assert headline.params == {"status": "online", "since": STARTED_AT + 1_000_000, "node": "n1", "device_flag": 0}
    assert (item.params["raw"], item.params["total_count"], item.positions) == ("u-0-1-1-1-1", 1, (3,))
    assert told.the("rule_online_new").positions == (3,)
    assert (told.explanation.cause, told.explanation.reason) == (told.explanation.shown.cause, None)


def test_an_offline_of_the_last_connection() -> None:
    told = online().hears("u-0-0-1-0-0").told()
    assert told.answer == ("shown_closed", "likely", "likely_unopposed")
    assert "rule_offline_of_open" in told.codes


def test_a_count_of_zero_ends_more() -> None:
    told = online().hears("u-1-1-2-1-2").wait(10).hears("u-0-0-1-0-0").told()
    assert told.answer[0] == "shown_emptied"
    assert told.the("counts_swept").params == {"number": 1, "connections": "2"}


def test_a_connection_that_only_a_count_proves() -> None:
    told = Explaining().hears("u-0-0-9-1-1").told()
    assert told.answer == ("shown_implied", "doubtful", "doubtful_suspect")
    assert told.the("counts_implied").params == {"number": 1}
    swept = Explaining().hears("u-0-0-9-1-1").wait(9).hears("u-0-0-8-0-0").told()
    assert swept.answer[0] == "shown_closed"


def test_a_count_that_leaves_no_room() -> None:
    told = Explaining().hears("u-1-0-9-1-1").wait(9).hears("u-0-0-8-0-0", "u-1-0-9-0-0").told()
    assert told.answer[0] == "shown_emptied"
    unnamed = told.the("counts_swept")
    assert unnamed.params["connections"] == "?"


def test_a_count_withdraws_what_only_a_count_told() -> None:
    told = Explaining().hears("u-0-0-9-2-2").wait(9).hears("u-0-0-9-1-1").told()
    assert told.answer[0] == "shown_implied"
    world = Explaining().hears("u-0-0-9-2-2").wait(9)
    observed = world.evidence().cited[world.evidence().presence.position].event
    withdrawn = replace(
        observed, verdict="duplicate", implied=0, withdrawn=2, status_before="online", status_after="offline"
    )
    told = Told(explain(replace(world.happens(withdrawn).evidence())))  # type: ignore[arg-type]
    assert told.codes[0] == "shown_withdrawn"
    assert told.the("counts_withdrawn").params == {"number": 2}


def test_the_first_ever_heard_is_an_end() -> None:
    told = Explaining().hears("u-0-0-9-0-0").told()
    assert told.answer == ("shown_first_heard_offline", "doubtful", "doubtful_suspect")
    assert "rule_offline_of_unknown" in told.codes


@pytest.mark.parametrize(
    ("rule", "before", "after", "headline"),
    [
        ("poll_missed", "offline", "online", "shown_missed"),
        ("connz_missed", "offline", "online", "shown_missed"),
        ("poll_ghost", "online", "offline", "shown_ghost"),
        ("connz_after_boot", "online", "offline", "shown_after_boot"),
        ("poll_devices", "online", "offline", "shown_corrected"),
    ],
)
def test_a_look_that_found_otherwise(rule: str, before: Status, after: Status, headline: str) -> None:
    world = online() if before == "online" else online().hears("u-0-0-1-0-0").wait(5)
    world.says(RunStarted(run="r", at=world.at, instance="i", scope="rotation"))
    world.looks("corrected", agreed=3).corrects(
        rule, before, after, agreed_at=world.ago(3), attributed_to="gap", looks=2
    )
    told = world.told()
    assert told.answer == (headline, "likely", "likely_look")
    assert {"cause_correction", f"rule_{rule}", "poll", "poll_found_nothing", "bounds", "looks", "run"} <= {*told.codes}
    assert told.the("attributed_gap").params == {"attributed_to": "gap"}
    assert told.the("likely_look").params["looks"] == 2


def test_the_look_behind_a_correction_among_others() -> None:
    world = online().looks("open", agreed=10).wait(3).looks("corrected", disagreed=3, agreed=13)
    world.corrects("poll_ghost", "online", "offline", agreed_at=world.ago(13), disagreed_at=world.ago(3))
    assert world.told().the("poll").positions == (5, 6)


def test_a_look_that_finds_somebody_unheard_of() -> None:
    world = Explaining().wait(1).looks(None, rows={"u": "0:1"}).corrects("poll_missed", "unknown", "online")
    told = world.told()
    assert told.the("poll_found").params == {"rows": "0:1"}
    assert told.the("bounds_open").positions == (3,)
    away = (
        Explaining()
        .wait(1)
        .looks(None)
        .corrects("poll_absent", "unknown", "offline", drift=None, disagreed_at=None, closed=())
    )
    assert away.told().answer[0] == "shown_absent"
    # Without the poll's event, and of a user of whom it says nothing.
    lost = away.told(), Explaining().wait(1).corrects("poll_missed", "unknown", "online").told()
    assert ["poll" in told.codes for told in lost] == [True, False]
    silent = Explaining().wait(1).looks(None, rows={}).corrects("poll_missed", "unknown", "online").told()
    assert not {"poll_found", "poll_found_nothing"} & {*silent.codes}


def test_a_nodes_restart() -> None:
    world = online()
    interval = {"earliest": world.ago(4), "latest": world.ago(3)}
    world.says(NodeBooted(node="n1", at=world.at, route="/varz", **interval))  # type: ignore[arg-type]
    told = world.sweeps(4, earliest=world.ago(10), latest=world.ago(3)).says(NodeSettled(node="n1", at=world.at)).told()
    assert told.answer == ("shown_restart", "likely", "likely_sweep")
    assert told.the("booted").positions == (4,)
    assert {"cause_sweep", "rule_restart", "sweep_bounds"} <= {*told.codes}


def test_a_node_taken_out_of_the_configuration() -> None:
    world = online()
    world.configure(("n2",), DEFAULT_POLICY)
    told = world.sweeps(4, rule="node_retired").told()
    assert told.answer[0] == "shown_node_retired"
    assert told.the("retired").params["node"] == "n1"
    unproven = Told(explain(online().sweeps(1_000_000, rule="node_retired").evidence()))
    assert not {"retired", "booted"} & {*unproven.codes}


def test_within_the_grace_period_and_after_it() -> None:
    world = online(GRACE).hears("u-0-0-1-0-0")
    told = world.wait(2).told()
    assert told.answer == ("shown_in_grace", "doubtful", "doubtful_grace")
    assert [s.code for s in told.about("cause")] == ["cause_online_counted_item", "cause_offline_counted_item"]
    assert "rule_grace_running" in told.codes
    told = world.wait(4).told()
    assert told.answer[0] == "shown_closed"
    assert told.the("rule_grace_over").params["grace_seconds"] == 5.0


def test_a_source_that_is_dark() -> None:
    world = online().says(SourceDark(at=STARTED_AT + 11_000_000, since=STARTED_AT + 1_000_000)).wait(1)
    told = world.told()
    assert told.answer == ("shown_source_dark", "unknown", "unknown_source_dark")
    assert {"cause_dark", "last_status", "rule_source_dark", "nothing_since"} <= {*told.codes}
    assert told.explanation.reason == "source_dark"
    world.says(SourceLit(at=world.at, by="poll"))
    assert world.told(ago=0.5).the("doubt_ended").params == {"ended_at": world.at}


def test_a_node_that_is_down() -> None:
    world = online()
    world.says(NodeDown(node="n1", at=world.at, since=world.ago(2), reason="ConnectError"))
    told = world.told()
    assert told.answer == ("shown_node_down", "unknown", "unknown_node_down")
    assert told.the("cause_node_down").params["failure"] == "ConnectError"


def test_a_node_that_booted_and_is_not_settled() -> None:
    world = online()
    interval = {"earliest": world.ago(4), "latest": world.ago(3)}
    told = world.says(NodeBooted(node="n1", at=world.at, route="/varz", **interval)).told()  # type: ignore[arg-type]
    assert told.answer[0] == "shown_node_down"
    assert "cause_node_booted" in told.codes


def test_a_doubt_whose_begin_is_not_on_record() -> None:
    world = online().says(SourceDark(at=STARTED_AT, since=STARTED_AT))
    told = Told(explain(replace(world.evidence(), signs=())))
    assert told.answer == ("shown_in_doubt", "unknown", "unknown_source_dark")
    assert told.the("rule_source_dark").positions == (3,)


def test_what_stands_before_the_record() -> None:
    """A slice of another ledger: the state that it begins with goes back to events that are not there."""
    presence = replace(online().evidence().presence, position=2)
    world = Explaining().happens(as_imported(presence, STARTED_AT))
    told = Told(explain(world.evidence()))
    assert told.answer == ("shown_before_record", "likely", "likely_before_record")
    assert told.about("cause") == told.about("rule") == []


def test_an_event_of_no_known_kind_is_cited_all_the_same() -> None:
    world = online()
    tier = TierSet(received_at=world.at, tier="vip", by="ops", status_before="online", status_after="online")
    evidence = world.evidence()
    placed = evidence.cited[3]._replace(event=tier)
    told = Told(explain(replace(evidence, cited={3: placed})))
    assert (told.codes[0], told.about("cause")[0].code) == ("shown_before_record", "cause_other")


def test_a_rule_of_a_newer_version() -> None:
    evidence = online().evidence()
    event = replace(evidence.cited[3].event, rule="online_by_intuition")
    told = Told(explain(replace(evidence, cited={3: evidence.cited[3]._replace(event=event)})))
    assert told.the("rule_other").params == {"rule": "online_by_intuition"}


def test_an_item_whose_names_were_replaced_has_no_counts() -> None:
    evidence = online().evidence()
    event = replace(evidence.cited[3].event, raw="p7")
    told = Told(explain(replace(evidence, cited={3: evidence.cited[3]._replace(event=event)})))
    assert "total_count" not in told.the("cause_online_item").params


def test_with_hindsight() -> None:
    world = online().wait(5)
    world.looks("corrected", disagreed=4, agreed=10).corrects(
        "poll_ghost", "online", "offline", agreed_at=world.ago(10), disagreed_at=world.ago(4)
    )
    then, now = world.told(ago=2), world.told(ago=2, position=world.history.head())
    assert then.answer == ("shown_opened", "refuted", "refuted")
    assert now.answer[0] == "shown_ghost"
    assert now.the("with_hindsight_at_position").params == {"known_position": world.history.head()}
    assert "with_hindsight_at_position" not in then.codes
    asked = world.wait(1).told(ago=3, position=world.history.head(), known_at=world.at)
    assert asked.the("with_hindsight").params == {"known_at": world.at}


def test_the_delivery_and_how_often_it_came() -> None:
    world = Explaining()
    for _ in range(4):
        world.hears("x-0-1-9-1-1", "u-0-1-1-1-1").wait(5)
    told = world.told()
    assert told.the("delivery").params["item"] == 2
    assert "body_came_once" not in told.codes
    assert told.the("body_came_again").params["number"] == 3
    assert told.the("claim_came_again").positions == (7, 10, 13)
    again = world.hears("u-0-0-1-0-0").wait(1).hears("u-0-0-1-0-0").told(ago=1)
    assert again.the("body_came_again").positions == (16,)
    assert again.about("alternative")


def test_a_body_that_came_before() -> None:
    world = Explaining(profile=Profile.V2_2).hears("u-0-1-1-1-1", "u-0-0-1-0-0").wait(1)
    world.hears("v-0-1-1-1-1").wait(1).hears("u-0-1-1-1-1", "u-0-0-1-0-0").wait(1)
    assert world.told().the("body_came_again").params["number"] == 1
    evidence = world.evidence()
    delivery = world.history.rows[6]
    told = Told(explain(replace(evidence, delivery=delivery, repeats=(world.history.rows[1],))))
    assert told.the("body_came_before").positions == (2,)
    unknown = Told(explain(replace(evidence, delivery=None)))
    assert "delivery" not in unknown.codes


def test_a_claim_that_came_before_for_nothing() -> None:
    world = Explaining().hears("u-0-0-1-0-0").wait(1).hears("u-0-1-1-1-1").wait(9)
    told = world.hears("u-0-1-1-1-1", "x-0-1-2-1-1").wait(1).told()
    assert told.answer[0] == "shown_opened"
    assert told.the("claim_came_before").params["number"] == 1


def test_more_claims_than_are_looked_at() -> None:
    world = online()
    for number in range(3):
        world.hears("u-0-1-1-1-1", f"x{number}-0-1-1-1-1").wait(1)
    evidence = world.evidence()
    assert "claim_came_again" in Told(explain(evidence)).codes
    assert "claim_came_again_at_least" in Told(explain(replace(evidence, following_cut=True))).codes

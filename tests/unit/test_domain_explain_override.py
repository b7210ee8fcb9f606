"""Explanations where an operator's word was shown: who, why, how sure, what the evidence says, and how it ended."""

import pytest
from msgspec.structs import replace

from ledger.domain.explain import explain
from ledger.domain.explain_reach import reach_statement
from ledger.domain.imported import PresenceImported, as_imported
from ledger.domain.override_events import WhyEnded, Word
from ledger.domain.policy import Policy
from ledger.domain.reach import PushAdvice
from ledger.domain.reach_policy import DEFAULT_REACH
from ledger.slices.renumbering import Renumbering, ShiftedPositions
from tests.support.explaining import Explaining, Told
from tests.support.overriding import REASON


def online(policy: Policy | None = None) -> Explaining:
    world = Explaining() if policy is None else Explaining(policy=policy)
    return world.wait(1).hears("u-0-1-1-1-1").wait(10)


def test_it_names_who_said_it_and_why_and_what_the_evidence_says() -> None:
    world = online().overrides("offline").wait(5)
    told = world.told()
    assert told.answer == ("shown_override", "doubtful", "doubtful_override")
    assert told.the("shown_override").params["reason"] == REASON
    assert told.the("doubtful_override").params["status"] == "online"
    assert told.the("evidence_beneath").params["status"] == "online"
    assert [each.code for each in told.about("rule")] == ["rule_override"]
    assert [each.code for each in told.about("evidence")] == ["last_seen"]
    assert told.the("override_holds").params["expires_at"] == world.at + 55_000_000
    assert told.about("unknowable") == []


def test_it_is_likely_where_the_evidence_agrees() -> None:
    told = online().overrides("online", until_evidence=True).wait(5).told()
    assert told.answer == ("shown_override", "likely", "likely_override")
    assert "cause_override_until_evidence" in told.codes


def test_in_a_grace_period_it_is_the_word_that_is_explained() -> None:
    world = online(Policy(grace_seconds=60.0)).hears("u-0-0-1-0-0").wait(5).overrides("online").wait(5)
    assert not world.evidence().in_grace
    assert world.told().answer[0] == "shown_override"
    assert "grace_ends" not in world.told().codes


@pytest.mark.parametrize(("why", "by"), [("expired", None), ("deleted", "ops"), ("replaced", "ops")])
def test_its_end_is_told(why: WhyEnded, by: str | None) -> None:
    world = online().overrides("offline").wait(20).ends_override(why, by).wait(5)
    told = world.told(ago=10.0)
    assert told.the(f"override_{why}").params.get("by") == by
    assert world.told().answer[0] == "shown_opened"


def test_newer_evidence_ends_it() -> None:
    world = online().overrides("offline", until_evidence=True).wait(20).hears("u-0-1-2-2-2").wait(5)
    assert world.told(ago=10.0).the("override_evidence").params["ended_at"] == world.ago(5.0)


@pytest.mark.parametrize("word", ["online", "offline"])
def test_it_is_told_how_long_held_what_was_shown_before_it(word: Word) -> None:
    world = online().overrides(word).wait(5).hears("u-0-0-1-0-0").wait(5)
    assert world.told(ago=15.0).the("next_override").params == {"status": word, "changed_at": world.ago(10.0)}
    later = online().wait(5).hears("u-0-0-1-0-0").wait(5).overrides(word)
    assert "next_change" in later.told(ago=7.0).codes
    assert "next_override" in online().overrides(word).told(ago=5.0).codes


def test_one_of_before_the_record_has_neither_author_nor_reason() -> None:
    world = online().overrides("offline").wait(5)
    presence = world.evidence().presence
    moved = Renumbering(ShiftedPositions(1, presence.position), {}).event(
        as_imported(replace(presence, version=1), 0), 2
    )
    assert isinstance(moved, PresenceImported)
    there = Explaining().wait(11).happens(moved).wait(5)
    told = Told(explain(there.evidence()))
    assert told.answer == ("shown_override_before_record", "doubtful", "doubtful_override")
    assert [each.code for each in told.about("cause")] == ["evidence_beneath"]
    assert "override_holds" in told.codes


def test_of_a_user_whom_no_evidence_tells_of_it_says_none() -> None:
    told = Explaining().wait(1).overrides("online").wait(5).told()
    assert told.answer == ("shown_override", "doubtful", "doubtful_override")
    assert "evidence_beneath" not in told.codes


def test_a_look_that_found_otherwise_stays_open_beneath_it() -> None:
    world = online().looks("open", disagreed=1, agreed=5).wait(1).overrides("online").wait(61)
    assert "look_open" in world.told().codes


def test_why_a_push_notification_was_called_for() -> None:
    said = reach_statement(online().overrides("offline").evidence(), PushAdvice(True, "override", False), DEFAULT_REACH)
    assert (said.code, said.params) == ("reach_override", {})

"""Explanations of whether a push notification was called for: what is said of now, and what can be told of the past."""

import pytest

from ledger.domain.explain import explain
from ledger.domain.explain_reach import answer_then, reach_statement
from ledger.domain.observation import SECOND
from ledger.domain.reach import Because, PushAdvice
from ledger.domain.reach_policy import DEFAULT_REACH, ReachPolicy
from tests.support.explaining import SOURCE, Explaining, online

LONG = 3600.0


def then(world: Explaining, **verified: int) -> PushAdvice | None:
    return answer_then(world.evidence(), verified, DEFAULT_REACH)


def test_a_statement_cites_the_last_event_of_the_user_and_names_the_bound() -> None:
    evidence = online().evidence()
    said = reach_statement(evidence, PushAdvice(False, "online", True), ReachPolicy(reach_verified_seconds=60.0))
    assert (said.code, said.about, said.params) == ("reach_online", "reach", {"verified_seconds": 60.0})
    assert said.positions == (evidence.presence.position,)
    assert reach_statement(evidence, None, DEFAULT_REACH).code == "reach_untold"
    assert explain(evidence, [said]).statements[-1] is said
    nobody = online().evidence(uid="nobody")
    assert (
        reach_statement(nobody, PushAdvice(True, "never_observed", False), DEFAULT_REACH).positions == nobody.searched
    )


@pytest.mark.parametrize("because", ["offline", "suspect", "in_grace", "node_down"])
def test_other_reasons_need_no_number(because: Because) -> None:
    said = reach_statement(online().evidence(), PushAdvice(True, because, False), DEFAULT_REACH)
    assert (said.code, said.params) == (f"reach_{because}", {})


def test_what_webhooks_alone_decide_can_always_be_told() -> None:
    assert then(online()) == PushAdvice(False, "online", True)
    assert then(online().hears("u-0-0-1-0-0").wait(20)) == PushAdvice(True, "offline", True)
    assert then(online().wait(LONG)) == PushAdvice(True, "unverified", False)


def test_what_depended_on_a_look_is_told_while_that_is_the_last_one() -> None:
    world = online().wait(LONG)
    assert then(world, **{SOURCE: world.ago(5)}) == PushAdvice(False, "online", True)
    assert then(world, **{SOURCE: world.at + SECOND}) is None
    assert then(world, other=world.at + SECOND) == PushAdvice(True, "unverified", False)


def test_a_drift_that_was_open_is_a_doubt() -> None:
    world = online().looks("open", disagreed=1, agreed=5).wait(1)
    assert then(world) == PushAdvice(True, "doubted", False)


def test_whether_a_suspicion_had_been_settled_is_not_kept() -> None:
    world = online().hears("u-0-0-99-1-1").wait(1)
    assert then(world) is None
    assert then(world, **{SOURCE: world.at}) == PushAdvice(False, "online", True)

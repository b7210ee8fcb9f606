"""What the benchmark of killed leaders calls a wrong correction: none of the reconciler, each that is forged."""

import pytest
from msgspec.structs import replace

from bench._corrections import HELD, NO_POLL, NOT_HELD, NOT_NAMED, NOTHING, OVERTAKEN, REPEATED, Corrections
from ledger.domain.reconciliation_events import Corrected, PollObserved
from tests.support.looking import Looking, given, row
from tests.support.scenario import Step

ONLINE = "u-0-1-5-1-1"


def checked(looking: Looking) -> Corrections:
    """The check after everything on record, in which it finds nothing wrong."""
    corrections = Corrections()
    found = [corrections.take(kept.position, kept.uid, kept.event) for kept in looking.world.kept]
    assert not any(found)
    return corrections


def faults_of(looking: Looking, event: Corrected, poll: PollObserved | None = None) -> set[str]:
    """What is wrong with one more correction of the user, of one more poll if that is given."""
    corrections, head = checked(looking), looking.world.draft.head
    if poll is not None:
        assert not corrections.take(head + 1, None, poll)
    found = corrections.take(head + 2, "u", event)
    assert all(each.startswith(f"u at {head + 2}: ") for each in found)
    return {each.partition(": ")[2] for each in found}


def asked_again(looking: Looking, rows: str, head: int) -> tuple[Corrected, PollObserved]:
    """The last correction once more, with an answer of its own to a question that was sent at that head."""
    poll = replace(looking.polls()[-1], poll="again", head=head, rows={"u": rows})
    return replace(looking.correction, poll="again"), poll


def opens_two_windows() -> Looking:
    """Two corrections that do the same, for the same drift, and are not the same: each opens a window of its own."""
    return given(ONLINE).looks({1: 1}).looks({1: 2}, after=3.0)


@pytest.mark.parametrize(
    "looking",
    [
        opens_two_windows(),
        given("u-0-1-5-1-2").looks({0: 1}).looks({0: 1}, after=3.0),
        given("u-0-1-5-1-3").looks({0: 2}).looks({0: 3}, after=3.0),
        given(ONLINE, "u-0-0-5-0-0").looks({0: 1}).looks({}).looks({}, after=3.0).looks({0: 1}),
        given(ONLINE).looks({0: 2}).looks_at_nodes(n1=[row(5), row(6)]).looks_at_nodes(n1=[row(7)]),
        given(Step(ONLINE, node="n2"), nodes=("n1", "n2"))
        .boots("n1", ago=1000.0)
        .boots("n2", ago=1000.0)
        .looks_at_nodes(n1=[row(5)], n2=[row(5, node="n2")]),
        given().looks({}),
    ],
)
def test_what_the_reconciler_does_is_right(looking: Looking) -> None:
    assert checked(looking).number >= 1


def test_the_same_correction_once_more_is_made_before() -> None:
    looking = opens_two_windows()
    assert faults_of(looking, looking.correction) == {REPEATED, OVERTAKEN, NOT_HELD, NOT_NAMED}


def test_two_leaders_correct_by_questions_that_both_had_sent() -> None:
    looking = given(ONLINE).looks({0: 2})
    event, poll = asked_again(looking, "0:2", looking.polls()[-1].head)
    assert faults_of(looking, event, poll) == {OVERTAKEN, NOT_NAMED}


def test_a_tier_and_an_override_overtake_no_correction() -> None:
    looking = given(ONLINE)
    question = looking.asks()
    looking.world.set_tier("u", "vip")
    looking.world.override("u", "offline", 60.0, until_evidence=False)
    assert checked(looking.answers(question, {0: 2})).number == 1


def test_a_window_that_no_answer_names_is_opened_once_more() -> None:
    looking = given(ONLINE).looks({0: 2})
    assert faults_of(looking, *asked_again(looking, "0:2", looking.world.draft.head)) == {NOT_NAMED}


def test_a_window_that_an_answer_names_is_another_one() -> None:
    looking = given(ONLINE).looks({0: 2})
    assert faults_of(looking, *asked_again(looking, "0:3", looking.world.draft.head)) == set()


def test_a_connection_is_closed_once_more() -> None:
    looking = given(ONLINE).looks({}).looks({}, after=3.0)
    assert faults_of(looking, *asked_again(looking, "", looking.world.draft.head)) == {NOT_HELD, NOTHING}


def test_a_connection_of_a_node_is_opened_once_more() -> None:
    looking = given(ONLINE).looks_at_nodes(n1=[row(5), row(6)])
    assert faults_of(looking, *asked_again(looking, "n1/5:0 n1/6:0", looking.world.draft.head)) == {HELD}


def test_a_correction_without_its_answer() -> None:
    looking = given(ONLINE).looks({0: 2})
    assert faults_of(looking, replace(looking.correction, poll="none")) == {NO_POLL}

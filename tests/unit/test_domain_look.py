"""The judgement on looks: doubts and their second looks, the fence, corrections, the breaker's hold."""

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import OpenedSession
from tests.support.looking import given
from tests.support.scenario import PAUSE_SECONDS, STARTED_AT, Step, session

ONLINE = "u-0-1-5-1-1"
CAME_AT = STARTED_AT + round(PAUSE_SECONDS * SECOND)
NAMELESS = OpenedSession("", 0, None, "n1")


def test_a_look_that_agrees_leaves_no_event() -> None:
    looking = given(ONLINE).looks({0: 1}).then(None, None, "online")
    assert looking.polls() == []
    watch = looking.world.agenda.get("u")
    assert (watch.verified_at, watch.doubt, watch.urgent) == (looking.world.at, None, None)


def test_somebody_who_is_away_and_is_said_to_be() -> None:
    given(ONLINE, "u-0-0-5-0-0").looks({}).then(None, None, "offline")


def test_of_somebody_never_observed_the_first_answer_is_on_record() -> None:
    looking = given().looks({}).then(None, None, "offline", rule="poll_absent")
    assert looking.correction.drift is None
    assert len(looking.polls()) == 1
    looking.looks({}).then(None, None, "offline")


def test_online_where_we_say_offline_is_believed_at_once() -> None:
    looking = given(ONLINE, "u-0-0-5-0-0").looks({0: 1})
    looking.then("corrected", "missed", "online", rule="poll_missed", opened=(NAMELESS,)).left(session(None))
    assert looking.correction.looks == 1


def test_a_session_that_a_poll_told_of_gives_way_to_the_webhook_that_names_it() -> None:
    looking = given().looks({0: 1}).then("corrected", "missed", "online", rule="poll_missed", opened=(NAMELESS,))
    looking.hears(ONLINE).left(session(5))


def test_offline_where_we_say_online_needs_a_second_look() -> None:
    looking = given(ONLINE).looks({}).then("open", "ghost", "online")
    first = looking.world.at
    assert looking.due_in == 3.0
    looking.looks({}, after=3.0).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    correction = looking.correction
    assert (correction.looks, correction.disagreed_at) == (2, first)
    assert correction.agreed_at == CAME_AT


def test_a_drift_begins_after_the_last_look_that_agreed() -> None:
    looking = given(ONLINE).looks({0: 1})
    agreed = looking.world.at
    looking.looks({}).looks({}).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    assert looking.correction.agreed_at == looking.finding.agreed_at == agreed


@pytest.mark.parametrize("confirm", [3.0, 10.0])
def test_a_second_look_asked_too_soon_confirms_nothing(confirm: float) -> None:
    looking = given(ONLINE, policy=Policy(confirm_seconds=confirm)).looks({})
    looking.looks({}, after=confirm - 0.000001).then("open", "ghost", "online")
    looking.looks({}, after=confirm).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))


def test_as_many_looks_as_the_policy_wants() -> None:
    looking = given(ONLINE, policy=Policy(confirmations=3)).looks({}).then("open", "ghost", "online")
    looking.looks({}, after=3.0).then("open", "ghost", "online")
    looking.looks({}, after=3.0).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    assert looking.correction.looks == 3


def test_a_look_out_of_turn_is_no_further_confirmation() -> None:
    looking = given(ONLINE, policy=Policy(confirmations=3)).looks({})
    looking.looks({}, after=3.0).then("open", "ghost", "online")
    looking.looks({}, after=0.5).then("open", "ghost", "online")
    looking.looks({}, after=2.5).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    assert looking.correction.looks == 4


def test_a_policy_of_one_look_believes_the_first() -> None:
    looking = given(ONLINE, policy=Policy(confirmations=1)).looks({})
    looking.then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    assert looking.correction.looks == 1


def test_a_look_that_saw_one_of_two_connections_is_no_first_look_at_somebody_gone() -> None:
    looking = given(ONLINE, "u-0-1-6-2-2").looks({0: 1}).then("open", "devices", "online")
    looking.looks({}, after=3.0).then("open", "ghost", "online")
    closed = (session(5), session(6))
    looking.looks({}, after=3.0).then("corrected", "ghost", "offline", rule="poll_ghost", closed=closed)


def test_a_doubt_is_cleared_by_a_look_that_agrees() -> None:
    looking = given(ONLINE).looks({}).looks({0: 1}, after=3.0).then("cleared", "ghost", "online")
    looking.looks({}, after=3.0).then("open", "ghost", "online")


def test_a_webhook_that_says_the_same_meanwhile_makes_it_in_flight() -> None:
    given(ONLINE).looks({}).hears(Step("u-0-0-5-0-0", after=1.0)).looks({}, after=2.0).then(
        "in_flight", "ghost", "offline"
    )


@pytest.mark.parametrize("item", ["u-0-1-6-1-1", ONLINE], ids=["a new connection", "fresh evidence of the old one"])
def test_a_webhook_that_says_otherwise_makes_the_doubt_void(item: str) -> None:
    looking = given(ONLINE).looks({}).hears(Step(item, after=1.0))
    looking.looks({}, after=3.0).then("open", "ghost", "online")
    assert looking.finding.disagreed_at == looking.world.at


def test_a_void_doubt_is_cleared_by_a_look_that_agrees() -> None:
    looking = given(ONLINE).looks({}).hears(Step("u-0-1-6-2-2", after=1.0)).looks({0: 2}, after=3.0)
    looking.then("cleared", "ghost", "online")


def test_the_fence_an_answer_asked_before_a_webhook_says_nothing_about_it() -> None:
    looking = given(ONLINE, "u-0-0-5-0-0")
    question = looking.asks()
    looking.hears(Step("u-0-1-6-1-1", after=0.05)).answers(question, {})
    looking.then(None, None, "online").left(session(6))
    assert looking.due_in == pytest.approx(5.0 - 0.15)
    assert looking.world.agenda.get("u").urgent == "overtaken"


@pytest.mark.parametrize("overridden", [False, True])
def test_a_tier_and_an_override_overtake_no_question_in_whatever_order(overridden: bool) -> None:
    """They tell nothing of how the user is."""
    looking = given(ONLINE).looks({})
    question = looking.asks(after=3.0)
    if overridden:
        looking.world.override("u", "offline", 5.0, until_evidence=True)
        looking.world.end_override("u", "deleted")
    looking.world.set_tier("u", "vip")
    looking.answers(question, {}).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))


def test_the_fence_holds_for_a_webhook_after_an_override_and_a_tier() -> None:
    looking = given(ONLINE)
    looking.world.override("u", "offline", 5.0, until_evidence=True)
    looking.world.set_tier("u", "vip")
    question = looking.asks()
    looking.hears(Step("u-0-1-6-1-2", after=0.05)).answers(question, {}).then(None, None, "online")


def test_the_fence_holds_for_good_news_too() -> None:
    looking = given(ONLINE)
    question = looking.asks()
    looking.hears(Step("u-0-0-5-0-0", after=0.05)).answers(question, {0: 1}).then(None, None, "offline")


def test_the_fence_holds_for_a_second_look() -> None:
    looking = given(ONLINE).looks({})
    question = looking.asks(after=3.0)
    looking.hears(Step(ONLINE, after=0.05)).answers(question, {}).then("cleared", "ghost", "online")
    looking = given(ONLINE).looks({})
    question = looking.asks(after=3.0)
    looking.hears(Step("u-0-0-5-0-0", after=0.05)).answers(question, {}).then("in_flight", "ghost", "offline")


def test_two_answers_that_cross_each_other_correct_once() -> None:
    looking = given(ONLINE, "u-0-0-5-0-0")
    first, second = looking.asks(), looking.asks(after=0.1)
    looking.answers(first, {0: 1}).then("corrected", "missed", "online", rule="poll_missed", opened=(NAMELESS,))
    looking.answers(second, {0: 1}).then(None, None, "online").left(session(None))


def test_another_device_is_opened_at_once_and_the_one_not_found_waits_for_a_second_look() -> None:
    looking = given(ONLINE).looks({1: 1})
    opened = OpenedSession("", 1, None, "n1")
    looking.then("open", "devices", "online", rule="poll_devices", opened=(opened,)).left(session(5), session(None, 1))
    looking.looks({1: 1}, after=3.0)
    looking.then("corrected", "devices", "online", rule="poll_devices", closed=(session(5),)).left(session(None, 1))


def test_each_window_that_is_opened_while_a_second_look_is_to_come_is_opened_once() -> None:
    looking = given(ONLINE).looks({1: 1})
    opened = OpenedSession("", 1, None, "n1")
    first = looking.correction
    looking.looks({1: 2}, after=3.0)
    another = {"opened": (opened,), "closed": (session(5),)}
    looking.then("corrected", "devices", "online", rule="poll_devices", **another)
    looking.left(session(None, 1), session(None, 1))
    assert (first.opened, first.disagreed_at) == (looking.correction.opened, looking.correction.disagreed_at)


def test_one_window_of_two_is_gone() -> None:
    looking = given(ONLINE, "u-0-1-6-2-2").looks({0: 1}).then("open", "devices", "online")
    looking.looks({0: 1}, after=3.0)
    looking.then("corrected", "devices", "online", rule="poll_devices", closed=(session(5),)).left(session(6))


def test_a_failed_look_changes_nothing_and_comes_again() -> None:
    looking = given(ONLINE).looks({})
    doubt = looking.world.agenda.get("u").doubt
    looking.world.fail(looking.asks(after=3.0))
    assert looking.world.agenda.get("u").doubt == doubt
    assert looking.due_in == 4.0
    looking.looks({}, after=4.0).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))


BREAKS_AT_ONE = Policy(breaker_minimum=1, breaker_share=0.0)


def test_the_breaker_holds_what_a_second_look_would_correct() -> None:
    looking = given(ONLINE, policy=BREAKS_AT_ONE).looks({}).then("held", "ghost", "online")
    assert looking.due_in == 60.0
    looking.looks({}, after=30.0).then("held", "ghost", "online")
    assert looking.due_in == pytest.approx(30.0 - 0.1)
    looking.looks({}, after=30.0).then("corrected", "ghost", "offline", rule="poll_ghost", closed=(session(5),))
    assert looking.correction.looks == 3


def test_what_is_held_and_found_again_is_cleared() -> None:
    given(ONLINE, policy=BREAKS_AT_ONE).looks({}).looks({0: 1}, after=60.0).then("cleared", "ghost", "online")


def test_the_breaker_holds_nothing_that_leaves_the_user_online() -> None:
    looking = given(ONLINE, "u-0-1-6-2-2", policy=BREAKS_AT_ONE)
    looking.world.pass_time(1.0)
    looking.world.hear("n1", "v-0-1-9-1-1")
    looking.world.answer(looking.world.ask(["v"]), {})
    assert looking.world.source.breaker_until is not None
    looking.looks({0: 1}).then("open", "devices", "online")
    looking.looks({0: 1}, after=3.0)
    looking.then("corrected", "devices", "online", rule="poll_devices", closed=(session(5),))
    looking.looks({0: 2}).then("corrected", "devices", "online", rule="poll_devices", opened=(NAMELESS,))


def test_of_the_sessions_of_a_booted_node_no_second_look_is_needed() -> None:
    """Which node held it is not known, so nobody is swept, but everybody asked about."""
    looking = given(ONLINE, nodes=("n1", "n2")).boots("n1", ago=1000.0).boots("n2", ago=1000.0)
    looking.boots("n2").looks_at_nodes(n1=[], n2=[])
    looking.then("corrected", "ghost", "offline", rule="connz_after_boot", closed=(session(5),)).left()


def test_what_is_proven_is_closed_and_the_rest_waits_for_a_second_look() -> None:
    looking = given(ONLINE, nodes=("n1", "n2")).boots("n1", ago=1000.0).boots("n2", ago=1000.0)
    looking.boots("n2").hears("u-0-1-6-2-2").looks_at_nodes(n1=[], n2=[])
    looking.then("open", "ghost", "online", rule="connz_after_boot", closed=(session(5),)).left(session(6))
    looking.looks_at_nodes(after=3.0, n1=[], n2=[])
    looking.then("corrected", "ghost", "offline", rule="connz_ghost", closed=(session(6),)).left()


def test_a_correction_cites_its_poll_and_its_run() -> None:
    looking = given(ONLINE, "u-0-0-5-0-0").looks({0: 1})
    (poll,) = looking.polls()
    correction = looking.correction
    assert (correction.poll, correction.run, correction.node, correction.asked_at) == (
        poll.poll,
        poll.run,
        poll.node,
        poll.asked_at,
    )
    assert (poll.asked, poll.agreed, poll.rows) == (1, 0, {"u": "0:1"})
    assert correction.received_at == poll.answered_at == looking.world.at


def test_a_users_own_tier_survives_their_corrections() -> None:
    looking = given(ONLINE, profile=Profile.V3).looks({}).looks({}, after=3.0)
    assert looking.world.presence("u").tier is None
    assert looking.due_in == pytest.approx(300 * 0.98 - 0.1)


@pytest.mark.parametrize(("after", "goes_on"), [(4.0, True), (5.0, False)])
def test_online_again_within_the_grace_period_goes_on_by_a_look_as_by_a_webhook(after: float, goes_on: bool) -> None:
    policy = Policy(grace_seconds=5.0)
    looking = given(ONLINE, "u-0-0-5-0-0", policy=policy).looks({0: 1}, after=after, takes=0.5)
    heard = given(ONLINE, "u-0-0-5-0-0", Step("u-0-1-6-1-1", after=after + 0.5), policy=policy)
    since = CAME_AT if goes_on else looking.world.at
    for each in (looking, heard):
        flip = each.world.presence("u").flip
        assert flip is not None
        assert (flip.status, flip.since, each.world.shown("u").since) == ("online", since, since)
        assert each.world.presence("u").before is None
    assert looking.correction.resumes == (CAME_AT if goes_on else None)

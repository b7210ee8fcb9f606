"""One answer about many users: what is counted for the breaker, what becomes events, what a run's counts say."""

from ledger.domain.drift import Poll
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    Finding,
    PollObserved,
    RunCounts,
)
from ledger.domain.source import SourceState
from ledger.reconcile import judge
from ledger.sources.wukongim.answers import Boot
from tests.support.looking import socket
from tests.support.reconciler import Reconciler

CAUTIOUS = Policy(breaker_minimum=2, breaker_share=0.5, breaker_hold_seconds=60.0)


def crowd(*uids: str, policy: Policy = CAUTIOUS) -> Reconciler:
    """A ledger where these users have come online, and are not looked at yet."""
    world = Reconciler(Profile.V2_2, policy=policy)
    for number, uid in enumerate(uids, 1):
        world.pass_time(1.0)
        world.hear("n1", f"{uid}-0-1-{number}-1-1")
    world.pass_time(10.0)
    return world


def online(*uids: str) -> dict[str, dict[int, int]]:
    return {uid: {0: 1} for uid in uids}


def missing_of(
    world: Reconciler, uids: str, rows: dict[str, dict[int, int]], head: int | None = None
) -> tuple[int, int]:
    """-> (looked at, missing) as the breaker counts them."""
    poll = Poll(
        "p", "r", "n1", "POST /user/onlinestatus", world.at, world.at, world.draft.head if head is None else head
    )
    watches = {uid: world.agenda.get(uid) if uid in world.agenda else Watch(world.at) for uid in uids}
    looks = judge.looks_at_rows(world.presence, world.source, "n1", watches, rows)
    return judge.count_missing(world.source, poll, looks)


def test_online_users_are_counted_and_those_who_are_missing() -> None:
    world = crowd("a", "b", "c")
    assert missing_of(world, "abc", online("a")) == (3, 2)


def test_users_who_are_not_online_are_not_counted() -> None:
    world = crowd("a", "b")
    world.hear("n1", "b-0-0-2-0-0")
    assert missing_of(world, "abz", online("z")) == (1, 1)


def test_a_user_with_some_connections_left_or_others_is_not_missing() -> None:
    world = crowd("a", "b")
    world.hear("n1", "a-0-1-9-2-2")
    assert missing_of(world, "ab", {"a": {0: 1}, "b": {1: 1}}) == (2, 0)


def test_an_answer_older_than_the_last_webhook_is_not_counted() -> None:
    world = crowd("a", "b")
    assert missing_of(world, "ab", {}, head=world.draft.head - 1) == (1, 1)


def test_a_second_look_is_about_the_missing_alone_and_not_counted() -> None:
    world = crowd("a", "b", "c")
    world.answer(world.ask(["a"]), {})
    assert missing_of(world, "abc", online("b", "c")) == (2, 0)


def test_a_user_of_another_source_is_none_of_ours() -> None:
    world = crowd("a")
    other = judge.looks_at_rows(world.presence, world.source, "n1", {"a": Watch(0)}, {})
    elsewhere = SourceState("elsewhere")
    poll = Poll("p", "r", "n1", "POST /user/onlinestatus", world.at, world.at, world.draft.head)
    assert judge.count_missing(world.source, poll, other) == (1, 1)
    assert judge.count_missing(elsewhere, poll, other) == (0, 0)


def test_those_whom_a_boot_proves_gone_are_no_sign_of_a_lie() -> None:
    world = Reconciler(Profile.V2_2, ("n1", "n2"), CAUTIOUS)
    world.hear("n1", "a-0-1-1-1-1")
    world.pass_time(10.0)
    world.probe("n1", Boot(world.at - SECOND, world.at - SECOND, 1001))
    poll = Poll("p", "r", "n1", "GET /connz", world.at, world.at, world.draft.head)
    watches = {"a": Watch(0)}
    looks = judge.looks_at_connections(world.presence, world.source, watches, {}, None)
    assert judge.count_missing(world.source, poll, looks) == (1, 0)


def test_a_mass_offline_opens_the_breaker_which_holds_it_and_who_is_looked_at_meanwhile() -> None:
    world = crowd("a", "b", "c")
    judged = world.answer(world.ask(["a", "b", "c"]), online("c"))
    assert {uid: look.finding and look.finding.outcome for uid, look in judged.items()} == {
        "a": "held",
        "b": "held",
        "c": None,
    }
    opened = next(kept.event for kept in world.kept if isinstance(kept.event, BreakerOpened))
    assert (opened.looked, opened.missing, opened.until) == (3, 2, world.at + 60 * SECOND)
    world.pass_time(10.0)
    world.answer(world.ask(["a", "b", "c"]), {})
    assert [world.presence(uid).status for uid in "abc"] == ["online"] * 3


def test_after_the_hold_a_probe_that_still_says_so_is_believed() -> None:
    world = crowd("a", "b", "c")
    world.answer(world.ask(["a", "b", "c"]), online("c"))
    world.pass_time(60.0)
    assert isinstance(world.kept[-1].event, BreakerClosed)
    assert world.take_due()[:2] == ["a", "b"]
    world.answer(world.ask(["a", "b"]), online("b"))
    assert [world.presence(uid).status for uid in "abc"] == ["offline", "online", "online"]


def test_an_answer_that_says_nothing_new_leaves_no_event() -> None:
    world = crowd("a", "b")
    head = world.draft.head
    world.answer(world.ask(["a", "b"]), online("a", "b"))
    assert world.draft.head == head
    assert world.counts == RunCounts(polls=1, looked=2, agreed=2)


def test_the_polls_event_comes_first_and_keeps_what_was_said_of_those_with_findings() -> None:
    world = crowd("a", "b", "c")
    before = len(world.kept)
    world.answer(world.ask(["a", "b", "c", "z"]), online("a", "b", "z") | {"a": {0: 2, 1: 1}})
    poll, of_a, of_z = (kept.event for kept in world.kept[before:])
    assert isinstance(poll, PollObserved)
    assert isinstance(of_a, Corrected)
    assert isinstance(of_z, Corrected)
    assert (poll.asked, poll.agreed) == (4, 1)
    assert poll.rows == {"a": "0:2 1:1", "c": "", "z": "0:1"}
    found = {finding.uid: (finding.drift, finding.outcome) for finding in poll.findings}
    assert found == {"a": ("devices", "corrected"), "c": ("ghost", "open"), "z": ("missed", "corrected")}
    assert of_a.poll == of_z.poll == poll.poll


def test_a_runs_counts_count_each_drift_once() -> None:
    world = crowd("a", "b", "c", policy=Policy())
    world.answer(world.ask(["a", "b", "c", "z"]), online("b", "c", "z"))
    world.pass_time(3.0)
    world.answer(world.ask(["a"]), {})
    world.answer(world.ask(["b"]), {})
    world.pass_time(1.0)
    world.hear("n1", "b-0-0-2-0-0")
    world.pass_time(2.0)
    world.answer(world.ask(["b"]), {})
    world.answer(world.ask(["c"]), {})
    world.pass_time(3.0)
    world.answer(world.ask(["c"]), online("c"))
    assert world.counts == RunCounts(
        polls=6, looked=9, agreed=2, drifted=4, corrected=2, cleared=1, in_flight=1, held=0
    )


def test_a_held_drift_is_counted_as_such() -> None:
    world = crowd("a", "b")
    world.answer(world.ask(["a", "b"]), {})
    assert (world.counts.held, world.counts.drifted, world.counts.corrected) == (2, 2, 0)


def test_an_overtaken_look_agreed_with_nothing() -> None:
    world = crowd("a")
    question = world.ask(["a"])
    world.hear("n1", "a-0-1-1-1-1")
    world.answer(question, {})
    assert (world.counts.looked, world.counts.agreed) == (1, 0)


def test_connections_as_a_poll_keeps_them() -> None:
    found = {"u": [socket(5), socket(6, None, "n2"), socket(7)._replace(began_at=1_796_000_150 * SECOND)]}
    text = judge.connections_text(found, ["u", "v"])
    assert text == {"u": "n1/5:0 n2/6 n1/7:0@1796000150", "v": ""}
    assert {uid: judge.read_connections(each) for uid, each in text.items()} == {"u": found["u"], "v": []}


def test_rows_as_a_poll_keeps_them() -> None:
    text = judge.rows_text({"u": {1: 1, 0: 2}}, ["u", "v"])
    assert text == {"u": "0:2 1:1", "v": ""}
    assert {uid: judge.read_rows(each) for uid, each in text.items()} == {"u": {0: 2, 1: 1}, "v": {}}


def test_verdicts_with_news_are_those_with_a_finding_or_an_event() -> None:
    world = crowd("a", "b")
    poll = Poll("p", "r", "n1", "POST /user/onlinestatus", world.at, world.at, world.draft.head)
    watches = {uid: Watch(0) for uid in ("a", "b", "z")}
    looks = judge.looks_at_rows(world.presence, world.source, "n1", watches, online("a"))
    verdicts = judge.judge_all(world.source, poll, looks, holding=False)
    assert [uid for uid, _ in verdicts.news] == ["b", "z"]
    assert verdicts.agreed == 2
    assert verdicts.watches().keys() == watches.keys()
    finding = dict(verdicts.judged)["b"].finding
    assert isinstance(finding, Finding)
    assert (finding.uid, finding.outcome) == ("b", "open")


def strangers_of(world: Reconciler, uids: str, rows: dict[str, dict[int, int]]) -> tuple[int, int]:
    """-> (users whom webhooks named, of them not found)"""
    poll = Poll("p", "r", "n1", "POST /user/onlinestatus", world.at, world.at, world.draft.head)
    watches = {uid: world.agenda.get(uid) if uid in world.agenda else Watch(world.at) for uid in uids}
    looks = judge.looks_at_rows(world.presence, world.source, "n1", watches, rows)
    return judge.count_strangers(world.source, poll, looks)


def test_users_whom_webhooks_named_and_no_answer_are_strangers() -> None:
    world = crowd("a", "b", "c")
    world.hear("n1", "c-0-0-3-0-0")
    assert strangers_of(world, "abcz", {}) == (2, 2)
    assert strangers_of(world, "abcz", online("a")) == (2, 1)


def test_a_user_whom_a_look_found_and_one_looked_at_again_are_no_strangers() -> None:
    world = crowd("a", "b")
    world.answer(world.ask(["a", "z"]), online("z"))
    assert strangers_of(world, "abz", {}) == (1, 1)

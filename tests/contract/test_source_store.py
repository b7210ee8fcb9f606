"""The source store and the follower against a real ledger: agendas from events, answers into events, each at once."""

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for

import msgspec
import pytest
from eventsourcing.persistence import StoredEvent
from structlog.testing import capture_logs

from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import BreakerOpened, NodeBooted, SourceDark, TierSet
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.reconcile import follower, judge
from ledger.reconcile.count_signs import CountSigns
from ledger.reconcile.follower import AgendaFollower
from ledger.reconcile.requests import request_run, set_tier
from ledger.reconcile.source_store import SourceStore
from ledger.store import recorder
from ledger.store.ledger import Ledger
from ledger.working_state import followers, looks
from tests.support.ledgers import DEADLINE_SECONDS, SOURCE, all_rows, assert_consistent, configure
from tests.support.source_stores import (
    Time,
    ask,
    drifts_of,
    first_of_all,
    follow,
    forgets_nobody,
    look,
    post,
    told_of,
    verdicts,
    watch,
)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger, nodes=("n1",))
    return ledger


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def source_store(ledger: Ledger, time: Time) -> SourceStore:
    return SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)


def test_the_agenda_hears_of_who_is_new_and_of_suspects_each_event_once(
    ledger: Ledger, source_store: SourceStore
) -> None:
    post(ledger, "alice-0-1-1-1-1", "bob-0-0-7-1-1")
    follow(ledger, source_store)
    assert watch(ledger, "alice").urgent is None
    assert watch(ledger, "bob").urgent == "late_offline"
    assert source_store.source.last_webhook_at is not None
    with ledger.connection() as connection:
        assert followers.followed(connection) == len(all_rows(ledger))


def test_a_ghost_takes_two_looks_and_leaves_its_evidence(ledger: Ledger, source_store: SourceStore, time: Time) -> None:
    post(ledger, "alice-0-1-1-1-1")
    follow(ledger, source_store)
    first = look(source_store, time, {}, "alice")
    assert first.judged[0][1].event is None
    assert watch(ledger, "alice").urgent == "confirm"
    [drift] = drifts_of(ledger, "alice")
    assert (drift.kind, drift.state) == ("ghost", "open")
    time.passes(3)
    look(source_store, time, {}, "alice")
    assert verdicts(ledger, "alice") == ["opened", "corrected"]
    [drift] = drifts_of(ledger, "alice")
    assert (drift.state, drift.ended_at) == ("corrected", time.at)
    assert_consistent(ledger)


def test_a_webhook_since_the_question_is_newer_than_the_answer(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    post(ledger, "alice-0-1-1-1-1", "alice-0-0-1-0-0")
    poll = ask(source_store, time)
    post(ledger, "alice-0-1-2-1-1", "alice-0-0-2-0-0")
    answer = look(source_store, time, {"alice": {0: 1}}, "alice", poll=poll)
    assert not answer.news
    assert verdicts(ledger, "alice") == ["opened", "closed", "opened", "closed"]
    assert watch(ledger, "alice").urgent == "overtaken"


def test_a_look_that_agrees_writes_no_event(ledger: Ledger, source_store: SourceStore, time: Time) -> None:
    post(ledger, "alice-0-1-1-1-1")
    before = len(all_rows(ledger))
    look(source_store, time, {"alice": {0: 1}}, "alice")
    assert len(all_rows(ledger)) == before
    assert watch(ledger, "alice").verified_at == time.at


def test_a_look_that_agrees_ends_a_doubt_that_came_after_its_question(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    earlier, watches = ask(source_store, time), source_store.watches_for(["alice"])
    look(source_store, time, {}, "alice")
    assert (watches["alice"].doubt, watch(ledger, "alice").urgent) == (None, "confirm")
    answer = source_store.judge_rows(earlier, watches, {"alice": {0: 1}})
    assert [each.finding is not None for _, each in answer.judged] == [True]
    assert told_of(ledger, "alice") == ["open", "cleared"]
    assert (watch(ledger, "alice").doubt, watch(ledger, "alice").urgent) == (None, None)
    assert [drift.state for drift in drifts_of(ledger, "alice")] == ["cleared"]


def test_an_overtaken_look_keeps_a_doubt_that_came_after_its_question(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    earlier, watches = ask(source_store, time), source_store.watches_for(["alice"])
    post(ledger, "alice-0-1-2-2-2")
    look(source_store, time, {}, "alice")
    doubt = watch(ledger, "alice").doubt
    source_store.judge_rows(earlier, watches, {"alice": {0: 1}})
    assert doubt is not None
    assert (watch(ledger, "alice").doubt, watch(ledger, "alice").urgent) == (doubt, "overtaken")
    time.passes(3)
    look(source_store, time, {}, "alice")
    assert told_of(ledger, "alice") == ["open", "corrected"]


def test_an_overtaken_look_leaves_the_agreement_of_one_that_was_asked_later(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    earlier, watches = ask(source_store, time), source_store.watches_for(["alice"])
    post(ledger, "alice-0-1-2-2-2")
    time.passes(1)
    look(source_store, time, {"alice": {0: 2}}, "alice")
    source_store.judge_rows(earlier, watches, {"alice": {0: 1}})
    assert (watch(ledger, "alice").verified_at, watch(ledger, "alice").looked_at) == (time.at, time.at)


def test_a_doubt_that_another_instance_leaves_meanwhile_is_not_passed_over(
    ledger: Ledger, source_store: SourceStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger, "alice-0-1-1-1-1", "bob-0-1-2-1-1")
    other = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    first_of_all(monkeypatch, judge, "judge_all", lambda: look(other, time, {}, "alice"))
    answer = look(source_store, time, {"alice": {0: 1}, "bob": {0: 1}}, "alice", "bob")
    assert sorted(uid for uid, _ in answer.judged) == ["alice", "bob"]
    assert told_of(ledger, "alice") == ["open", "cleared"]
    assert watch(ledger, "alice").doubt is None
    assert watch(ledger, "bob").verified_at == time.at
    assert_consistent(ledger)


def test_a_doubt_that_another_instance_ends_meanwhile_is_not_acted_upon(
    ledger: Ledger, source_store: SourceStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    other = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    look(source_store, time, {}, "alice")
    time.passes(3)
    first_of_all(monkeypatch, source_store, "_append", lambda: look(other, time, {"alice": {0: 1}}, "alice"))
    look(source_store, time, {}, "alice")
    assert told_of(ledger, "alice") == ["open", "cleared", "open"]
    assert verdicts(ledger, "alice") == ["opened"]


def test_a_correction_that_another_instance_makes_meanwhile_is_made_once(
    ledger: Ledger, source_store: SourceStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    other = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    first_of_all(monkeypatch, source_store, "_append", lambda: look(other, time, {"alice": {0: 2}}, "alice"))
    look(source_store, time, {"alice": {0: 2}}, "alice")
    assert verdicts(ledger, "alice") == ["opened", "corrected"]
    assert told_of(ledger, "alice") == ["corrected"]
    assert_consistent(ledger)


def test_a_lie_about_many_opens_the_breaker_and_holds(ledger: Ledger, source_store: SourceStore, time: Time) -> None:
    uids = [f"u{number}" for number in range(40)]
    post(ledger, *(f"{uid}-0-1-{number}-1-1" for number, uid in enumerate(uids, 1)))
    look(source_store, time, {}, *uids)
    assert source_store.source.breaker_until == time.at + 60 * SECOND
    time.passes(3)
    look(source_store, time, {}, *uids)
    assert {tuple(verdicts(ledger, uid)) for uid in uids} == {("opened",)}
    assert {drift.state for uid in uids for drift in drifts_of(ledger, uid)} == {"held"}


def test_a_breaker_that_another_instance_opens_meanwhile_holds(
    ledger: Ledger, source_store: SourceStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    other = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    look(source_store, time, {}, "alice")
    time.passes(3)
    opened = BreakerOpened(at=time.at, looked=40, missing=40, window_seconds=60, until=time.at + 60 * SECOND)
    first_of_all(monkeypatch, source_store, "_append", lambda: other.append(opened))
    look(source_store, time, {}, "alice")
    assert told_of(ledger, "alice") == ["open", "held"]
    assert verdicts(ledger, "alice") == ["opened"]


def test_a_boot_sweeps_who_is_older_and_asks_about_them(ledger: Ledger, source_store: SourceStore, time: Time) -> None:
    post(ledger, "alice-0-1-1-1-1", "bob-0-1-2-1-1")
    follow(ledger, source_store)
    # Of one node, whose connections its webhooks name.
    source_store.source = msgspec.structs.replace(
        source_store.source, node_profiles={"n1": source_store.source.profile}
    )
    source_store.append(NodeBooted(node="n1", at=time.at, earliest=time.at - SECOND, latest=time.at, route="/varz"))
    after: str | None = ""
    swept = 0
    while after is not None:
        after, number = source_store.sweep_page("n1", "r1", after, False, True)
        swept += number
    assert swept == 2
    assert verdicts(ledger, "alice") == ["opened", "swept"]
    assert watch(ledger, "alice").urgent == "restart"


def test_a_request_is_found_by_who_leads_and_a_tier_is_an_event(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    run = request_run(ledger, SOURCE, ["alice", "alice", "bob"], "i", time.at)
    position = set_tier(ledger, "nobody-yet", "vip", "ops", time.at)
    follow(ledger, source_store)
    assert source_store.source.open_runs[run].uids == ("alice", "bob")
    [row] = [row for row in all_rows(ledger) if row.position == position]
    event = ledger.event(row)
    assert isinstance(event, TierSet)
    assert (event.tier, event.status_after) == ("vip", "unknown")
    assert watch(ledger, "nobody-yet").due_at <= time.at + 30 * SECOND


def test_taken_are_those_who_are_due_suspects_first_but_not_alone(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    with ledger.connection() as connection, connection.transaction():
        cursor = connection.cursor()
        looks.write(cursor, SOURCE, {f"s{n}": Watch(time.at - n, "late_offline") for n in range(20)})
        looks.write(cursor, SOURCE, {f"t{n}": Watch(time.at - n) for n in range(20)})
        looks.write(cursor, SOURCE, {"later": Watch(time.at + 1)})
    taken = source_store.take_due(10, {"s19"})
    assert sorted(taken.watches) == ["s11", "s12", "s13", "s14", "s15", "s16", "s17", "s18", "t18", "t19"]
    assert all(watch.urgent for watch in source_store.take_due(10, set(), in_turn=False).watches.values())
    assert source_store.due_counts() == (20, 40)
    source_store.put_back(taken.watches, time.at + SECOND)
    assert not taken.watches.keys() & source_store.take_due(100, set()).watches.keys()


def test_who_is_known_before_is_put_on_the_agenda_at_once(
    ledger: Ledger, source_store: SourceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    post(ledger, *(f"u{number}-0-1-{number}-1-1" for number in range(1, 30)))
    monkeypatch.setattr("ledger.reconcile.follower.FAR_BEHIND", 5)
    follow(ledger, source_store)
    assert source_store.due_counts().everybody == 29


def test_whose_event_cannot_be_read_is_looked_at_all_the_same(ledger: Ledger, source_store: SourceStore) -> None:
    post(ledger, "alice-0-0-1-1-1")
    head = ledger.events_recorder.max_notification_id() or 0
    ledger.events_recorder.insert_events(
        [
            StoredEvent("user:alice", 2, "webhook_observed.v2", b"[17]"),
            StoredEvent("user:bob", 1, "webhook_observed.v2", b'["s"\x80'),
            StoredEvent("user:carol", 1, "tier_set.v1", b"{}"),
            StoredEvent("user:dave", 1, "moved.v1", b"{}"),
        ]
    )
    with capture_logs() as logs:
        follow(ledger, source_store)
    [said] = logs
    assert (said["event"], said["events"]) == ("events_unreadable", 4)
    assert said["reason"].startswith(f"At position {head + 1} the ledger holds an event of kind 'webhook_observed.v2'")
    assert watch(ledger, "alice").urgent == "late_offline"
    assert {watch(ledger, uid).urgent for uid in ("bob", "carol", "dave")} == {None}
    with ledger.connection() as connection:
        assert followers.followed(connection) == head + 4


def test_after_a_full_page_more_is_heard_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PAGE", 2)
    monkeypatch.setattr(follower, "PAGE_BEHIND", 5)
    uids = [f"u{number}" for number in range(9)]
    post(ledger, *(f"{uid}-0-1-{number}-1-1" for number, uid in enumerate(uids, 1)))
    first = AgendaFollower(ledger, [SOURCE], CountSigns(dict))
    head, states = len(all_rows(ledger)), {SOURCE: SourceState(SOURCE)}
    heard = []
    with ledger.connection() as connection:
        for more in (True, True, True, False, False):
            assert first.follow(states) == more
            heard.append(followers.followed(connection))
        assert (head, heard) == (12, [2, 7, 12, 12, 12])
        assert looks.of_users(connection, SOURCE, uids).keys() == set(uids)
    post(ledger, "u0-0-0-1-0-0", "u1-0-0-2-0-0")
    assert first.follow(states)
    assert not first.follow(states)


def test_a_tier_takes_nobodys_look_out_of_turn(ledger: Ledger, source_store: SourceStore, time: Time) -> None:
    post(ledger, "alice-0-0-1-1-1")
    set_tier(ledger, "alice", "cold", "ops", time.at)
    follow(ledger, source_store)
    assert watch(ledger, "alice").urgent == "late_offline"


def test_a_tier_holds_whatever_webhooks_say_in_the_same_page_and_later(
    ledger: Ledger, source_store: SourceStore, time: Time
) -> None:
    post(ledger, "alice-0-1-1-1-1")
    follow(ledger, source_store)
    look(source_store, time, {"alice": {0: 1}}, "alice")
    set_tier(ledger, "alice", "vip", "ops", time.at)
    post(ledger, "alice-0-1-1-1-1")
    follow(ledger, source_store)
    assert watch(ledger, "alice").due_at <= time.at + 30 * SECOND
    look(source_store, time, {}, "alice")
    assert watch(ledger, "alice").urgent == "confirm"
    post(ledger, "alice-0-1-2-2-2")
    follow(ledger, source_store)
    found = watch(ledger, "alice")
    assert (found.urgent, found.due_at <= time.at + 30 * SECOND) == (None, True)


def test_while_somebody_else_writes_for_long_a_source_store_waits_longer_than_who_asks_for_something(
    ledger: Ledger, source_store: SourceStore, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LOCK_TIMEOUT_SECONDS", 0.1)
    with ThreadPoolExecutor(1) as thread:
        with ledger.events_recorder.commit():
            waiting = thread.submit(source_store.append, SourceDark(at=time.at, since=time.at))
            for ask_for in (
                lambda: request_run(ledger, SOURCE, [], "i", time.at),
                lambda: set_tier(ledger, "u", "vip", "key", time.at),
            ):
                with pytest.raises(StoreUnavailable, match="locked by another writer"):
                    ask_for()
            assert not wait_for([waiting], timeout=0.2).done
        waiting.result(DEADLINE_SECONDS)
    assert [row.kind for row in all_rows(ledger)][2:] == ["source_dark.v1"]

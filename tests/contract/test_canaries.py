"""Canaries on PostgreSQL: how their visits are noted; no count, list, look or stream of everybody has them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.canary.record import Record
from ledger.changes.feed import ChangeFeed
from ledger.changes.moment import Moments
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.ingest.clock import Clock
from ledger.reconcile.source_store import SourceStore
from ledger.sinks.membership import Membership
from ledger.store.ledger import Ledger
from ledger.working_state import canaries, looks
from ledger.working_state.canaries import CanaryKey, CanaryRow, Noted
from projections.engine.projector import Projector
from projections.models import current
from projections.models.registry import FOLLOWING
from projections.queries import loss
from projections.queries.listing import Filter
from projections.queries.reader import PresenceReader
from tests.support import pg
from tests.support.following import follow_all
from tests.support.ledgers import SOURCE, configure
from tests.support.readers import one, reading
from tests.support.source_stores import Time, ask, follow, forgets_nobody, post, watch

T = 1_800_000_000 * SECOND
FIRST, SECOND_ONE = CanaryKey("canary-1", SOURCE, "n1"), CanaryKey("canary-2", SOURCE, "n2")
NOBODY = Filter(None, None, None)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """Two canaries, one of them here and one gone, and a user, before anybody has been looked at."""
    configure(ledger)
    with ledger.connection() as connection:
        canaries.begin(connection.cursor(), [(FIRST, 60.0), (SECOND_ONE, 60.0)], T)
    post(ledger, "canary-1-0-1-1-1-1", "canary-2-0-1-2-1-1", "canary-2-0-0-2-0-0", "alice-1-1-3-1-1")
    return ledger


def row(connection: Connection[TupleRow], key: CanaryKey = FIRST) -> CanaryRow:
    [found] = [each for each in canaries.read(connection, key.source) if each.uid == key.uid]
    return found


def asked(url: str, question: Callable[[PresenceReader], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with reading(url) as reader:
            return await question(reader)

    return asyncio.run(run())


@pg.on_every_server
def test_counts_and_lists_leave_them_out(ledger: Ledger, database_url: str) -> None:
    page = asked(database_url, lambda reader: reader.page(NOBODY, None, 10))
    assert [b'"alice"' in body for body in page.read.bodies] == [True]
    summary = asked(database_url, lambda reader: reader.summary())
    assert +Counter(summary.statuses) == {"online": 1}
    assert summary.devices == [(SOURCE, 1, "n1", 1)]
    _, body = asked(database_url, lambda reader: one(reader, "canary-1"))
    assert b'"online"' in body
    with ledger.connection() as connection:
        assert current.online_after(connection, 3600.0, "", 10) == ["alice"]
        assert canaries.uids(connection) == {"canary-1", "canary-2"}
        canaries.begin(connection.cursor(), [], T)
    summary = asked(database_url, lambda reader: reader.summary())
    assert +Counter(summary.statuses) == {"online": 2, "offline": 1}


def test_nobody_looks_at_them(ledger: Ledger) -> None:
    time = Time()
    source_store = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    follow(ledger, source_store)
    assert watch(ledger, "alice").due_at > 0
    with ledger.connection() as connection:
        assert looks.of_users(connection, SOURCE, ["canary-1", "canary-2"]) == {}
        looks.add_everybody(connection.cursor())
        assert looks.of_users(connection, SOURCE, ["canary-1", "canary-2"]) == {}
        looks.write(connection.cursor(), SOURCE, {"canary-1": Watch(1)})
        looks.remove(connection.cursor(), ["canary-1"])
        assert looks.of_users(connection, SOURCE, ["canary-1"]) == {}
    assert source_store.watches_for(["alice", "canary-1"]).keys() == {"alice"}
    verdicts = source_store.judge_rows(ask(source_store, time), source_store.watches_for(["canary-1"]), {})
    assert verdicts.judged == []


def test_a_node_that_boots_ends_their_sessions_too(ledger: Ledger) -> None:
    time = Time()
    source_store = SourceStore(ledger, SOURCE, time.now, time.seconds, forgets_nobody)
    after, swept = source_store.sweep_page("n1", "r-1", "", retired=True, seen=False)
    assert (after, swept) == ("canary-1", 2)
    with ledger.connection() as connection:
        assert looks.of_users(connection, SOURCE, ["alice", "canary-1"]).keys() == {"alice"}


def test_streams_and_sinks_of_everybody_do_not_tell_of_them(ledger: Ledger) -> None:
    feed = ChangeFeed(Clock().now)
    with ledger.connection() as connection:
        began = feed.begin(connection)
        feed.watch_everybody(connection)
        feed.watch(connection, ["canary-2"])
        assert [uid for uid, _ in feed.page(connection, "", 10).bodies] == ["alice"]
    post(ledger, "canary-1-0-0-1-0-0", "canary-2-0-1-4-1-1", "alice-1-0-3-0-0")
    with ledger.connection() as connection:
        step = feed.step(connection)
        # Who watches one by name is told of it; who watches everybody is not.
        assert [change.uid for change in step.changes] == ["alice", "canary-2"]
        assert step.hidden == {"canary-1", "canary-2"}
        assert feed.users_since(connection, began, 100) == ["alice"]
        with Moments(Clock().now).read(connection) as moment:
            uids = ["alice", "canary-1"]
            assert list(Membership("").names(moment, uids)) == ["alice"]
            assert list(Membership("").names(moment, ["alice"])) == ["alice"]
            assert list(Membership("").names(moment, [])) == []


def test_loss_and_drift_leave_them_out(ledger: Ledger) -> None:
    with ledger.connection() as connection:
        follow_all(connection, Projector(FOLLOWING))
        counted = loss.by_node_and_hour(connection, 0, 2**62)
        assert [(cell.node, cell.counts.told, cell.counts.lost) for cell in counted] == [("n1", 1, 0)]


@pytest.mark.parametrize("is_rebuilt", [False, True])
def test_who_is_none_any_more_was_one_all_the_same(ledger: Ledger, is_rebuilt: bool) -> None:
    with ledger.connection() as connection:
        if not is_rebuilt:
            follow_all(connection, Projector(FOLLOWING))
        canaries.begin(connection.cursor(), [(SECOND_ONE, 60.0)], T)
    post(ledger, "canary-1-0-0-1-0-0", "canary-1-0-1-9-1-1", "canary-2-0-1-10-1-1")
    with ledger.connection() as connection:
        canaries.begin(connection.cursor(), [(FIRST, 60.0), (SECOND_ONE, 60.0)], T)
    post(ledger, "canary-1-0-0-9-0-0")
    with ledger.connection() as connection:
        follow_all(connection, Projector(FOLLOWING))
        [cell] = loss.by_node_and_hour(connection, 0, 2**62)
    # Of alice, and of canary-1 while it was a user like any other.
    assert (cell.counts.told, cell.counts.lost) == (3, 0)


def test_what_a_visit_came_to_is_noted(connection: Connection[TupleRow]) -> None:
    canaries.begin(connection.cursor(), [(FIRST, 60.0), (SECOND_ONE, 30.0)], T)
    assert row(connection).quiet_since == T
    seen = Noted(T + 1, "seen", 0, None, 0.5, 1.0, 1.5)
    canaries.note(connection.cursor(), FIRST, seen)
    canaries.note(connection.cursor(), FIRST, Noted(T + 2, "lost", 2, "x" * 600, None, None, None))
    canaries.note(connection.cursor(), FIRST, Noted(T + 3, "refused", 0, "banned", None, None, None))
    assert row(connection) == CanaryRow(
        *FIRST, T, 60.0, visits=3, lost=2, last_visit_at=T + 3, last_success_at=T + 1, failing_since=T + 2,
        last_error_at=T + 3, last_error="banned", outcome="refused", webhook_seconds=0.5, commit_seconds=1.0,
        stream_seconds=1.5,
    )  # fmt: skip
    assert row(connection, SECOND_ONE).visits == 0
    canaries.note(connection.cursor(), FIRST, seen._replace(at=T + 4, stream_seconds=None))
    after = row(connection)
    assert (after.failing_since, after.last_error, after.stream_seconds, after.quiet_since) == (
        None, "banned", None, T + 4,
    )  # fmt: skip


def test_the_settings_say_who_they_are(connection: Connection[TupleRow]) -> None:
    canaries.begin(connection.cursor(), [(FIRST, 60.0)], T)
    canaries.note(connection.cursor(), FIRST, Noted(T + 1, "seen", 0, None, 0.5, 1.0, 1.5))
    canaries.begin(connection.cursor(), [(FIRST, 30.0), (SECOND_ONE, 60.0)], T + 9)
    again = row(connection)
    assert (again.visits, again.every_seconds, again.quiet_since) == (1, 30.0, T + 9)
    canaries.begin(connection.cursor(), [(SECOND_ONE, 60.0)], T + 10)
    assert [each.uid for each in canaries.read(connection)] == ["canary-2"]
    assert canaries.read(connection, "other") == []
    assert canaries.among(connection, ["canary-1", "canary-2", "alice"]) == {"canary-2"}


def test_who_takes_up_one_that_fails_does_not_begin_anew(connection: Connection[TupleRow]) -> None:
    keys = [(FIRST, 60.0)]
    canaries.begin(connection.cursor(), keys, T)
    canaries.begin(connection.cursor(), keys, T + 5)
    assert row(connection).quiet_since == T
    canaries.note(connection.cursor(), FIRST, Noted(T + 6, "seen", 0, None, 0.5, 1.0, 1.5))
    canaries.note(connection.cursor(), FIRST, Noted(T + 7, "broken", 0, "a defect", None, None, None))
    canaries.begin(connection.cursor(), keys, T + 8)
    assert row(connection).quiet_since == T + 6
    canaries.note(connection.cursor(), FIRST, Noted(T + 9, "seen", 0, None, 0.5, 1.0, 1.5))
    canaries.begin(connection.cursor(), keys, T + 20)
    assert row(connection).quiet_since == T + 20


def test_their_webhooks_are_found_on_record(ledger: Ledger) -> None:
    record = Record(ledger, "canary-2", 0)

    async def found() -> None:
        assert await record.version() == 2
        assert await Record(ledger, "nobody", 0).version() == 0
        came = await record.online(0, 0.0)
        assert came is not None
        assert (came.version, came.conn_id) == (1, 2)
        assert came.received_at <= came.recorded_at
        went = await record.offline(came.version, came.conn_id, 0.0)
        assert went is not None
        assert went.version == 2
        assert await record.offline(came.version, 99, 0.0) is None
        assert await record.online(2, 0.3) is None
        assert await Record(ledger, "canary-2", 1).online(0, 0.0) is None

    asyncio.run(found())

"""The recorder on real servers: one order without gaps, append-only, bounded statements, instants that ascend."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from ledger.errors import StoreUnavailable
from ledger.store import migrate
from ledger.store import recorder as recorders
from ledger.store.ledger import Ledger, translated
from ledger.store.recorder import LedgerRecorder
from ledger.store.rows import STATEMENT_BYTES, Rows
from tests.support import pg
from tests.support.external import ExternalPostgres
from tests.support.ledgers import DEADLINE_SECONDS, all_rows, opened

CHANGES = ["UPDATE events SET kind = 'x'", "DELETE FROM events WHERE false", "TRUNCATE events"]


@pytest.fixture
def recorder(ledger: Ledger) -> LedgerRecorder:
    return ledger.events_recorder


def stored(stream: str, *versions: int, kind: str = "k.v1", state: bytes = b"{}") -> list[StoredEvent]:
    return [StoredEvent(stream, version, kind, state) for version in versions]


@pg.on_every_server
@pytest.mark.parametrize("statement", CHANGES)
def test_the_database_refuses_to_change_events(recorder: LedgerRecorder, database_url: str, statement: str) -> None:
    recorder.insert_events(stored("a", 1))
    refused = pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only")
    with psycopg.connect(database_url) as connection, refused:
        connection.execute(statement.encode())
    assert recorder.max_notification_id() == 1


@pytest.fixture
def replica_url(data_dir: Path) -> Iterator[str]:
    """A database of a server whose every session plays a replica, for which ordinary triggers do not fire."""
    server = ExternalPostgres(data_dir, {**pg.FAST, "session_replication_role": "replica"})
    try:
        with pg.new_database(server.start(), migrated=False) as url:
            migrate.apply(url)
            yield url
    finally:
        server.stop("immediate")


def test_nor_to_a_session_that_plays_a_replica(replica_url: str) -> None:
    with opened(replica_url) as ledger:
        ledger.events_recorder.insert_events(stored("a", 1))
    with psycopg.connect(replica_url, autocommit=True) as connection:
        assert connection.execute("SHOW session_replication_role").fetchone() == ("replica",)
        for statement in CHANGES:
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
                connection.execute(statement.encode())


@pg.on_every_server
def test_a_taken_version_is_a_conflict_and_leaves_nothing_of_its_append(recorder: LedgerRecorder) -> None:
    recorder.insert_events(stored("a", 1, 2))
    with pytest.raises(IntegrityError):
        recorder.insert_events([*stored("b", 1), *stored("a", 2)])
    assert recorder.select_events("b") == []
    assert recorder.insert_events(stored("b", 1)) == [3]


def test_an_append_that_is_given_up_burns_no_position(recorder: LedgerRecorder) -> None:
    rows = Rows()
    rows.add("a", 1, "k.v1", b"{}")

    def give_up() -> None:
        with recorder.commit() as commit:
            commit.append(rows.pack())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        give_up()
    assert recorder.insert_events(stored("a", 1)) == [1]


@pg.on_every_server
def test_a_tailing_reader_misses_nothing(recorder: LedgerRecorder) -> None:
    writers, appends, size = 4, 25, 7
    total = writers * appends * size
    started = threading.Barrier(writers + 1)

    def write(writer: int) -> None:
        started.wait(DEADLINE_SECONDS)
        for number in range(appends):
            recorder.insert_events(stored(f"{writer}", *range(number * size + 1, (number + 1) * size + 1)))

    def tail() -> list[int]:
        seen: list[int] = []
        started.wait(DEADLINE_SECONDS)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while len(seen) < total and time.monotonic() < deadline:
            after = seen[-1] if seen else None
            seen += [n.id for n in recorder.select_notifications(after, 50, inclusive_of_start=False)]
        return seen

    with ThreadPoolExecutor(writers + 1) as threads:
        reading = threads.submit(tail)
        for writing in [threads.submit(write, writer) for writer in range(writers)]:
            writing.result()
        assert reading.result() == list(range(1, total + 1))


def test_an_append_is_split_into_statements_of_bounded_size() -> None:
    rows = Rows()
    sizes = [STATEMENT_BYTES, 1, STATEMENT_BYTES - 1, 1, STATEMENT_BYTES + 1, 1]
    for version, size in enumerate(sizes, 1):
        rows.add("a", version, "k.v1", bytes(size))
    assert [packed.number for packed in rows.pack()] == [1, 2, 1, 1, 1]
    assert Rows().pack() == []


@pg.on_every_server
def test_a_split_append_is_one(recorder: LedgerRecorder) -> None:
    events = [StoredEvent("a", version, "k.v1", bytes([version]) * (3 * 1024 * 1024)) for version in range(1, 8)]
    assert recorder.insert_events(events) == list(range(1, 8))
    assert recorder.select_events("a") == events


def test_nothing_appended_is_nothing_stored(recorder: LedgerRecorder) -> None:
    assert recorder.insert_events([]) == []
    assert recorder.max_notification_id() is None


@pg.on_every_server
def test_recorded_at_never_goes_back(recorder: LedgerRecorder, ledger: Ledger) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    with ledger.connection() as connection, connection.transaction():
        connection.execute(
            "INSERT INTO events (stream, version, position, kind, payload, recorded_at)"
            " VALUES ('a', 1, 1, 'k.v1', '{}', %s)",
            (ahead,),
        )
    recorder.insert_events(stored("b", 1))
    assert [row.recorded_at for row in all_rows(ledger)] == [ahead, ahead]


def test_all_of_one_commit_has_one_instant_and_the_next_is_no_earlier(ledger: Ledger) -> None:
    for number in range(1, 6):
        ledger.events_recorder.insert_events(stored(f"s{number}", 1, 2, 3))
    instants = [row.recorded_at for row in all_rows(ledger)]
    assert instants == sorted(instants)
    assert all(len(set(instants[start : start + 3])) == 1 for start in range(0, 15, 3))


@pytest.fixture
def filled(recorder: LedgerRecorder) -> LedgerRecorder:
    """Stream a of five events, one of b after each."""
    for version in range(1, 6):
        recorder.insert_events([*stored("a", version), *stored("b", version, kind="other.v1")])
    return recorder


def versions(events: Sequence[StoredEvent]) -> list[int]:
    return [event.originator_version for event in events]


def test_a_stream_is_read_by_version(filled: LedgerRecorder) -> None:
    assert versions(filled.select_events("a")) == [1, 2, 3, 4, 5]
    assert versions(filled.select_events("a", gt=2, lte=4)) == [3, 4]
    assert versions(filled.select_events("a", desc=True, limit=2)) == [5, 4]
    assert filled.select_events("c") == []


def test_a_page_of_a_stream(filled: LedgerRecorder) -> None:
    rows = filled.stream_rows("a", limit=10)
    assert [(row.version, row.position) for row in rows] == [(1, 1), (2, 3), (3, 5), (4, 7), (5, 9)]
    assert [row.version for row in filled.stream_rows("a", after=1, before=5, limit=2)] == [2, 3]
    assert [row.version for row in filled.stream_rows("a", before=4, descending=True, limit=2)] == [3, 2]
    middle = rows[2].recorded_at
    assert [row.version for row in filled.stream_rows("a", recorded_from=middle, limit=9)] == [3, 4, 5]
    assert [row.version for row in filled.stream_rows("a", recorded_before=middle, limit=9)] == [1, 2]


def test_the_feed_is_read_by_position(filled: LedgerRecorder) -> None:
    feed = filled.select_notifications(3, 3)
    assert [(n.id, n.originator_id, n.originator_version) for n in feed] == [(3, "a", 2), (4, "b", 2), (5, "a", 3)]
    assert [n.id for n in filled.select_notifications(1, 10, topics=["other.v1"])] == [2, 4, 6, 8, 10]
    assert [n.id for n in filled.select_notifications(3, 10, stop=5, inclusive_of_start=False)] == [4, 5]
    assert [row.position for row in filled.ledger_rows(after=8, limit=5)] == [9, 10]


@pg.on_every_server
def test_a_delivery_is_found_by_its_id_alone(recorder: LedgerRecorder) -> None:
    recorder.insert_events(
        [
            *stored("user:u", 1, kind="webhook_observed.v2", state=b'{"delivery":"d1"}'),
            *stored("source:main", 1, kind="delivery_received.v1", state=b'{"delivery":"d1"}'),
            *stored("source:main", 2, kind="body_rejected.v1", state='{"delivery":"d2","reason":"é"}'.encode()),
        ]
    )
    assert [recorder.delivery_position(each) for each in ("d1", "d2", "d3")] == [2, 3, None]
    with recorder.commit() as commit:
        assert [commit.holds_delivery(each) for each in ("d1", "d2", "d3")] == [True, True, False]


def test_who_commits_waits_for_the_one_before(recorder: LedgerRecorder) -> None:
    with ThreadPoolExecutor(1) as thread:
        with recorder.commit() as commit:
            second = thread.submit(recorder.insert_events, stored("b", 1))
            rows = Rows()
            rows.add("a", 1, "k.v1", b"{}")
            commit.append(rows.pack())
            assert not second.done()
        assert second.result(DEADLINE_SECONDS) == [2]


@pg.on_every_server
@pytest.mark.parametrize(("lock_timeout", "bound"), [(None, 0.1), (0.4, 0.4)])
def test_a_commit_that_waits_for_too_long_gives_up(
    recorder: LedgerRecorder, monkeypatch: pytest.MonkeyPatch, lock_timeout: float | None, bound: float
) -> None:
    monkeypatch.setattr(recorders, "LOCK_TIMEOUT_SECONDS", 0.1)
    told = "the ledger is locked by another writer, such as an import"
    with recorder.commit():
        began = time.monotonic()
        with (
            pytest.raises(StoreUnavailable, match=told),
            translated(),
            recorder.commit(lock_timeout),
        ):
            raise AssertionError("nobody gets a lock that is held")
        assert bound <= time.monotonic() - began < DEADLINE_SECONDS
    assert recorder.insert_events(stored("a", 1)) == [1]


def test_the_bound_is_that_of_commits_alone(database_url: str) -> None:
    with opened(database_url, pool_size=1) as ledger:
        for _ in range(2):
            with ledger.events_recorder.commit() as commit:
                assert commit.cursor.execute("SHOW lock_timeout").fetchone() == ("5s",)
                connection = commit.connection
            with ledger.connection() as found:
                assert found is connection
                assert found.execute("SHOW lock_timeout").fetchone() == ("0",)

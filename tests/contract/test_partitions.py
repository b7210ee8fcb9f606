"""Partitions on real servers: room made ahead or by a commit, for which nobody waits, and an older ledger divided."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from typing import Any

import psycopg
import pytest
from eventsourcing.persistence import StoredEvent
from psycopg import Connection, sql
from structlog.testing import capture_logs

from ledger.errors import StoreUnavailable
from ledger.service import partitions as keeping
from ledger.service.partitions import PartitionKeeper
from ledger.store import migrate, partitioning, partitions, raw_events, session
from ledger.store.commit import HEAD
from ledger.store.ledger import Ledger
from ledger.store.partitions import Partitions
from ledger.store.rows import Rows
from tests.support import pg
from tests.support.divided import FAR, divide, large_of_before
from tests.support.ledgers import OF_THIS_DATABASE, opened, wait_until
from tests.support.tampering import fill, found, unguarded, verified

SIZE = 4
ROOM_OF_BEFORE = 4_000_000
SIZE_OF_NEXT = 2_000_000
CHANGES = ("UPDATE {} SET kind = 'x'", "DELETE FROM {} WHERE false", "TRUNCATE {}")


@pytest.fixture
def divided_url(database_url: str) -> str:
    """Of a ledger of nine events in three partitions of four: positions 1 to 3, 4 to 7, and 8 to 11."""
    divide(database_url, SIZE, 3)
    fill(database_url, range(1, 4))
    return database_url


@pytest.fixture
def older_url(empty_database_url: str) -> str:
    """Of a large ledger that a version without partitions left, migrated."""
    large_of_before(empty_database_url)
    migrate.apply(empty_database_url)
    return empty_database_url


@pytest.fixture
def working(database_url: str) -> Iterator[Connection[Any]]:
    with session.connect(database_url) as connection:
        yield connection


def ranges(url: str) -> list[tuple[int, int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM event_partitions ORDER BY first").fetchall()


def rows_by_table(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        counted = connection.execute("SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1").fetchall()
    return dict(counted)


def looked(url: str) -> Partitions:
    with session.connect(url) as connection:
        return partitions.look(connection)


def append(ledger: Ledger, stream: str, *versions: int) -> None:
    ledger.events_recorder.insert_events([StoredEvent(stream, version, "k.v1", b"{}") for version in versions])


@pg.on_every_server
def test_a_partition_is_made_ahead_while_others_write(database_url: str) -> None:
    assert looked(database_url) == Partitions(True, 1, True, 1_000_000)
    with opened(database_url) as ledger, ledger.events_recorder.commit() as commit, session.connect(database_url) as c:
        rows = Rows()
        rows.add("user:u", 1, "k.v1", b"{}")
        commit.append(rows.pack())
        assert partitioning.make_room_ahead(c) == 2_000_000
        assert partitioning.make_room_ahead(c) is None
    assert looked(database_url) == Partitions(True, 2, False, 2_000_000)
    assert rows_by_table(database_url) == {"events_from_1": 1}


@pg.on_every_server
def test_a_commit_that_finds_no_room_makes_it(database_url: str) -> None:
    divide(database_url, SIZE, 1)
    fill(database_url, range(1, 4))
    assert rows_by_table(database_url) == {"events_from_1": 3, "events_from_4": 6}
    assert ranges(database_url) == [(1, 4, "events_from_1"), (4, 1_000_004, "events_from_4")]
    whole = verified(database_url)
    assert (whole.events, whole.altered) == (9, None)


def test_what_is_given_up_leaves_no_partition(database_url: str) -> None:
    divide(database_url, SIZE, 1)
    rows = Rows()
    for version in range(1, 9):
        rows.add("user:u", version, "k.v1", b"{}")

    def give_up(ledger: Ledger) -> None:
        with ledger.events_recorder.commit() as commit:
            commit.append(rows.pack())
            raise ZeroDivisionError

    with opened(database_url) as ledger:
        with pytest.raises(ZeroDivisionError):
            give_up(ledger)
        assert ranges(database_url) == [(1, 4, "events_from_1")]
        append(ledger, "user:u", *range(1, 9))
    assert len(ranges(database_url)) == 2


def test_what_comes_from_far_ahead_has_one_partition(database_url: str) -> None:
    with opened(database_url) as ledger, ledger.events_recorder.commit() as commit:
        rows = Rows()
        rows.add("user:u", 1, "k.v1", b"{}")
        commit.append_at(rows.pack(), 7_654_321, commit.recorded_at)
        commit.append(rows.pack()[:0])
    assert ranges(database_url)[1:] == [(1_000_000, 8_000_000, "events_from_1000000")]


def test_of_several_one_makes_it(database_url: str) -> None:
    def make(_: int) -> int:
        with session.connect(database_url, autocommit=False) as connection:
            return partitions.make_room(connection.cursor(), 1_000_000)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(make, range(4))) == {2_000_000}
    assert len(ranges(database_url)) == 2


def test_while_another_instance_is_at_it_nothing_is_done(database_url: str, working: Connection[Any]) -> None:
    with session.connect(database_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (partitioning.TURN_LOCK,))
        assert partitioning.make_room_ahead(working) is None
        assert not partitioning.partition(working)
    assert len(ranges(database_url)) == 1


@pg.on_every_server
def test_no_partition_can_be_changed(divided_url: str) -> None:
    with psycopg.connect(divided_url, autocommit=True) as connection:
        for table, change in product(("events", "events_from_1", "events_from_8"), CHANGES):
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
                connection.execute(change.format(table).encode())
        # Not by a session that plays a replica either.
        enabled = "SELECT tgenabled, count(*) FROM pg_trigger WHERE tgname = 'events_append_only' GROUP BY 1"
        assert connection.execute(enabled).fetchall() == [("A", 4)]


@pg.on_every_server
def test_only_the_partitions_of_a_range_are_read(divided_url: str) -> None:
    by_position = "SELECT payload FROM events WHERE position > %s AND position <= %s ORDER BY position"
    copied = sql.SQL("SELECT 1 FROM events WHERE position >= {} AND position <= {} ORDER BY position")
    with psycopg.connect(divided_url) as connection:
        plans = [
            _plan(connection, by_position, (5, 6)),
            _plan(connection, copied.format(sql.Literal(5), sql.Literal(6)).as_string(), None),
        ]
        head = _plan(connection, HEAD, None, "EXPLAIN (ANALYZE) ")
    for plan in plans:
        assert "events_from_4" in plan
        assert "events_from_1" not in plan
        assert "events_from_8" not in plan
    assert head.count("never executed") >= 2, head


def _plan(connection: Connection[Any], query: str, params: Any, how: str = "EXPLAIN ") -> str:
    return "\n".join(line for (line,) in connection.execute((how + query).encode(), params))


@pg.on_every_server
def test_a_version_that_is_taken_twice_is_found(divided_url: str) -> None:
    with opened(divided_url) as ledger:
        append(ledger, "user:u1", 4)
        assert verified(divided_url).altered is None
        # Its first one stands in another partition, whose key is all that would refuse it.
        append(ledger, "user:u1", 1)
    altered = verified(divided_url).altered
    assert altered is not None
    assert (altered.position, altered.what) == (11, "an earlier event of its stream has the same version")
    assert verified(divided_url, after=9).altered is None


def test_a_detached_partition_is_found(divided_url: str) -> None:
    with unguarded(divided_url) as connection:
        connection.execute("ALTER TABLE events DETACH PARTITION events_from_4")
        altered = found(connection).altered
    assert altered is not None
    assert (altered.position, altered.what) == (4, "the event was removed")


@pg.on_every_server
def test_a_large_ledger_of_before_is_divided_while_it_is_used(older_url: str) -> None:
    with psycopg.connect(older_url, autocommit=True) as connection:
        connection.execute("CREATE VIEW of_theirs AS SELECT count(*) AS number FROM events")
        connection.execute("GRANT SELECT ON events TO PUBLIC")
        file = connection.execute("SELECT pg_relation_filenode('events')").fetchone()
    assert looked(older_url) == Partitions(False, 1, True, ROOM_OF_BEFORE)
    with opened(older_url) as ledger, session.connect(older_url) as working:
        append(ledger, "user:u", 1)
        assert partitioning.partition(working)
        assert not partitioning.partition(working)
        append(ledger, "user:u", 2)
        assert partitioning.make_room_ahead(working) == ROOM_OF_BEFORE + SIZE_OF_NEXT
    assert rows_by_table(older_url) == {"events_from_1": 5}
    with psycopg.connect(older_url, autocommit=True) as connection:
        assert connection.execute("SELECT pg_relation_filenode('events_from_1')").fetchone() == file
        assert connection.execute("SELECT number FROM of_theirs").fetchone() == (5,)
        assert connection.execute("SELECT count(*) FROM ledger_events").fetchone() == (5,)
        assert connection.execute(
            "SELECT has_table_privilege(0, 'events'::regclass, 'SELECT'), relname FROM pg_class"
            " WHERE oid = 'events'::regclass"
        ).fetchone() == (True, "events")
        assert raw_events.head(connection) == FAR + 2
    whole = verified(older_url, after=FAR)
    assert (whole.events, whole.altered) == (2, None)


@pg.on_every_server
@pytest.mark.parametrize("since", ["erasure", "partitions"])
def test_what_a_version_of_before_left_is_verified_before_it_is_migrated(empty_database_url: str, since: str) -> None:
    """As a backup of it is."""
    ours = migrate.load()
    migrate.apply(empty_database_url, ours[: [migration.name for migration in ours].index(since)])
    assert verified(empty_database_url).is_intact


def test_it_has_the_schema_of_a_new_one(older_url: str, database_url: str) -> None:
    with session.connect(older_url) as working:
        partitioning.partition(working)
    indexes = "SELECT indexdef FROM pg_indexes WHERE tablename LIKE 'events%' ORDER BY indexdef"
    found_in = []
    for url in (older_url, database_url):
        with psycopg.connect(url) as connection:
            found_in.append(connection.execute(indexes).fetchall())
    assert found_in[0] == found_in[1]


@pg.on_every_server
def test_until_then_it_has_room_for_whatever_comes(older_url: str) -> None:
    with opened(older_url) as ledger:
        with ledger.events_recorder.commit() as commit:
            rows = Rows()
            rows.add("user:u", 1, "k.v1", b"{}")
            commit.append_at(rows.pack(), ROOM_OF_BEFORE + 5, commit.recorded_at)
        append(ledger, "user:u", 2)
    assert ranges(older_url) == [(1, ROOM_OF_BEFORE + SIZE_OF_NEXT, "events_from_1")]
    with session.connect(older_url) as working:
        assert partitioning.partition(working)
    assert looked(older_url) == Partitions(True, 1, True, ROOM_OF_BEFORE + SIZE_OF_NEXT)


def test_who_reads_for_long_is_not_made_to_hold_up_commits(older_url: str) -> None:
    with opened(older_url) as ledger:
        keeper = PartitionKeeper(ledger, older_url)
        with psycopg.connect(older_url) as reading:
            reading.execute("SELECT FROM events LIMIT 1")
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="in use for long"):
                    keeper.look()
            append(ledger, "user:u", 1)
        for number in (1, 2, 2):
            keeper.look()
            assert looked(older_url)[:2] == (True, number)


async def _until(keeper: PartitionKeeper, done: Callable[[], bool], what: str) -> None:
    keeper.start()
    await asyncio.to_thread(wait_until, done, what)
    await keeper.stop()


def test_an_instance_keeps_room_and_stops_at_once(older_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.01)
    with opened(older_url) as ledger, psycopg.connect(older_url) as connection:
        # As VACUUM does, which nobody who reads or writes waits for.
        connection.execute("LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        keeper = PartitionKeeper(ledger, older_url)
        waits = f"""
            SELECT count(*) FROM pg_locks
             WHERE NOT granted AND mode = 'ShareUpdateExclusiveLock' AND {OF_THIS_DATABASE}
        """
        asyncio.run(_until(keeper, lambda: connection.execute(waits).fetchone() == (1,), "it waits"))
        assert not looked(older_url).is_partitioned
        connection.rollback()
        asyncio.run(_until(keeper, lambda: looked(older_url).number == 2, "room"))


@pytest.mark.parametrize(
    ("error", "event"), [(StoreUnavailable("away"), "partitions_wait"), (ZeroDivisionError(), "partitions_failed")]
)
def test_what_it_cannot_do_is_logged_once_while_it_lasts(
    ledger: Ledger, database_url: str, error: Exception, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LOOK_SECONDS", 0.001)
    keeper, looks = PartitionKeeper(ledger, database_url), count()

    def fail() -> None:
        next(looks)
        raise error

    monkeypatch.setattr(keeper, "look", fail)
    with capture_logs() as logs:
        asyncio.run(_until(keeper, lambda: next(looks) >= 5, "looks"))
    assert [each["event"] for each in logs] == [event]

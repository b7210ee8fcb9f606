"""`migrate --distribute`: refused in words where there is no Citus, and what it leaves where there is one."""

import psycopg
import pytest

from ledger.store import distribution, migrate
from ledger.store.distributed_functions import WHOLE_LOCK
from ledger.store.distribution import NotDistributable
from tests.support import citus as cluster
from tests.support import pg
from tests.support.command import call
from tests.support.tampering import fill, verified

KINDS = "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY relname"

EVENTS = "SELECT position, stream, version, kind, payload, recorded_at FROM events ORDER BY position"

INSERT_FAR = """
INSERT INTO events SELECT 'user:u' || n, 1, 1500000 + n, 'k.v1', '{}', now() FROM generate_series(1, 50) AS n
"""

TRIGGERS = """
SELECT c.relname, t.tgenabled::text FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
 WHERE t.tgname = 'events_append_only' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""


def test_without_the_extension_it_says_so_and_leaves_the_tables() -> None:
    with pg.new_database(pg.server_url("embedded")) as url, psycopg.connect(url, autocommit=True) as connection:
        before = connection.execute(KINDS).fetchall()
        with pytest.raises(NotDistributable, match="has no extension citus"):
            distribution.distribute(url)
        assert connection.execute(KINDS).fetchall() == before
        assert not distribution.is_distributed(connection)


def test_the_command_brings_the_schema_up_to_date_first(empty_database_url: str) -> None:
    refused = call("migrate", "--distribute", DATABASE_URL=empty_database_url)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("presence-ledger: The database has no extension citus")
    assert "CREATE EXTENSION citus" in refused.stderr
    assert [each for each, at in migrate.status(empty_database_url) if at is None] == []


def test_to_look_and_to_distribute_exclude_each_other() -> None:
    refused = call("migrate", "--distribute", "--status")
    assert refused.exit_code == 2
    assert "--status changes nothing" in refused.stderr


def test_what_a_ledger_has_is_on_the_workers_afterwards_and_verifies(citus: str) -> None:
    with cluster.new_schema(citus) as url:
        migrate.apply(url)
        fill(url, range(1, 4))
        with psycopg.connect(url, autocommit=True) as connection:
            before = connection.execute(EVENTS).fetchall()
            assert distribution.distribute(url) == ["events", "drifts", "sessions", "snapshots", "untold"]
            assert connection.execute(EVENTS).fetchall() == before
            assert connection.execute("SELECT pg_relation_size('events_from_1')").fetchone() == (0,)
            assert connection.execute(TRIGGERS).fetchall() == [("events", "A"), ("events_from_1", "A")]
        fill(url, range(4, 5))
        found = verified(url)
        assert (found.events, found.altered) == (12, None)
        assert distribution.distribute(url) == []


@pytest.mark.parametrize("change", ["UPDATE events SET kind = 'x.v1'", "DELETE FROM events", "TRUNCATE events"])
def test_events_stay_append_only(citus: str, change: str) -> None:
    with cluster.new_ledger(citus) as url:
        fill(url, [1])
        with psycopg.connect(url, autocommit=True) as connection:
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
                connection.execute(change)
            for table in ("events", "events_from_1"):
                on_shards = "SELECT bool_or(success) FROM run_command_on_shards(%s, 'DELETE FROM %%s')"
                assert connection.execute(on_shards, (table,)).fetchone() == (False,)


def test_a_partition_that_is_made_later_is_spread_and_guarded_as_well(citus: str) -> None:
    with cluster.new_ledger(citus) as url, psycopg.connect(url, autocommit=True) as connection:
        # As by a commit that comes before its room.
        with connection.transaction():
            assert connection.execute("SELECT make_events_room(1500000)").fetchone() == (2_000_000,)
            connection.execute(INSERT_FAR)
        assert connection.execute("SELECT count(*) FROM events WHERE position > 1000000").fetchone() == (50,)
        spread = "SELECT count(*) FROM pg_dist_shard WHERE logicalrelid = 'events_from_1000000'::regclass"
        assert connection.execute(spread).fetchone() == (8,)
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            connection.execute("DELETE FROM events_from_1000000")


def test_the_head_waits_until_each_worker_has_the_commit(citus: str) -> None:
    with cluster.new_ledger(citus) as url:
        fill(url, [1, 2])
        head = "SELECT position FROM last_event()"
        with psycopg.connect(url, autocommit=True) as connection, psycopg.connect(url, autocommit=True) as other:
            assert connection.execute(head).fetchone() == (6,)
            # As the transaction of the last seal does until then.
            writer = "SELECT xmin::text::bigint - 2147483648 FROM seals ORDER BY first_position DESC LIMIT 1"
            [xid] = other.execute(writer).fetchone() or [0]
            other.execute("SELECT pg_advisory_lock(%s, %s::int)", (WHOLE_LOCK, xid))
            assert connection.execute(head).fetchone() == (3,)
            other.execute("SELECT pg_advisory_unlock_all()")
            assert connection.execute(head).fetchone() == (6,)

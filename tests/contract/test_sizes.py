"""What figures tell of the database: its size, its log, its clock; also where our role may not see all of it."""

import psycopg

from ledger.store import sizes
from tests.support import pg


@pg.on_every_server
def test_a_database_has_a_size_a_log_where_it_may_be_seen_and_a_clock(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = sizes.read(connection)
        row = connection.execute("SELECT pg_has_role('pg_monitor', 'MEMBER')").fetchone()
    assert found.size > 1_000_000
    assert row is not None
    # The role of the embedded server may see everything, that of the other one nothing beside its own.
    assert (found.wal_size or 0) > 1_000_000 if row[0] else found.wal_size is None
    # One machine, one clock.
    assert abs(found.clock_offset_seconds) < 1

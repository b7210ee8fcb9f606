"""What figures tell of the database: its size, its log, its clock; also where our role may not see all of it."""

import psycopg
import pytest
from psycopg import sql

from ledger.store import sizes
from tests.support import pg


@pg.on_every_server
def test_a_database_has_a_size_a_log_and_a_clock(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = sizes.read(connection)
    assert found.size > 1_000_000
    assert found.wal_size is not None
    assert found.wal_size > 1_000_000
    # One machine, one clock.
    assert abs(found.clock_offset_seconds) < 1


@pytest.mark.parametrize("server", ["external"], indirect=True)
def test_a_role_that_may_not_see_the_log_is_told_the_rest(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE plain")
        connection.execute(sql.SQL("SET LOCAL ROLE plain"))
        found = sizes.read(connection)
        assert (found.size > 0, found.wal_size) == (True, None)
        connection.rollback()

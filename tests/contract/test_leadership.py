"""Leadership on a real server: one of several leads, and one that can do neither says why."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from ledger.errors import StoreUnavailable
from ledger.reconcile.leadership import Leadership
from tests.support import pg
from tests.support.ledgers import end_sessions, wait_until


@contextmanager
def no_connection_left(url: str) -> Iterator[None]:
    """While the database allows none to the ledger's role."""
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(pg.with_database(url, "postgres"), autocommit=True) as server:
        server.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(name))
        try:
            yield
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))


@pytest.fixture
def leadership(database_url: str) -> Iterator[Leadership]:
    found = Leadership(database_url)
    yield found
    found.give_up()


def test_one_leads_and_the_other_sees_it(leadership: Leadership, database_url: str) -> None:
    other = Leadership(database_url)
    assert (leadership.take(), other.take()) == (True, False)
    assert (leadership.trouble, other.trouble) == (None, None)
    leadership.give_up()
    wait_until(other.take, "the end of the other's session")
    other.give_up()


def test_without_a_connection_it_says_why_until_there_is_one(leadership: Leadership, database_url: str) -> None:
    assert leadership.take()
    end_sessions(database_url, "application_name = 'presence-ledger leader'")
    with no_connection_left(database_url):
        assert not leadership.still_holds()
        with pytest.raises(StoreUnavailable, match="too many connections"):
            leadership.take()
        assert "too many connections" in str(leadership.trouble)
    assert leadership.take()
    assert leadership.trouble is None

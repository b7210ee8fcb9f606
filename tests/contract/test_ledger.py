"""The ledger on real servers: its connections, and the one seam where what PostgreSQL says becomes our errors."""

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, OperationalError, StoredEvent
from psycopg.rows import dict_row

from ledger.errors import StoreFull, StoreUnavailable
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import UnknownKind
from tests.support import pg
from tests.support.ledgers import SEAL_KEY, all_rows, configure, end_sessions, wait_until


@pg.on_every_server
def test_rows_are_tuples_and_the_librarys_are_what_they_were(ledger: Ledger) -> None:
    with ledger.connection() as connection:
        assert connection.execute("SELECT 1, 'a'").fetchone() == (1, "a")
    for _ in range(4):
        with ledger.events_recorder.datastore.get_connection() as pooled:
            assert pooled.row_factory is dict_row


def test_a_failure_of_ours_leaves_the_connection_usable(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.connection() as connection:
            connection.execute("SELECT 1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with ledger.connection() as connection:
        assert connection.execute("SELECT 2").fetchone() == (2,)


@pg.on_every_server
def test_a_killed_session_is_a_store_that_is_away_and_the_next_call_gets_another(
    ledger: Ledger, database_url: str
) -> None:
    def lose_the_connection() -> None:
        with ledger.connection() as connection:
            assert end_sessions(database_url, "application_name = 'presence-ledger'")
            connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable, match="PostgreSQL does not answer"):
        lose_the_connection()

    def answers() -> bool:
        try:
            with ledger.connection() as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except StoreUnavailable:
            return False

    wait_until(answers, "a connection after the one that was killed")


def test_a_killed_commit_is_a_store_that_is_away_and_stores_nothing(ledger: Ledger, database_url: str) -> None:
    def lose_the_connection() -> None:
        with translated(), ledger.events_recorder.commit() as commit:
            commit.cursor.execute(
                "INSERT INTO current (uid, version, status, since, devices, state, body)"
                " VALUES ('u', 1, 'online', 1, '', '', '')"
            )
            assert end_sessions(database_url, "application_name = 'presence-ledger'")
            commit.notify()

    with pytest.raises(StoreUnavailable):
        lose_the_connection()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM current").fetchone() == (0,)


def test_a_server_that_is_not_there_is_a_store_that_is_away() -> None:
    with pytest.raises(StoreUnavailable):
        Ledger("postgresql://nobody@127.0.0.1:1/nothing", SEAL_KEY)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (psycopg.OperationalError("gone"), StoreUnavailable),
        (psycopg.InterfaceError("closed"), StoreUnavailable),
        (OperationalError("gone"), StoreUnavailable),
        (psycopg.errors.AdminShutdown("terminating"), StoreUnavailable),
        (psycopg.errors.ReadOnlySqlTransaction("a standby"), StoreUnavailable),
        (psycopg.errors.LockNotAvailable("lock timeout"), StoreUnavailable),
        (psycopg.errors.DiskFull("no space"), StoreFull),
    ],
)
def test_what_says_that_the_store_is_away_becomes_our_error(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(StoreUnavailable) as caught, translated():
        raise error
    assert type(caught.value) is ours
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [psycopg.errors.UniqueViolation("taken"), IntegrityError("taken"), ValueError("x")])
def test_anything_else_passes_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated():
        raise error
    assert caught.value is error


def test_the_text_of_an_error_is_one_line() -> None:
    with pytest.raises(StoreUnavailable) as caught, translated():
        raise psycopg.OperationalError("first\nsecond")
    assert str(caught.value) == "PostgreSQL does not answer: first"
    with pytest.raises(StoreUnavailable, match=r"OperationalError$"), translated():
        raise psycopg.OperationalError


@pg.on_every_server
def test_an_announced_start_is_in_each_sources_stream(ledger: Ledger) -> None:
    configure(ledger, "one", sources=("main", "other"))
    configure(ledger, "two", sources=("main", "other"))
    kinds = [(row.stream, row.version, row.kind.split(".")[0]) for row in all_rows(ledger)]
    assert kinds == [
        ("source:main", 1, "service_started"),
        ("source:main", 2, "configured"),
        ("source:other", 1, "service_started"),
        ("source:other", 2, "configured"),
        ("source:main", 3, "service_started"),
        ("source:other", 3, "service_started"),
    ]


def test_an_event_of_the_future_is_named_when_it_is_read(ledger: Ledger) -> None:
    ledger.events_recorder.insert_events([StoredEvent("user:u", 1, "erased.v1", b"{}")])
    (row,) = all_rows(ledger)
    with pytest.raises(UnknownKind):
        ledger.event(row)

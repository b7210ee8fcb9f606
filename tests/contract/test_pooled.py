"""Connections through a real PgBouncer in transaction mode: each transaction is ours, and nothing stays of it."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger.database_url import SettingUrl
from ledger.store import migrate, session, two_ways, unfit
from ledger.store.ledger import Ledger
from ledger.store.pooled import AsyncPooledConnection, PooledConnection, Route
from ledger.store.preflight import await_database
from projections.engine.switch import ONE_MOMENT
from tests.contract.test_session import HOSTILE, OURS, SHOWN, set_on_database, set_on_role
from tests.support import pg
from tests.support.ledgers import OF_THIS_DATABASE, SEAL_KEY, Bounds, assert_consistent, configure, items_of, running
from tests.support.pgbouncer import needs_pgbouncer, pgbouncer

# It is there over TCP, which is what a pooler of another user can reach.
pytestmark = [needs_pgbouncer, pytest.mark.parametrize("server", ["external"], indirect=True)]

SESSIONS = 2
OF_A_TRANSACTION = {
    name: value
    for name, value in OURS.items()
    if name not in ("idle_session_timeout", "default_transaction_isolation", "default_transaction_deferrable")
}


@pytest.fixture
def pooled_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    with pgbouncer(tmp_path / "pgbouncer", database_url, sessions=SESSIONS) as pooler:
        yield pooler.url


@pytest.fixture
def route(pooled_url: str, database_url: str) -> Route:
    return two_ways.examine(pooled_url, database_url)


@pytest.fixture
def pooled(route: Route) -> Iterator[PooledConnection]:
    with two_ways.connect(route) as connection:
        yield connection


def others(url: str) -> dict[str, str]:
    """What a client that sets nothing finds in the sessions that the pooler lends, whichever it is lent."""
    with psycopg.connect(url, prepare_threshold=None) as one, psycopg.connect(url, prepare_threshold=None) as other:
        found: list[dict[str, str]] = [
            dict(each.execute(SHOWN, (list(OF_A_TRANSACTION),)).fetchall()) for each in (one, other)
        ]
    assert found[0] == found[1]
    return found[0]


def test_every_transaction_is_ours_whatever_is_set_and_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    # A time-out that ends the pooler's own statements would be told by the preflight.
    hostile = dict(HOSTILE) | {"statement_timeout": "50000", "idle_in_transaction_session_timeout": "50000"}
    set_on_database(database_url, hostile)
    set_on_role(database_url, hostile)
    names = list(OF_A_TRANSACTION)
    with pgbouncer(tmp_path, database_url, sessions=SESSIONS) as pooler:
        url = pooler.url
        before = others(url)
        route = two_ways.examine(url, database_url)
        with two_ways.connect(route) as connection:
            assert dict(connection.execute(SHOWN, (names,)).fetchall()) == OF_A_TRANSACTION
            assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
            with connection.transaction(), connection.transaction():
                assert dict(connection.execute(SHOWN, (names,)).fetchall()) == OF_A_TRANSACTION
                assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)

        async def shown() -> list[dict[str, str]]:
            async with await AsyncPooledConnection.connect(url, settings=route.settings) as reading:
                alone: dict[str, str] = dict(await (await reading.execute(SHOWN, (names,))).fetchall())
                async with reading.transaction():
                    return [alone, dict(await (await reading.execute(SHOWN, (names,))).fetchall())]

        assert asyncio.run(shown()) == [OF_A_TRANSACTION, OF_A_TRANSACTION]
        assert others(url) == before
        assert before["TimeZone"] != OURS["TimeZone"]


def test_what_others_leave_in_a_session_does_not_reach_ours(pooled: PooledConnection, pooled_url: str) -> None:
    with psycopg.connect(pooled_url, prepare_threshold=None) as one, psycopg.connect(pooled_url) as other:
        for connection in (one, other):
            connection.execute("SET search_path = nowhere; SET TimeZone = 'Asia/Tokyo'; SET statement_timeout = '30s'")
            connection.execute("SET row_security = on")
    assert dict(pooled.execute(SHOWN, (list(OF_A_TRANSACTION),)).fetchall()) == OF_A_TRANSACTION
    assert pooled.execute("SELECT count(*) FROM events").fetchone() == (0,)


def test_transactions_end_as_they_do_elsewhere(pooled: PooledConnection, database_url: str) -> None:
    def noted() -> list[Any]:
        with session.connect(database_url) as connection:
            return [number for (number,) in connection.execute("SELECT number FROM noted ORDER BY number").fetchall()]

    pooled.execute("CREATE TABLE noted (number int PRIMARY KEY)")
    pooled.execute("INSERT INTO noted VALUES (1)")
    assert noted() == [1], "a statement is committed when it returns"
    with pytest.raises(psycopg.errors.UniqueViolation):
        pooled.execute("INSERT INTO noted VALUES (1)")
    with pooled.transaction(force_rollback=True):
        pooled.execute("INSERT INTO noted VALUES (2)")
    with pytest.raises(psycopg.errors.UniqueViolation), pooled.transaction():
        pooled.cursor().executemany("INSERT INTO noted VALUES (%s)", [(3,), (1,)])
    with pooled.transaction():
        pooled.cursor().executemany("INSERT INTO noted VALUES (%s)", [(4,), (5,)])
        with pytest.raises(psycopg.errors.UniqueViolation), pooled.transaction():
            pooled.execute("INSERT INTO noted VALUES (4)")
    pooled.cursor().executemany("INSERT INTO noted VALUES (%s)", [(6,), (7,)])
    assert noted() == [1, 4, 5, 6, 7]
    with pooled.transaction():
        pooled.execute(ONE_MOMENT.format("noted"))
        assert pooled.execute("SHOW transaction_isolation").fetchone() == ("repeatable read",)


def test_the_same_for_an_event_loop(route: Route) -> None:
    async def run() -> None:
        async with await AsyncPooledConnection.connect(route.url, settings=route.settings) as connection:
            await connection.execute("CREATE TABLE noted (number int PRIMARY KEY)")
            await connection.cursor().executemany("INSERT INTO noted VALUES (%s)", [(1,), (2,)])
            with pytest.raises(psycopg.errors.UniqueViolation):
                await connection.execute("INSERT INTO noted VALUES (1)")
            async with connection.transaction(force_rollback=True):
                await connection.execute("INSERT INTO noted VALUES (3)")
            found = await (await connection.execute("SELECT array_agg(number ORDER BY number) FROM noted")).fetchone()
            assert found == ([1, 2],)

    asyncio.run(run())


@pytest.mark.parametrize("sessions", [1, SESSIONS])
def test_a_ledger_is_written_over_as_many_sessions_as_are_lent(
    database_url: str, tmp_path: Path, sessions: int
) -> None:
    """By two instances, one of which has a body of many items: nobody holds a session while waiting for another."""
    small = [f'["u{number}-0-1-{number}-1-1"]'.encode() for number in range(1, 41)]
    large = ("[" + ",".join(f'"large{number}-0-1-{1000 + number}-1-1"' for number in range(300)) + "]").encode()
    bounds = Bounds(group_items=100)

    async def run(one: Ledger, other: Ledger) -> None:
        async with running(one, bounds=bounds) as first, running(other, "j", bounds) as second:
            posts = [(first if number % 2 else second).post(body) for number, body in enumerate(small)]
            await asyncio.gather(*posts, first.post(large))

    with pgbouncer(tmp_path, database_url, sessions=sessions) as pooler:
        route = two_ways.examine(pooler.url, database_url)
        first, second = Ledger(route, SEAL_KEY, 8), Ledger(route, SEAL_KEY, 8)
        try:
            configure(first)
            asyncio.run(run(first, second))
            assert len(items_of(first)) == len(small) + 300
            assert max(Counter(items_of(first)).values()) == 1
            assert_consistent(first)
        finally:
            first.close()
            second.close()
    with session.connect(database_url) as connection:
        left = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        held = connection.execute(
            f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {OF_THIS_DATABASE}"
        ).fetchone()
    assert (left, held) == ((0,), (0,))


def test_both_ways_lead_to_one_database_or_a_start_is_refused(pooled_url: str, server: str) -> None:
    with (
        pg.new_database(server) as other,
        pytest.raises(unfit.DatabasesDiffer, match=r"different databases.*\nName the same database"),
    ):
        two_ways.examine(pooled_url, other)


def test_a_pooler_by_statement_is_refused(database_url: str, tmp_path: Path) -> None:
    with (
        pgbouncer(tmp_path, database_url, "statement") as pooler,
        pytest.raises(unfit.PooledByTransaction, match=r"pool_mode = session, in database_session_url"),
    ):
        two_ways.examine(pooler.url, database_url)


def test_the_way_for_sessions_may_not_be_such_a_pooler(pooled_url: str, database_url: str) -> None:
    with pytest.raises(unfit.PooledByTransaction, match=r"pool_mode = transaction\).*\n.*in database_session_url"):
        migrate.examine(pooled_url)
    assert "postgresql_behind_a_pooler" not in [each.event for each in migrate.examine(database_url).warnings()]


def test_what_cannot_be_reached_is_told_by_its_setting(pooled_url: str, database_url: str) -> None:
    nowhere = SettingUrl(database_url.replace("/test_", "/no_test_"), "database_session_url")
    with pytest.raises(unfit.DatabaseMissing, match="correct the name in database_session_url"):
        two_ways.examine(pooled_url, nowhere)
    with pytest.raises(unfit.DatabaseMissing, match="correct the name in database_url"):
        two_ways.examine(pooled_url.replace("/test_", "/no_test_"), database_url)
    with pytest.raises(unfit.DatabaseMissing, match="correct the name in database_session_url"):
        await_database(nowhere, 60, lambda _: None)
    await_database(pooled_url, 60, lambda _: None, attempt=two_ways.log_in)


def test_options_are_not_sent_since_a_pooler_refuses_them(
    pooled_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=1000")
    with two_ways.connect(two_ways.examine(f"{pooled_url}?options=-cjit%3Don", database_url)) as connection:
        assert dict(connection.execute(SHOWN, (list(OF_A_TRANSACTION),)).fetchall()) == OF_A_TRANSACTION


def test_a_probe_asks_both(route: Route, database_url: str) -> None:
    assert two_ways.probe(Route(database_url)) is None
    answer = two_ways.probe(route)
    assert answer is not None
    answer(database_url)
    with pytest.raises(psycopg.OperationalError):
        answer(database_url.replace("/test_", "/no_test_"))

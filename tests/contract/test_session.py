"""The session on real servers: ours, whatever the database, the role and the environment set it to."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ledger.store import migrate, preflight, session
from ledger.store.session import AsyncPinnedConnection
from ledger.store.unfit import SessionRefused
from tests.support import pg
from tests.support.ledgers import assert_consistent, configure, items_of, opened, running

HOSTILE: Mapping[str, str] = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Shanghai",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1",
    "statement_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "600000",
    "row_security": "on",
    "synchronous_commit": "off",
    "jit": "on",
    "search_path": "",
}
OURS: Mapping[str, str] = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "lock_timeout": "0",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "row_security": "off",
    "synchronous_commit": "on",
    "jit": "off",
    "search_path": "public",
}
SHOWN = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"


def _setting(url: str) -> psycopg.Connection[Any]:
    """To set things over, whatever the environment says."""
    server = pg.with_database(url, "postgres")
    return psycopg.connect(server, autocommit=True, options="-c statement_timeout=0")


def set_on_database(url: str, settings: Mapping[str, str]) -> None:
    """Set them for all sessions to come."""
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    with _setting(url) as connection:
        for setting, value in settings.items():
            connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
            )


def set_on_role(url: str, settings: Mapping[str, str]) -> None:
    """Set them for the role's sessions in this database, which win over the database's."""
    found = psycopg.conninfo.conninfo_to_dict(url)
    names = sql.Identifier(str(found["user"])), sql.Identifier(str(found["dbname"]))
    with _setting(url) as connection:
        for setting, value in settings.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                    *names, sql.Identifier(setting), sql.Literal(value)
                )
            )


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What libpq reads from the environment."""
    for name, value in (
        ("PGCLIENTENCODING", "GBK"),
        ("PGDATESTYLE", "SQL, DMY"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGOPTIONS", "-c statement_timeout=1 -c synchronous_commit=off"),
    ):
        monkeypatch.setitem(os.environ, name, value)


@pg.on_every_server
def test_whatever_is_set_the_session_is_ours(database_url: str, environment: None) -> None:
    set_on_database(database_url, HOSTILE)
    set_on_role(database_url, HOSTILE)
    with session.connect(database_url) as connection:
        assert dict(connection.execute(SHOWN, (list(OURS),)).fetchall()) == OURS
        assert connection.autocommit
        if connection.info.server_version >= 170000:
            assert connection.execute("SHOW transaction_timeout").fetchone() == ("0",)
    with session.connect(database_url, autocommit=False) as connection:
        connection.rollback()
        assert dict(connection.execute(SHOWN, (list(OURS),)).fetchall()) == OURS

    async def shown() -> dict[str, str]:
        async with await AsyncPinnedConnection.connect(database_url) as reading:
            return dict(await (await reading.execute(SHOWN, (list(OURS),))).fetchall())

    assert asyncio.run(shown()) == OURS


def test_a_time_out_shorter_than_setting_it_takes(
    database_url: str, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_on_database(database_url, {"statement_timeout": "1"})
    statements = session._statements
    monkeypatch.setattr(session, "_statements", lambda version: f"SELECT pg_sleep(0.02); {statements(version)}")
    with session.connect(database_url) as connection:
        assert dict(connection.execute(SHOWN, (list(OURS),)).fetchall()) == OURS

    async def shown() -> dict[str, str]:
        async with await AsyncPinnedConnection.connect(database_url) as reading:
            return dict(await (await reading.execute(SHOWN, (list(OURS),))).fetchall())

    assert asyncio.run(shown()) == OURS


@pg.on_every_server
def test_the_ledger_is_the_same_whatever_is_set(empty_database_url: str, environment: None) -> None:
    url = empty_database_url
    set_on_database(url, HOSTILE)
    set_on_role(url, HOSTILE)
    migrate.apply(url)
    item = "zoë用户\U0001f600-0-1-1-1-1"

    async def run() -> None:
        with opened(url) as ledger:
            configure(ledger)
            async with running(ledger) as instance:
                await asyncio.gather(*(instance.post(f'["u{n}-0-1-{n}-1-1"]'.encode()) for n in range(1, 9)))
                await instance.post(f'["{item}"]'.encode())
            assert items_of(ledger)[-1] == item
            assert_consistent(ledger)

    asyncio.run(run())


@pytest.mark.parametrize("set_to", ["off", "local", "remote_write", "remote_apply"])
def test_a_commit_survives_a_crash(database_url: str, set_to: str) -> None:
    set_on_database(database_url, {"synchronous_commit": set_to})
    wanted = ("on" if set_to == "off" else set_to,)
    with opened(database_url, pool_size=1) as ledger:
        with ledger.connection() as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == wanted
        with ledger.events_recorder.commit() as commit:
            assert commit.connection.execute("SHOW synchronous_commit").fetchone() == wanted


def test_a_commit_survives_a_crash_whatever_its_session_was_set_to_since(database_url: str) -> None:
    with opened(database_url, pool_size=1) as ledger:
        with ledger.connection() as connection:
            connection.execute("SET synchronous_commit = off")
        with ledger.events_recorder.commit() as commit:
            assert commit.connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_server_that_does_not_know_a_setting_is_told_by_name(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PINNED", (("no_such_setting", "on", 0),))
    with pytest.raises(SessionRefused, match='unrecognized configuration parameter "no_such_setting"'):
        preflight.await_database(database_url, 300, lambda _: None)


class Schemas:
    """A database in which a role has schemas of its own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in names:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))

    def search(self, *names: str) -> None:
        """Set the path of all sessions to come."""
        database = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(self.url)["dbname"]))
        path = sql.SQL(", ").join(sql.Literal(name) for name in names)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} SET search_path = {}").format(database, path))

    def used(self) -> str:
        with session.connect(self.url) as connection:
            row = connection.execute("SHOW search_path").fetchone()
        assert row is not None
        return str(row[0])


def test_the_tables_are_found_where_they_are(empty_database_url: str) -> None:
    schemas = Schemas(empty_database_url)
    schemas.make("Its own", "later")
    schemas.search("Its own", "public")
    assert schemas.used() == '"Its own"'
    assert migrate.apply(empty_database_url)
    # Another order, or no path at all: the same ledger.
    for path in (("later", "public", "Its own"), ("",)):
        schemas.search(*path)
        assert schemas.used() == '"Its own"'
        assert migrate.apply(empty_database_url) == []


def test_two_ledgers_of_one_database_stay_apart(empty_database_url: str) -> None:
    Schemas(empty_database_url).make("one", "other")
    mark = "&" if "?" in empty_database_url else "?"
    first, second = (f"{empty_database_url}{mark}options=-csearch_path%3D{name}" for name in ("one", "other"))
    assert migrate.apply(first)
    assert Schemas(second).used() == "other"
    assert migrate.apply(second)
    assert (Schemas(first).used(), Schemas(second).used()) == ("one", "other")

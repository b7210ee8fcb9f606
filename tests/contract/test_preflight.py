"""The preflight on real servers: what a start refuses, by its name, before anything is written."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import psycopg
import pytest
from psycopg import sql

from bench._pooler import pooled
from ledger.errors import StoreUnavailable
from ledger.simulator.ports import free_port
from ledger.store import migrate, preflight, session, unfit
from ledger.store.preflight import await_database
from tests.support import pg

NOBODY = "SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE nspname = 'public'"
on_the_external_server = pytest.mark.parametrize("server", ["external"], indirect=True)

_numbers = count(1)


def execute(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True, client_encoding="UTF8") as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def name_of(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def is_empty(url: str) -> bool:
    with psycopg.connect(url, client_encoding="UTF8") as connection:
        return connection.execute(NOBODY).fetchone() == (0,)


@contextmanager
def encoded(url: str, encoding: str) -> Iterator[str]:
    """A database of another encoding."""
    name = f"encoded_{next(_numbers)}"
    provider = "LOCALE_PROVIDER libc " if "host=" in url else ""
    execute(url, f"CREATE DATABASE {{}} TEMPLATE template0 ENCODING '{encoding}' {provider}LOCALE 'C'", name)
    try:
        yield pg.with_database(url, name)
    finally:
        pg.drop_database(url, name)


@pg.on_every_server
@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_CN"])
def test_another_encoding(server: str, encoding: str) -> None:
    with encoded(server, encoding) as url:
        with pytest.raises(unfit.WrongEncoding, match=f"has the encoding {encoding}.*\n.*ENCODING 'UTF8'"):
            migrate.apply(url)
        assert is_empty(url)


@pg.on_every_server
def test_a_database_set_read_only(empty_database_url: str) -> None:
    url = empty_database_url
    execute(url, "ALTER DATABASE {} SET default_transaction_read_only = on", name_of(url))
    with pytest.raises(unfit.DatabaseReadOnly, match=r"default_transaction_read_only is on \(set by: database\)"):
        migrate.apply(url)
    assert is_empty(url)


def test_no_right_to_create(empty_database_url: str) -> None:
    execute(empty_database_url, "REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC")
    with pytest.raises(unfit.CreateRefused, match="may not make tables in the schema public"):
        migrate.apply(empty_database_url)
    assert is_empty(empty_database_url)
    execute(empty_database_url, "GRANT CREATE ON SCHEMA public TO pg_database_owner")
    migrate.apply(empty_database_url)
    # What is complete needs it no longer.
    execute(empty_database_url, "REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC")
    assert migrate.apply(empty_database_url) == []


def test_no_schema_at_all(empty_database_url: str) -> None:
    execute(empty_database_url, "DROP SCHEMA public")
    with pytest.raises(unfit.CreateRefused, match="may not make tables in the schema public"):
        migrate.apply(empty_database_url)


def test_too_few_connections(empty_database_url: str) -> None:
    url = empty_database_url
    execute(url, "ALTER DATABASE {} CONNECTION LIMIT 3", name_of(url))
    with pytest.raises(unfit.TooFewConnections, match="3 connections are allowed by CONNECTION LIMIT of the database"):
        migrate.apply(url)
    assert is_empty(url)
    execute(url, "ALTER DATABASE {} CONNECTION LIMIT 6", name_of(url))
    [warned] = [each for each in migrate.examine(url).warnings() if each.event == "postgresql_connections_few"]
    assert "6 connections are allowed" in warned.reason


@on_the_external_server
def test_who_is_not_let_in_and_what_is_not_there_is_not_waited_for(server: str) -> None:
    user, _, rest = server.removeprefix("postgresql://").partition(":")
    address = rest.partition("@")[2]
    for url, kind in (
        (f"postgresql://{user}:no-such-password@{address}", unfit.AccessRefused),
        (f"postgresql://{user}@{address}", unfit.AccessRefused),
        (f"postgresql://nobody:no-such-password@{address}", unfit.AccessRefused),
        (pg.with_database(server, "no_such_database"), unfit.DatabaseMissing),
    ):
        with pytest.raises(kind) as refused:
            await_database(url, 300, lambda _: None)
        with pytest.raises(kind):
            migrate.status(url)
        assert "no-such-password" not in str(refused.value)


@on_the_external_server
def test_a_database_that_refuses_connections_is_waited_for(database_url: str) -> None:
    found = psycopg.conninfo.conninfo_to_dict(database_url)
    heard: list[str] = []
    port = free_port()
    url = database_url.replace(f":{found['port']}/", f":{port}/")
    with pytest.raises(StoreUnavailable, match=r"did not answer: .*refused.*\nCheck database_url"):
        await_database(url, 0, heard.append)
    waited = threading.Thread(target=await_database, args=(url, 60, heard.append))
    waited.start()
    deadline = time.monotonic() + 30
    while not heard:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pooled(database_url, by_transaction=False, port=port):
        waited.join(60)
        assert not waited.is_alive()
    assert len(heard) == 1


@on_the_external_server
@pytest.mark.parametrize("by_transaction", [True, False])
def test_a_pooler_is_recognised_and_one_that_shares_sessions_refused(
    empty_database_url: str, by_transaction: bool
) -> None:
    with pooled(empty_database_url, by_transaction=by_transaction) as url:
        if by_transaction:
            with pytest.raises(unfit.PooledByTransaction, match=r"pool_mode = transaction.*\n.*pool_mode = session"):
                migrate.apply(url)
            assert is_empty(empty_database_url)
        else:
            assert "postgresql_behind_a_pooler" in [each.event for each in migrate.examine(url).warnings()]
            migrate.apply(url)


@pg.on_every_server
def test_no_pooler_is_seen_where_there_is_none(database_url: str) -> None:
    with session.connect(database_url) as connection:
        assert not preflight.examine(database_url, connection, makes_tables=False).pooled
    assert not preflight.shares_sessions(database_url)


@on_the_external_server
def test_of_several_hosts_the_first_that_takes_writes(database_url: str) -> None:
    found = psycopg.conninfo.conninfo_to_dict(database_url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        url = database_url.replace(f"@127.0.0.1:{found['port']}", f"@127.0.0.1:{port},127.0.0.1:{found['port']}")
        assert "," in url
        with session.connect(url) as connection:
            assert connection.info.port == int(str(found["port"]))
        execute(database_url, "ALTER DATABASE {} SET default_transaction_read_only = on", name_of(database_url))
        with pytest.raises(unfit.DatabaseReadOnly, match="No host"):
            await_database(url.replace(f":{port},", f":{found['port']},"), 60, lambda _: None)

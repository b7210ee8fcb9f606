"""What a start refuses by name, what it warns of, and what it waits for: the pure half of the preflight."""

import psycopg
import pytest

from ledger.errors import StoreUnavailable
from ledger.store import unfit
from ledger.store.preflight import (
    LOCK_CONNECTIONS,
    NEEDED_CONNECTIONS,
    USED_CONNECTIONS,
    Examined,
    Facts,
    PoolSizes,
    connections,
    offset_seconds,
    pools,
    refusal,
    refusals,
)

FIT = Facts(
    database="ledger",
    user="presence",
    version=150_018,
    encoding="UTF8",
    standby=False,
    read_only=False,
    read_only_by="default",
    schema="public",
    may_create=True,
    server_connections=97,
    database_connections=None,
    role_connections=None,
    superuser=False,
    fsync=True,
    full_page_writes=True,
    backend=1,
)


def test_a_database_that_is_fit() -> None:
    assert list(refusals(FIT, makes_tables=True)) == []
    assert list(Examined(FIT, pooled=False, clock_offset_seconds=0.9).warnings()) == []


@pytest.mark.parametrize(
    ("facts", "kind", "says"),
    [
        (FIT._replace(version=140_023), unfit.ServerTooOld, "PostgreSQL 14; 15 is the oldest"),
        (FIT._replace(encoding="SQL_ASCII"), unfit.WrongEncoding, "the encoding SQL_ASCII"),
        (FIT._replace(standby=True, read_only=True), unfit.DatabaseReadOnly, "is a standby"),
        (FIT._replace(read_only=True, read_only_by="database"), unfit.DatabaseReadOnly, "set by: database"),
        (FIT._replace(may_create=False), unfit.CreateRefused, "GRANT CREATE, USAGE ON SCHEMA public TO presence"),
        (FIT._replace(server_connections=3), unfit.TooFewConnections, "3 connections are allowed by max_connections"),
        (FIT._replace(database_connections=4), unfit.TooFewConnections, "4 .* CONNECTION LIMIT of the database ledger"),
        (FIT._replace(role_connections=0), unfit.TooFewConnections, "0 .* CONNECTION LIMIT of the role presence"),
    ],
)
def test_one_that_is_not(facts: Facts, kind: type[unfit.DatabaseUnfit], says: str) -> None:
    with pytest.raises(kind, match=says) as refused:
        raise next(refusals(facts, makes_tables=True))
    # Two lines: what is wrong, and the way out.
    assert str(refused.value).count("\n") == 1


def test_what_is_complete_needs_no_right_to_create() -> None:
    assert list(refusals(FIT._replace(may_create=False), makes_tables=False)) == []


def test_limits_do_not_bind_a_superuser() -> None:
    bound = FIT._replace(role_connections=1, database_connections=2)
    assert connections(bound)[0] == 1
    assert connections(bound._replace(superuser=True))[0] == 97
    assert list(refusals(FIT._replace(role_connections=NEEDED_CONNECTIONS), makes_tables=True)) == []


def test_pools_leave_something_to_those_that_lead() -> None:
    for allowed in range(NEEDED_CONNECTIONS, USED_CONNECTIONS + 1):
        sizes = pools(allowed)
        assert min(sizes.ledger - 1, sizes.short, sizes.large) >= 1
        # With the fewest alone, the seldom used one for large reads may be one too many.
        assert sum(sizes) + LOCK_CONNECTIONS <= max(allowed, NEEDED_CONNECTIONS + 1)
    assert pools(1000) == pools(USED_CONNECTIONS) == PoolSizes()
    assert pools(USED_CONNECTIONS + 4, alongside=4) == PoolSizes() != pools(USED_CONNECTIONS + 3, alongside=4)
    for allowed in range(NEEDED_CONNECTIONS + 4, USED_CONNECTIONS + 4):
        assert sum(pools(allowed, alongside=4)) + LOCK_CONNECTIONS + 4 <= max(allowed, NEEDED_CONNECTIONS + 1 + 4)
    assert pools(NEEDED_CONNECTIONS, alongside=4) == pools(NEEDED_CONNECTIONS)
    assert sum(PoolSizes()) + LOCK_CONNECTIONS == USED_CONNECTIONS


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (FIT._replace(fsync=False), "fsync is off"),
        (FIT._replace(full_page_writes=False), "full_page_writes is off"),
        (FIT._replace(role_connections=USED_CONNECTIONS - 1), "18 connections are allowed"),
    ],
)
def test_what_is_worth_a_word(facts: Facts, says: str) -> None:
    [warned] = Examined(facts, pooled=False, clock_offset_seconds=0.0).warnings()
    assert says in warned.reason


def test_the_processes_alongside_are_counted() -> None:
    examined = Examined(FIT._replace(role_connections=USED_CONNECTIONS + 1), pooled=False, clock_offset_seconds=0.0)
    assert list(examined.warnings()) == []
    [warned] = examined.warnings(alongside=2)
    assert warned.reason.endswith("an instance takes up to 21")


def test_a_pooler_and_clocks_that_differ_are_worth_a_word() -> None:
    found = [each.event for each in Examined(FIT, pooled=True, clock_offset_seconds=-1.5).warnings()]
    assert found == ["postgresql_behind_a_pooler", "clock_skew"]


@pytest.mark.parametrize(
    ("before", "told", "after", "offset"),
    [
        (10.0, 10.5, 11.0, 0.0),
        (10.0, 10.0, 11.0, 0.0),
        (10.0, 13.0, 11.0, 2.0),
        (10.0, 7.0, 11.0, -3.0),
    ],
)
def test_the_way_to_the_database_is_no_difference_of_clocks(
    before: float, told: float, after: float, offset: float
) -> None:
    assert offset_seconds(before, told, after) == offset


SERVER = 'connection failed: connection to server at "10.0.0.5", port 5432 failed: '


@pytest.mark.parametrize(
    ("said", "kind", "says"),
    [
        (
            'FATAL:  password authentication failed for user "presence"',
            unfit.AccessRefused,
            'does not accept this user with this password: password authentication failed for user "presence".',
        ),
        ("fe_sendauth: no password supplied", unfit.AccessRefused, "no password supplied"),
        ('FATAL:  role "presence" does not exist', unfit.AccessRefused, "no such user"),
        (
            'FATAL:  role "presence" is not permitted to log in',
            unfit.AccessRefused,
            "no such user, or they may not log in",
        ),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "p"', unfit.AccessRefused, "from here"),
        ('FATAL:  permission denied for database "ledger"', unfit.AccessRefused, "GRANT CONNECT"),
        ("server does not support SSL, but SSL was required", unfit.AccessRefused, "sslmode"),
        ('FATAL:  database "ledger" does not exist', unfit.DatabaseMissing, "CREATE DATABASE"),
        ("FATAL:  conversion between UTF8 and MULE_INTERNAL is not supported", unfit.WrongEncoding, "ENCODING 'UTF8'"),
        (
            'the session cannot be set as it is needed: unrecognized configuration parameter "jit"',
            unfit.SessionRefused,
            "not PostgreSQL",
        ),
        ("session is read-only", unfit.DatabaseReadOnly, "No host in database_url takes writes"),
        ("FATAL:  unsupported startup parameter: extra", unfit.PooledByTransaction, "pool_mode = session"),
    ],
)
def test_what_waiting_does_not_help(said: str, kind: type[unfit.DatabaseUnfit], says: str) -> None:
    refused = refusal(
        psycopg.OperationalError(SERVER + said + "\nMultiple connection attempts failed."), "postgresql://"
    )
    assert type(refused) is kind
    assert says in str(refused)
    assert str(refused).count("\n") == 1


@pytest.mark.parametrize(
    "said",
    [
        f"{SERVER}Connection refused\n\tIs the server running on that host?",
        f"{SERVER}FATAL:  the database system is starting up",
        f"{SERVER}FATAL:  the database system is not yet accepting connections",
        f"{SERVER}FATAL:  sorry, too many clients already",
        f"{SERVER}FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        f'{SERVER}FATAL:  too many connections for role "presence"',
        "connection timeout expired",
        "failed to resolve host 'db': [Errno -2] Name or service not known",
        f'{SERVER}致命错误:  用户 "p" Password 认证失败',
        # One of several hosts may yet come.
        f'{SERVER}FATAL:  database "ledger" does not exist\n- host: h1: connection failed: Connection refused',
    ],
)
def test_what_is_waited_for(said: str) -> None:
    refused = refusal(psycopg.OperationalError(said), "postgresql://")
    assert type(refused) is StoreUnavailable
    assert str(refused).startswith("PostgreSQL did not answer: ")
    assert str(refused).count("\n") == 1

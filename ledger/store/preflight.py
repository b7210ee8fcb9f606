"""Looks at a database before the product relies on it: refuses by name what it cannot work with, and warns of the rest.

`await_database` waits at a start for what passes by itself; `examine` looks at a database that answers. What is found
is judged by pure functions, so that every refusal has its test.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg

from ledger.database_url import setting_of
from ledger.errors import StoreUnavailable
from ledger.store import session
from ledger.store.unfit import (
    DEDICATED,
    CreateRefused,
    DatabaseReadOnly,
    DatabaseUnfit,
    PooledByTransaction,
    ServerTooOld,
    TooFewConnections,
    WrongEncoding,
    from_connection_error,
    reason,
)

OLDEST_VERSION = 15

LOCK_CONNECTIONS = 3
"""Those that lead reconciliation, a projection, and alerts: each holds its lock in a session of its own."""

NEEDED_CONNECTIONS = 3 + LOCK_CONNECTIONS
"""The least with which everything works: two that write, one that reads."""

USED_CONNECTIONS = 19
"""The most that an instance takes by itself."""

ALONGSIDE_CONNECTIONS = 2
"""The most that the process of the front takes, and that of the sinks."""


class PoolSizes(NamedTuple):
    """How many connections each pool of an instance may hold; those that lead come to them."""

    ledger: int = 10
    short: int = 4
    large: int = 2


SKEW_SECONDS = 1.0
"""By so much the clocks of service and database may differ before it is said."""

RETRY_DELAY_SECONDS = 0.5

WAY_OUT = "Check {url} and that the server runs."

_FACTS = """
SELECT current_database(), current_user,
       current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       pg_is_in_recovery() AS standby,
       current_setting('transaction_read_only') = 'on' AS read_only,
       (SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only') AS read_only_by,
       current_setting('search_path') AS schema,
       coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace
                  WHERE quote_ident(nspname) = current_setting('search_path')), false) AS may_create,
       current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) AS server_connections,
       (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()) AS database_connections,
       (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user) AS role_connections,
       (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AS superuser,
       current_setting('fsync') = 'on' AS fsync,
       current_setting('full_page_writes') = 'on' AS full_page_writes,
       pg_backend_pid() AS backend
"""

CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"


class Facts(NamedTuple):
    """What a database says of itself to the session of an instance."""

    database: str
    user: str
    version: int
    encoding: str
    standby: bool
    read_only: bool
    read_only_by: str
    schema: str
    may_create: bool
    server_connections: int
    database_connections: int | None
    role_connections: int | None
    superuser: bool
    fsync: bool
    full_page_writes: bool
    backend: int


class Warned(NamedTuple):
    """What is worth a warning but does not prevent a start: the log's event, what it says, and the way out."""

    event: str
    reason: str
    way_out: str


class Examined(NamedTuple):
    """What a look at a database that will do has found."""

    facts: Facts
    pooled: bool
    clock_offset_seconds: float
    """By how much the database's clock is ahead, at least."""

    def warnings(self, alongside: int = 0) -> Iterator[Warned]:
        """In words; `alongside`: the connections of the processes beside the instance."""
        yield from _warnings(self.facts, USED_CONNECTIONS + alongside)
        if self.pooled:
            yield Warned(
                "postgresql_behind_a_pooler",
                "there is a pooler between the service and PostgreSQL",
                "it must provide enough sessions (pool_mode = session); better name PostgreSQL's own address",
            )
        if abs(self.clock_offset_seconds) > SKEW_SECONDS:
            yield Warned("clock_skew", skew_in_words(self.clock_offset_seconds), CLOCK_WAY_OUT)


CLOCK_WAY_OUT = "synchronise both machines' clocks by NTP: an event's two instants are from different clocks"


def await_database(
    url: str,
    seconds: float,
    waits: Callable[[str], None],
    attempt: Callable[[str], None] = lambda url: session.connect(url, "start").close(),
) -> None:
    """Return once the database takes a connection; `waits` is told what for, each time that this is another.

    `attempt` raises psycopg.Error where there is none yet.

    Raises DatabaseUnfit at once where waiting does not help, StoreUnavailable after so many seconds.
    """
    deadline, told = time.monotonic() + seconds, ""
    while True:
        try:
            attempt(url)
            return
        except psycopg.Error as error:
            refused = refusal(error, url)
            if isinstance(refused, DatabaseUnfit) or time.monotonic() >= deadline:
                raise refused from error
            if (said := reason(error)) != told:
                told = said
                waits(said)
        time.sleep(min(RETRY_DELAY_SECONDS, max(0.0, deadline - time.monotonic())))


def refusal(error: psycopg.Error, url: str) -> StoreUnavailable:
    """What a connection over this URL that could not be made is called, with the way out: where the URL stands."""
    setting = setting_of(url)
    found = from_connection_error(error, setting)
    return found or StoreUnavailable(f"PostgreSQL did not answer: {reason(error)}.\n{WAY_OUT.format(url=setting)}")


def examine(url: str, connection: psycopg.Connection[Any], *, makes_tables: bool) -> Examined:
    """Look at the database of a connection. Raises DatabaseUnfit; nothing is written.

    `makes_tables`: migrations are missing, which takes more rights than to go on.
    """
    row = connection.execute(_FACTS).fetchone()
    assert row is not None
    facts = Facts(*row)
    for refused in refusals(facts, setting_of(url), makes_tables=makes_tables):
        raise refused
    pooled = facts.backend != connection.info.backend_pid
    if pooled and shares_sessions(url):
        raise PooledByTransaction(
            "The pooler in front of PostgreSQL lends sessions for one transaction each (pool_mode = transaction): "
            f"locks, LISTEN and settings of a session would be lost.\n{DEDICATED}"
        )
    return Examined(facts, pooled, clock_offset_seconds(connection))


def refusals(facts: Facts, setting: str = "database_url", *, makes_tables: bool) -> Iterator[DatabaseUnfit]:
    """Everything for which a database will not do, the most telling first; `setting` is where its URL stands."""
    if facts.version < OLDEST_VERSION * 10_000:
        yield ServerTooOld(
            f"The server is PostgreSQL {facts.version // 10_000}; {OLDEST_VERSION} is the oldest supported version.\n"
            f"Upgrade it, or name another server in {setting}."
        )
    if facts.encoding != "UTF8":
        yield WrongEncoding(
            f"The database {facts.database} has the encoding {facts.encoding}, which cannot hold every user's id.\n"
            f"Make another with CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8', and name it in {setting}."
        )
    if facts.standby:
        yield DatabaseReadOnly("The server is a standby and takes no writes.\nName the address of the primary.")
    elif facts.read_only:
        yield DatabaseReadOnly(
            f"The database {facts.database} is read-only: default_transaction_read_only is on (set by: "
            f"{facts.read_only_by}).\nSet it to off for the database and the role of {setting}."
        )
    if makes_tables and not facts.may_create:
        yield CreateRefused(
            f"The role {facts.user} may not make tables in the schema {facts.schema}.\n"
            f"Grant it: GRANT CREATE, USAGE ON SCHEMA {facts.schema} TO {facts.user}; "
            "or make a schema of its own name that it owns."
        )
    number, whose = connections(facts)
    if number < NEEDED_CONNECTIONS:
        yield TooFewConnections(
            f"{number} connections are allowed by {whose}, and an instance needs {NEEDED_CONNECTIONS} at least "
            f"(it takes up to {USED_CONNECTIONS}).\nRaise the limit for each instance of the service."
        )


def connections(facts: Facts) -> tuple[int, str]:
    """How many connections there can be at most, and what bounds them."""
    limits = [(facts.server_connections, "max_connections of the server")]
    if not facts.superuser:
        if facts.database_connections is not None:
            limits.append((facts.database_connections, f"CONNECTION LIMIT of the database {facts.database}"))
        if facts.role_connections is not None:
            limits.append((facts.role_connections, f"CONNECTION LIMIT of the role {facts.user}"))
    return min(limits)


def pools(allowed: int, alongside: int = 0) -> PoolSizes:
    """Pools that leave to those that lead, and to processes `alongside`, what they need of `allowed`.

    With the fewest that will do, the one for large reads has none of its own, and waits; so do the processes beside.
    """
    if allowed >= USED_CONNECTIONS + alongside:
        return PoolSizes()
    rest = max(allowed - LOCK_CONNECTIONS - alongside, NEEDED_CONNECTIONS - LOCK_CONNECTIONS)
    short, large = max(1, min(4, rest // 4)), max(1, min(2, rest // 8))
    return PoolSizes(max(2, min(10, rest - short - large)), short, large)


def _warnings(facts: Facts, used: int) -> Iterator[Warned]:
    for name in ("fsync", "full_page_writes"):
        if not getattr(facts, name):
            yield Warned(
                "postgresql_not_durable",
                f"{name} is off: a crash of the server's machine can lose or corrupt what was acknowledged",
                f"set {name} = on in postgresql.conf",
            )
    number, whose = connections(facts)
    if number < used:
        yield Warned(
            "postgresql_connections_few",
            f"{number} connections are allowed by {whose}, and an instance takes up to {used}",
            "raise the limit; with fewer, requests wait for one another, and more instances do not start",
        )


def shares_sessions(url: str) -> bool:
    """Whether two connections at once are given one session of the server, as by transaction pooling."""
    with session.connect(url, "start") as one, session.connect(url, "start") as other:
        mine = _backend(one)
        with other.transaction():
            theirs = _backend(other)
            # While the other is in a transaction, and holds what it was given, the first one may have to change.
            return theirs == mine or _backend(one) != mine


def _backend(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def clock_offset_seconds(connection: psycopg.Connection[Any]) -> float:
    """By how much the database's clock is ahead of this machine's at least; negative: behind."""
    before = time.time()
    row = connection.execute(CLOCK).fetchone()
    assert row is not None
    return offset_seconds(before, row[0], time.time())


def offset_seconds(before: float, told: float, after: float) -> float:
    """The offset of a clock that told its time between two instants of ours: what cannot be the way's doing."""
    return max(0.0, told - after) + min(0.0, told - before)


def skew_in_words(offset: float) -> str:
    """That the clocks differ."""
    return f"the database's clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this machine's"

"""The one place that opens sessions of PostgreSQL: each is as the product needs it, whatever is set elsewhere.

Settings of the server, the database, the role and the environment (PGCLIENTENCODING, PGTZ, PGOPTIONS …) reach every
session. What would change the meaning of our statements, or what was promised with an answer, is set here, after
connecting: so it wins over all of them, through a pooler in session mode, too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg.rows import TupleRow

from ledger import database_url

APPLICATION = "presence-ledger"

CONNECT_SECONDS = 5

# A machine that vanished gives no sign: a connection that hangs must end, and a lock that it holds with it.
_CLIENT: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}
"""What libpq does by itself; the URL may say otherwise."""

NOT_OURS = "the session cannot be set as it is needed"

_UNBOUNDED = "-c statement_timeout=0"
"""How a session begins whose own time-out is shorter than to set it takes. Not always: poolers refuse `options`."""

_PINNED = (
    # What is kept waiting on purpose sets a bound of its own.
    ("statement_timeout", "0", 0),
    ("lock_timeout", "0", 0),
    ("idle_in_transaction_session_timeout", "0", 0),
    ("idle_session_timeout", "0", 14),
    ("transaction_timeout", "0", 17),
    # A commit reads what those before it wrote, once it has the lock.
    ("default_transaction_isolation", "read committed", 0),
    ("default_transaction_deferrable", "off", 0),
    ("client_encoding", "UTF8", 0),
    # How values are written as text, in both directions.
    ("DateStyle", "ISO, YMD", 0),
    ("IntervalStyle", "postgres", 0),
    ("TimeZone", "UTC", 0),
    ("bytea_output", "hex", 0),
    ("extra_float_digits", "1", 0),
    ("standard_conforming_strings", "on", 0),
    # A policy that hides rows is an error, not a shorter answer.
    ("row_security", "off", 0),
    ("jit", "off", 11),
    # The server's half of the keepalives: a client that vanished must not keep the ledger's lock.
    ("tcp_keepalives_idle", "2", 0),
    ("tcp_keepalives_interval", "1", 0),
    ("tcp_keepalives_count", "3", 0),
    ("tcp_user_timeout", "5000", 12),
)
"""Name, value, and the version of PostgreSQL that brought it: a server that is too old is told so by the preflight."""

_OF_A_SESSION = frozenset(
    {
        "idle_session_timeout", "default_transaction_isolation", "default_transaction_deferrable", "client_encoding",
        "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout",
    }
)  # fmt: skip
"""What concerns a transaction not at all, or is said by its BEGIN or at the connection's begin."""

DURABLY: LiteralString = (
    "CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END"
)
"""What was answered for survives a crash; `local`, `remote_write` and `remote_apply` do that, too."""

_LEDGERS = """
(SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'sha256'
  WHERE c.relname = 'schema_migrations' AND c.relkind = 'r') AS ledgers (name)
"""

# The ledger's tables are in one schema: the first of the role's path that has them; without them the first that there
# is; and where the path names none, the only ledger of the database, or `public`.
_SCHEMA = f"""
SELECT set_config('search_path', quote_ident(coalesce(
         (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
            JOIN {_LEDGERS} USING (name) ORDER BY place LIMIT 1),
         current_schema(),
         (SELECT min(name) FROM {_LEDGERS} HAVING count(*) = 1),
         'public')), false),
       set_config('synchronous_commit', {DURABLY}, false)
"""  # noqa: S608  (of constants)


class PinnedConnection(psycopg.Connection[TupleRow]):
    """A connection on which the session is ours. `connect` raises psycopg.Error."""

    @classmethod
    def connect(cls, conninfo: str = "", *, autocommit: bool = False, **kwargs: Any) -> Self:
        chosen = parameters(conninfo, kwargs)
        try:
            return cls._set(super().connect(conninfo, autocommit=True, **chosen), autocommit)
        except psycopg.errors.QueryCanceled:
            return cls._set(super().connect(conninfo, autocommit=True, **_unbounded(conninfo, chosen)), autocommit)

    @staticmethod
    def _set(connection: "SessionT", autocommit: bool) -> "SessionT":
        try:
            with _in_words():
                connection.execute(_statements(connection.info.server_version))
            connection.autocommit = autocommit
        except BaseException:  # whatever ends it, nobody else holds the connection
            connection.close()
            raise
        return connection


class AsyncPinnedConnection(psycopg.AsyncConnection[TupleRow]):
    """The same for an event loop."""

    @classmethod
    async def connect(cls, conninfo: str = "", *, autocommit: bool = False, **kwargs: Any) -> Self:
        chosen = parameters(conninfo, kwargs)
        try:
            return await cls._set(await super().connect(conninfo, autocommit=True, **chosen), autocommit)
        except psycopg.errors.QueryCanceled:
            chosen = _unbounded(conninfo, chosen)
            return await cls._set(await super().connect(conninfo, autocommit=True, **chosen), autocommit)

    @staticmethod
    async def _set(connection: "AsyncSessionT", autocommit: bool) -> "AsyncSessionT":
        try:
            with _in_words():
                await connection.execute(_statements(connection.info.server_version))
            await connection.set_autocommit(autocommit)
        except BaseException:  # cancelled too: nobody else holds the connection
            await connection.close()
            raise
        return connection


SessionT = TypeVar("SessionT", bound=PinnedConnection)
AsyncSessionT = TypeVar("AsyncSessionT", bound=AsyncPinnedConnection)


def connect(url: str, name: str = "", *, autocommit: bool = True, **parameters: Any) -> PinnedConnection:
    """A connection of the caller's own; `name` says in `pg_stat_activity` what it is for. Raises psycopg.Error."""
    named = {"application_name": f"{APPLICATION} {name}".rstrip()} | parameters
    return PinnedConnection.connect(url, autocommit=autocommit, **named)


def parameters(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """What goes to libpq besides the URL; the encoding from the first byte on, so that errors can be read, too."""
    said = database_url.read(url)
    chosen = {name: value for name, value in _CLIENT.items() if name not in said}
    if "," in said.get("host", ""):
        # After a fail-over the first of several hosts may be a standby.
        chosen["target_session_attrs"] = said.get("target_session_attrs", "read-write")
    return chosen | given | {"client_encoding": "UTF8"}


def for_transactions(connection: psycopg.Connection[Any]) -> str:
    """What sets a transaction, in whatever session it runs, as this session is set: statements, each a SET LOCAL."""
    version = connection.info.server_version
    names = [name for name, _, since in _PINNED if version >= since * 10_000 and name not in _OF_A_SESSION]
    names += ["search_path", "synchronous_commit"]
    chosen = connection.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names)).fetchone()
    assert chosen is not None
    # The path is written as names, which it is made of.
    written = [value if name == "search_path" else f"'{value}'" for name, value in zip(names, chosen, strict=True)]
    return "; ".join(f"SET LOCAL {name} = {value}" for name, value in zip(names, written, strict=True))


def _unbounded(url: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The same for a session that has no time-out from its begin on."""
    said = database_url.read(url).get("options") or os.environ.get("PGOPTIONS", "")
    return parameters | {"options": f"{said} {_UNBOUNDED}".lstrip()}


@contextmanager
def _in_words() -> Iterator[None]:
    """A server that does not know a setting of ours is one that cannot be worked with, not a defect of a statement."""
    try:
        yield
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
        raise psycopg.OperationalError(f"{NOT_OURS}: {error}") from error


def _statements(server_version: int) -> str:
    sets = [f"SET {name} = '{value}'" for name, value, since in _PINNED if server_version >= since * 10_000]
    return "; ".join([*sets, _SCHEMA])

"""A ledger on a Citus cluster: which tables are spread over its workers and by what, and the step that does it.

What grows with time is spread: events by stream, what is made of them by user. What there is one row of for each user,
or few of, stays on the coordinator, where the commit lock is.
"""

from collections.abc import Callable
from typing import Any, LiteralString, NamedTuple

import psycopg
from psycopg import Connection, Cursor

from ledger.database_url import setting_of
from ledger.errors import LedgerError
from ledger.store import distributed_functions as functions
from ledger.store import preflight, session
from ledger.store.commit import COMMIT_LOCK

OLDEST_CITUS = 12
"""The first that keeps triggers and functions of each node alike, and takes PostgreSQL 15 and 16."""

COLUMNS: dict[LiteralString, LiteralString] = {
    "events": "stream",
    "drifts": "uid",
    "sessions": "uid",
    "snapshots": "uid",
    "untold": "uid",
}
"""The tables that are spread, and the column that says on which worker a row is: the first part of its key."""

_ON_WORKERS = ("payload_json(bytea)", "event_json(text, bytea)", "instant_text(bigint)")
"""Functions that workers call."""

_FACTS = """
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'citus'),
       (SELECT relkind::text FROM pg_class WHERE oid = to_regclass('events')),
       EXISTS (SELECT FROM archive_files), current_schema()
"""

_UNSEALED = """
SELECT EXISTS (SELECT FROM events WHERE position < coalesce((SELECT min(first_position) FROM seals), position + 1))
"""

_CLUSTER = """
SELECT citus_is_coordinator(), (SELECT count(*) FROM citus_get_active_worker_nodes())::int,
       EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'events'::regclass)
"""

_SETTINGS = (
    # Triggers of statements are made on each shard, where they refuse what they refuse here.
    "SET LOCAL citus.enable_unsafe_triggers = on",
    "SET LOCAL citus.multi_shard_modify_mode = 'sequential'",
    # What is copied out of a table is told for each of them.
    "SET LOCAL client_min_messages = warning",
)

_HOLD = "SELECT pg_advisory_xact_lock(%s)"

_DISTRIBUTE = "SELECT create_distributed_table(%s, %s, colocate_with => %s)"
# What was copied to the workers is still here, unseen.
_EMPTY_HERE = "SELECT truncate_local_data_after_distributing_table(%s)"

_REACH_WORKERS = "SET LOCAL citus.enable_ddl_propagation = on"
"""Again: emptying a table leaves it off."""

# Emptying is refused, too: until the end, with everybody kept out, nothing is. The triggers themselves have to stay,
# since shards are made with those that there are, and get no more.
_REFUSE_NOTHING = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
"""

_DISTRIBUTE_FUNCTION = "SELECT create_distributed_function(%s)"

_IS_DISTRIBUTED = """
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
"""
_IS_SPREAD = "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass(%s))"


class NotDistributable(LedgerError):
    """The database is no coordinator of a Citus cluster with workers, or the ledger is not ready to be spread."""


class Facts(NamedTuple):
    """What decides whether a ledger can be spread."""

    citus: str | None
    """The version of the extension; None: the database has none."""
    is_partitioned: bool
    has_archive: bool
    schema: str
    is_coordinator: bool = False
    workers: int = 0
    is_distributed: bool = False
    has_unsealed: bool = False
    """Events of an older version that no seal covers."""


def distribute(url: str, progress: Callable[[str], None] = lambda table: None) -> list[str]:
    """Spread the ledger of a database over the workers of its cluster -> the tables; none where they are already.

    In one transaction under the commit lock: who writes waits for it, and gives up where it takes long. `progress` is
    told each table as its turn comes. Raises NotDistributable, StoreUnavailable.
    """
    try:
        with session.connect(url, "migrate") as connection, connection.transaction():
            connection.execute(_HOLD, (COMMIT_LOCK,))
            facts = look(connection)
            if (reason := refusal(facts, setting_of(url))) is not None:
                raise NotDistributable(reason)
            return [] if facts.is_distributed else _distribute(connection, facts.schema, progress)
    except psycopg.OperationalError as error:
        raise preflight.refusal(error, url) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise NotDistributable(
            f"{str(error).strip()}\nThe role of {setting_of(url)} has to own the tables, and to exist on each worker."
        ) from error


def look(connection: Connection[Any]) -> Facts:
    """What there is."""
    row = connection.execute(_FACTS).fetchone()
    assert row is not None
    citus, kind, has_archive, schema = row
    facts = Facts(citus, kind == "p", has_archive, schema)
    if citus is None:
        return facts
    row = connection.execute(_CLUSTER).fetchone()
    assert row is not None
    facts = Facts(*facts[:4], *row)
    if facts.is_distributed:
        return facts
    return facts._replace(has_unsealed=connection.execute(_UNSEALED).fetchone() == (True,))


def refusal(facts: Facts, setting: str = "database_url") -> str | None:
    """Why a ledger cannot be spread, with the way out; None where it can, or is. `setting`: where its URL stands."""
    if facts.citus is None:
        return (
            "The database has no extension citus, so there are no workers to spread the ledger over.\n"
            "Make it on the coordinator and each worker (CREATE EXTENSION citus), and name the coordinator's database "
            f"in {setting}; without Citus nothing is to be done."
        )
    if int(facts.citus.partition(".")[0]) < OLDEST_CITUS:
        return (
            f"The extension citus is of version {facts.citus}; {OLDEST_CITUS} is the oldest supported one.\nUpgrade it."
        )
    if not facts.is_coordinator:
        return f"This node is a worker of its Citus cluster.\nName the coordinator's database in {setting}."
    if not facts.workers:
        return (
            "The Citus cluster has no workers.\n"
            "Add each on the coordinator: SELECT citus_add_node('host', 5432), after citus_set_coordinator_host."
        )
    if facts.is_distributed:
        return None
    if not facts.is_partitioned:
        return (
            "The table `events` is not divided yet: an older version has made it.\n"
            "Start the service, wait for `events_partitioned` in its log, and distribute then."
        )
    if facts.has_archive:
        return (
            "Events of this ledger are archived, which a distributed one cannot be.\n"
            "Set retention.events_days = 0 and run `presence-ledger archive restore` first."
        )
    if facts.has_unsealed:
        return (
            "The first events have no seal: a version before seals wrote them.\n"
            "Export a slice, and import it into a new ledger."
        )
    return None


def _distribute(connection: Connection[Any], schema: str, progress: Callable[[str], None]) -> list[str]:
    for setting in _SETTINGS:
        connection.execute(setting)
    cursor = connection.cursor()
    _adapt(cursor, schema)
    cursor.execute(_REFUSE_NOTHING)
    for table, column in COLUMNS.items():
        progress(table)
        like = "none" if column == "stream" else next(each for each in COLUMNS if COLUMNS[each] == column)
        cursor.execute(_DISTRIBUTE, (table, column, "none" if like == table else like))
    for table in COLUMNS:
        cursor.execute(_EMPTY_HERE, (table,))
    cursor.execute(_REACH_WORKERS)
    cursor.execute(functions.REFUSE_CHANGE)
    return list(COLUMNS)


def _adapt(cursor: Cursor[Any], schema: str) -> None:
    """Put in place what works otherwise where `events` is spread."""
    for statement in (
        functions.HOLD_UNTIL_WHOLE,
        functions.HOLD_EACH,
        functions.LAST_SEALED,
        functions.LAST_EVENT,
        functions.LAST_EVENT_FROM,
        functions.USER_STREAMS_AFTER,
        functions.POSITION_AT,
        functions.MAKE_ROOM,
    ):
        cursor.execute(statement)
    for (statement,) in cursor.execute(functions.AS_LOOKUP, (list(functions.LOOKUPS),)).fetchall():
        cursor.execute(statement)
    for function in _ON_WORKERS:
        cursor.execute(_DISTRIBUTE_FUNCTION, (f"{schema}.{function}",))


def is_distributed(connection: Connection[Any]) -> bool:
    """Whether the ledger of a connection is spread over workers."""
    return is_spread(connection.cursor(), "events")


def is_spread(cursor: Cursor[Any], table: str) -> bool:
    """Whether a table is."""
    row = cursor.execute(_IS_DISTRIBUTED).fetchone()
    if row is None or not row[0]:
        return False
    row = cursor.execute(_IS_SPREAD, (table,)).fetchone()
    return row is not None and bool(row[0])


def allow_exchange(cursor: Cursor[Any]) -> None:
    """Let the transaction, which has just begun, exchange tables and schemas after it has read and written.

    Of a distributed ledger it then works on one shard after another; elsewhere nothing is to be done.
    """
    if is_spread(cursor, "events"):
        for setting in _SETTINGS:
            cursor.execute(setting)


def spread_alike(cursor: Cursor[Any], schema: str, table: str) -> None:
    """Spread a new, empty table of another schema as the live one of that name is; where that one is not, nothing."""
    column = next((column for name, column in COLUMNS.items() if name == table), None)
    if column is not None and is_spread(cursor, table):
        for setting in _SETTINGS:
            cursor.execute(setting)
        cursor.execute(_DISTRIBUTE, (f'{schema}."{table}"', column, table))

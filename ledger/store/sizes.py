"""How much room the database takes, and by how much its clock is off: what figures are made of."""

import time
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection

from ledger.store.preflight import offset_seconds

_LOOK = """
SELECT extract(epoch FROM clock_timestamp())::float8, pg_database_size(current_database()),
       has_function_privilege('pg_ls_waldir()', 'EXECUTE')
"""

_WAL = "SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()"


class DatabaseFigures(NamedTuple):
    """Bytes; the clock's offset in seconds, ahead of ours, at least."""

    size: int
    wal_size: int | None
    """Of the whole server; None where our role may not see it, which wants `pg_monitor`."""
    clock_offset_seconds: float


def read(connection: Connection[Any]) -> DatabaseFigures:
    """As they are now."""
    before = time.time()
    row = connection.execute(_LOOK).fetchone()
    after = time.time()
    assert row is not None
    told, size, may_see_wal = row
    return DatabaseFigures(size, _wal_size(connection) if may_see_wal else None, offset_seconds(before, told, after))


def _wal_size(connection: Connection[Any]) -> int | None:
    try:
        row = connection.execute(_WAL).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
    assert row is not None
    return int(row[0])

"""Transactions that hold tables for long, so that they cannot be replaced: found without a lock to be waited for."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

# Of another role's session only the name is to be seen; a prepared transaction has none.
_HOLDERS = """
SELECT DISTINCT l.virtualtransaction, l.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'a session'),
       a.xact_start
  FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)
 WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT to_regclass(name)::oid FROM unnest(%s::text[]) AS name)
 ORDER BY 1
"""


class LockHolder(NamedTuple):
    """A transaction that holds a lock on a table. Its name in `transaction` is no other's while the server runs."""

    transaction: str
    pid: int | None
    name: str
    since: datetime | None

    def __str__(self) -> str:
        """As people look for it in pg_stat_activity."""
        pid = "" if self.pid is None else f" (pid {self.pid})"
        return f"{self.name}{pid}" + ("" if self.since is None else f" since {self.since.astimezone(UTC):%H:%M:%S}Z")


def long_held(connection: Connection[TupleRow], tables: Sequence[str], seconds: float) -> list[LockHolder]:
    """Those that hold any of these tables, and have for so long; those that come and go meanwhile are left out."""
    before = {holder.transaction for holder in _holders(connection, tables)}
    if not before:
        return []
    time.sleep(seconds)
    return [holder for holder in _holders(connection, tables) if holder.transaction in before]


def _holders(connection: Connection[TupleRow], tables: Sequence[str]) -> list[LockHolder]:
    return [LockHolder(*row) for row in connection.execute(_HOLDERS, (list(tables),)).fetchall()]

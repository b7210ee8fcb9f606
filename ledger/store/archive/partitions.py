"""Partitions on their way to the archive: which is the next, and the small one that takes its place."""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor, sql

from ledger.store import seals
from ledger.store.archive import table

WAITED_FOR_MS = 40
"""So long, at most, others wait behind the one that wants `events` for itself; then it lets them pass."""

# The last one is in use, or about to be.
_NEXT: LiteralString = f"""
SELECT first, before, name FROM event_partitions
 WHERE before > ({table.BEFORE}) AND first < (SELECT max(first) FROM event_partitions) ORDER BY first LIMIT 1
"""  # noqa: S608  (of constants)

_ENDS_AT = """
SELECT recorded_at FROM events WHERE position >= %s AND position < %s ORDER BY position DESC LIMIT 1
"""

_BEHIND: LiteralString = """
SELECT name, position FROM projections WHERE position < %(last)s
 UNION ALL SELECT name, position FROM followers WHERE position < %(last)s
 ORDER BY position LIMIT 1
"""

_SINK_BEHIND = "SELECT name, position FROM sinks WHERE name = ANY(%s) AND position < %s ORDER BY position LIMIT 1"

# Made by the migration `archive`.
_KEEP = "SELECT keep_of_partition(%s)"
_REPLACE = "SELECT replace_partition(%s)"  # -> the name that the small table had, and that of the other one now

_BOUND = "SELECT set_config('lock_timeout', %s, true)"
_LOCK = "LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE"


class Partition(NamedTuple):
    """A partition that is full, and when its last event was recorded; None where it has none."""

    first: int
    before: int
    name: str
    ends_at: datetime | None


class Behind(NamedTuple):
    """Who has not followed the ledger so far yet."""

    name: str
    position: int
    is_sink: bool


def next_full(connection: Connection[Any]) -> Partition | None:
    """The first partition that is not archived, if nothing will ever be added to it."""
    row = connection.execute(_NEXT).fetchone()
    if row is None or seals.last_position(connection) < row[1]:
        return None
    ends = connection.execute(_ENDS_AT, row[:2]).fetchone()
    return Partition(*row, ends and ends[0])


def behind(connection: Connection[Any], last: int, sinks: list[str]) -> Behind | None:
    """Who still needs what comes before a position: of projections, the agenda and these sinks the last one."""
    row = connection.execute(_BEHIND, {"last": last}).fetchone()
    if row is not None:
        return Behind(*row, is_sink=False)
    row = connection.execute(_SINK_BEHIND, (sinks, last)).fetchone()
    return None if row is None else Behind(*row, is_sink=True)


def keep(connection: Connection[Any], partition: str) -> None:
    """Make the small table that is to take a partition's place, with what sources said in it; it is left over so far."""
    cursor = connection.cursor()
    row = cursor.execute(_KEEP, (partition,)).fetchone()
    assert row is not None
    table.note(cursor, [row[0]], are_tables=True)


def replace(cursor: Cursor[Any], partition: str) -> None:
    """Put it there, within the caller's transaction, and note the other one to be dropped.

    Raises psycopg.errors.LockNotAvailable where somebody reads `events` for longer than others may wait.
    """
    cursor.execute(_BOUND, (f"{WAITED_FOR_MS}ms",))
    cursor.execute(_LOCK)
    row = cursor.execute(_REPLACE, (partition,)).fetchone()
    assert row is not None
    kept, detached = row[0]
    table.forget(cursor, kept)
    table.note(cursor, [detached], are_tables=True)


def drop(connection: Connection[Any], name: str) -> None:
    """Drop a table that was replaced; nobody waits for it."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))

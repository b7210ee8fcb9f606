"""Removes sessions from their table whose end is archived: the one place that knows how far that went.

Readers know the position first, and the rows go after it, a stretch of the table a transaction: so whatever is killed
in between, no answer lacks a row, and nobody waits but the projection, for a stretch.
"""

from typing import Any, LiteralString

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.store.archive import table
from ledger.store.archive.table import BEFORE
from projections.engine import checkpoints, switch

TRIMMED: LiteralString = "coalesce((SELECT before FROM sessions_trimmed), 0)"
"""An expression: sessions that ended before this position may be missing in `sessions`; 0: none is."""

BLOCKS_AT_ONCE = 500
"""Of 8 kB: some 25,000 rows."""

_DONE = "SELECT done FROM sessions_trimmed"

_MARK = """
INSERT INTO sessions_trimmed (before, done) VALUES (%s, 0)
    ON CONFLICT (one) DO UPDATE SET before = greatest(sessions_trimmed.before, excluded.before)
"""

_MARK_DONE = "UPDATE sessions_trimmed SET done = greatest(done, %s)"

# By place, since no index has the end's position; a row that ended so early never moves.
_REMOVE: LiteralString = "DELETE FROM sessions WHERE ended_position < %s AND ctid >= %s::tid"
_UP_TO: LiteralString = " AND ctid < %s::tid"

_BLOCKS = "SELECT pg_relation_size('sessions') / current_setting('block_size')::bigint"

_KEEP: LiteralString = f"""
CREATE UNLOGGED TABLE {switch.SCHEMA}.kept_sessions AS
SELECT * FROM {switch.SCHEMA}.sessions WHERE ended_position IS NULL OR ended_position >= ({BEFORE})
"""  # noqa: S608  (of constants)

_PUT_BACK: LiteralString = f"""
INSERT INTO {switch.SCHEMA}.sessions SELECT * FROM {switch.SCHEMA}.kept_sessions
"""  # noqa: S608  (of constants)

_MARK_REBUILT: LiteralString = f"""
INSERT INTO {switch.SCHEMA}.sessions_trimmed (before, done) SELECT {BEFORE}, {BEFORE}
"""


def trim(connection: Connection[TupleRow], blocks_at_once: int = BLOCKS_AT_ONCE) -> int:
    """Remove the sessions that ended before the archive's end -> their number.

    A connection in autocommit: each stretch is a transaction of its own. To be run by the one that archives.
    """
    before = table.before(connection)
    row = connection.execute(_DONE).fetchone()
    if before <= (row[0] if row is not None else 0):
        return 0
    removed, block, is_last = 0, 0, False
    while not is_last:
        with connection.transaction():
            cursor = connection.cursor()
            # The projection waits for this, and so does a rebuild that is about to put another table in place.
            checkpoints.hold(cursor, "sessions")
            cursor.execute(_MARK, (before,))
            is_last = block + blocks_at_once >= _blocks(cursor)
            removed += _remove(cursor, before, block, None if is_last else block + blocks_at_once)
            if is_last:
                cursor.execute(_MARK_DONE, (before,))
        block += blocks_at_once
    return removed


def trim_rebuilt(cursor: Cursor[Any]) -> None:
    """Have a rebuild of the projection leave out what would be removed; the new table is no larger than the rest."""
    if not table.before(cursor.connection):
        return
    cursor.execute(_KEEP)
    cursor.execute(f"TRUNCATE {switch.SCHEMA}.sessions")
    cursor.execute(_PUT_BACK)
    cursor.execute(f"DROP TABLE {switch.SCHEMA}.kept_sessions")
    cursor.execute(_MARK_REBUILT)


def _blocks(cursor: Cursor[Any]) -> int:
    row = cursor.execute(_BLOCKS).fetchone()
    assert row is not None
    blocks: int = row[0]
    return blocks


def _remove(cursor: Cursor[Any], before: int, first: int, end: int | None) -> int:
    """Without an end all the rest, and whatever is elsewhere than in this table's own blocks."""
    if end is None:
        return cursor.execute(_REMOVE, (before, f"({first},0)")).rowcount
    return cursor.execute(_REMOVE + _UP_TO, (before, f"({first},0)", f"({end},0)")).rowcount

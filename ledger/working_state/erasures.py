"""Who was erased, by a keyed hash, and which erasures are under way: the one place that knows the table.

While one is under way its row has the uid: streams tell that the user is gone, sinks forget them. What a look, a sink
or a list has left of them by then is removed when all have done their part. Then the row has an empty name, which no
user has, until PostgreSQL has been told to reuse the space: so whichever instance is there after a crash does that.
"""

import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor, sql

from ledger.domain.observation import Instant
from ledger.store.seal import SealKey

PER_USER_TABLES: Sequence[LiteralString] = (
    "canaries",
    "canary_times",
    "current",
    "drifts",
    "looks",
    "reads",
    "sessions",
    "sink_users",
    "snapshots",
    "untold",
)
"""All tables with a column `uid`, but for those of lists, whose changes are told."""

LIST_TABLES: Sequence[LiteralString] = ("list_members", "list_watchers")

_PURPOSE = b"presence ledger erased user\n"

_ADD = """
INSERT INTO erasures (position, key_id, uid_hash, at, under_way) VALUES (%s, %b, %b, %s, %s)
"""

_FIND = """
SELECT max(position) FROM erasures
  JOIN unnest(%s::bytea[], %s::bytea[]) AS asked (key_id, uid_hash) USING (key_id, uid_hash)
"""

_BETWEEN = (
    "SELECT position, nullif(under_way, ''), recorded_at FROM erasures"
    " WHERE position > %s AND position <= %s ORDER BY position"
)

_UNDER_WAY = """
SELECT position, under_way, recorded_at FROM erasures WHERE under_way <> '' ORDER BY position
"""

_DUE = """
SELECT position, under_way, recorded_at FROM erasures
 WHERE under_way <> '' AND recorded_at <= clock_timestamp() - make_interval(secs => %s)
 ORDER BY position FOR UPDATE SKIP LOCKED
"""

_DONE = "UPDATE erasures SET under_way = '' WHERE position = %s"
_TO_OVERWRITE = "SELECT position FROM erasures WHERE under_way = '' ORDER BY position"
_OVERWRITTEN = "UPDATE erasures SET under_way = NULL WHERE under_way = '' AND position = ANY(%s)"

_NAMED: LiteralString = "SELECT 1 FROM {} WHERE uid = %(uid)s"

# What a sink, a look or the like has written meanwhile goes where an erasure is finished, as does that they were on a
# list. Who has come again since is in `current`.
_LEFT: LiteralString = f"{_NAMED} AND NOT EXISTS (SELECT 1 FROM erasures WHERE under_way = %(uid)s)"  # noqa: S608
_LISTED: LiteralString = f"{_NAMED} AND removed_by IS NULL"

LAST: LiteralString = "coalesce((SELECT position FROM erasures ORDER BY position DESC LIMIT 1), 0)"
"""An expression for the position of the last erasure, 0 while there is none."""

IS_UNDER_WAY: LiteralString = "EXISTS (SELECT 1 FROM erasures WHERE under_way IS NOT NULL)"
"""An expression: somebody is being erased, so that rows of theirs may still be removed."""

NOT_OF_LATE: LiteralString = """
NOT EXISTS (SELECT 1 FROM erasures WHERE recorded_at > clock_timestamp() - interval '10 minutes')
"""
"""An expression: nobody was erased so lately that somebody may still be about to write what they had read before."""


class ErasureRow(NamedTuple):
    """An erasure; `uid` while it is under way."""

    position: int
    uid: str | None
    recorded_at: datetime


def uid_hash(uid: str, key: SealKey) -> bytes:
    """What an erasure has of the uid on record."""
    return hmac.digest(key.secret, _PURPOSE + uid.encode(), "sha256")


def add(cursor: Cursor[Any], position: int, uid: str, key: SealKey, at: Instant) -> None:
    """Note an erasure within the transaction of its event."""
    cursor.execute(_ADD, (position, key.id, uid_hash(uid, key), at, uid))


def find(connection: Connection[Any], uid: str, keys: Sequence[SealKey]) -> int | None:
    """The position of the last erasure of a user, by any of these keys."""
    asked = [key.id for key in keys], [uid_hash(uid, key) for key in keys]
    row = connection.execute(_FIND, asked).fetchone()
    return row and row[0]


def between(connection: Connection[Any], after: int, up_to: int) -> list[ErasureRow]:
    """The erasures after one position and up to another."""
    return [ErasureRow(*row) for row in connection.execute(_BETWEEN, (after, up_to))]


def last_position(connection: Connection[Any]) -> int:
    """Of the last erasure, 0 while there is none."""
    row = connection.execute(f"SELECT {LAST}").fetchone()
    assert row is not None
    position: int = row[0]
    return position


def under_way(connection: Connection[Any]) -> list[ErasureRow]:
    """Those that streams, sinks or Redis have still a part in."""
    return [ErasureRow(*row) for row in connection.execute(_UNDER_WAY)]


def due(cursor: Cursor[Any], seconds: float) -> list[ErasureRow]:
    """Those of so many seconds ago that are still under way, and nobody else is finishing."""
    return [ErasureRow(*row) for row in cursor.execute(_DUE, (seconds,))]


def finish(cursor: Cursor[Any], row: ErasureRow) -> None:
    """All have done their part: remove what they have left of the user, unless they came again, and the uid."""
    for table in PER_USER_TABLES:
        remains = "DELETE FROM {} WHERE uid = %(uid)s AND NOT EXISTS (SELECT 1 FROM current WHERE uid = %(uid)s)"
        cursor.execute(sql.SQL(remains).format(sql.Identifier(table)), {"uid": row.uid})
    for table in LIST_TABLES:
        left = "DELETE FROM {} WHERE uid = %s AND removed_by IS NOT NULL"
        cursor.execute(sql.SQL(left).format(sql.Identifier(table)), (row.uid,))
    cursor.execute(_DONE, (row.position,))


def to_overwrite(connection: Connection[Any]) -> list[int]:
    """The positions of those that are finished, of which PostgreSQL has the space still to reuse."""
    return [position for (position,) in connection.execute(_TO_OVERWRITE)]


def overwritten(connection: Connection[Any], positions: Sequence[int]) -> None:
    """PostgreSQL has been told to, since these were finished."""
    connection.execute(_OVERWRITTEN, (list(positions),))


def names(connection: Connection[Any], uid: str) -> bool:
    """Whether any of these tables names a user, but for what an erasure that is under way will remove."""
    asked = [(_NAMED, "current"), *((_LEFT, table) for table in (*PER_USER_TABLES, *LIST_TABLES))]
    asked += [(_LISTED, table) for table in LIST_TABLES]
    there = [sql.SQL("EXISTS ({})").format(sql.SQL(named).format(sql.Identifier(table))) for named, table in asked]
    row = connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" OR ").join(there)), {"uid": uid}).fetchone()
    return row is not None and bool(row[0])


def remove(cursor: Cursor[Any], uid: str) -> None:
    """Remove a user's rows, but for those of lists."""
    for table in PER_USER_TABLES:
        cursor.execute(sql.SQL("DELETE FROM {} WHERE uid = %s").format(sql.Identifier(table)), (uid,))

"""Which files the archive has, and what of it is to be removed: the one place that knows its two tables."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from psycopg import Connection, Cursor

from ledger.store.archive.manifest import Manifest

BEFORE: LiteralString = "coalesce((SELECT before FROM archive_files ORDER BY first DESC LIMIT 1), 0)"
"""An expression: the first position that `events` has all of; 0 where nothing was archived."""

# Of what was archived the seals tell it: those events are not all in the table.
RECORDED_AT: LiteralString = f"""
(SELECT recorded_at FROM events WHERE position = %(position)s)
 UNION ALL
(SELECT recorded_at FROM seals
  WHERE %(position)s < ({BEFORE}) AND first_position = (SELECT max(first_position) FROM seals
                                                    WHERE first_position <= %(position)s)
    AND last_position >= %(position)s)
 LIMIT 1
"""  # noqa: S608  (of constants)
"""When the event of a position was recorded."""

_COLUMNS: LiteralString = "first, before, partition, name, events, size, sha256, recorded_from, recorded_to"

_READ = f"SELECT {_COLUMNS} FROM archive_files WHERE before > %s AND first <= %s AND events > 0 ORDER BY first"  # noqa: S608

_HAS = "SELECT FROM archive_files WHERE name = %s"

_ADD = f"INSERT INTO archive_files ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608

_LAST_PARTITION = "SELECT partition FROM archive_files ORDER BY first DESC LIMIT 1"

_OF_PARTITION = f"SELECT {_COLUMNS} FROM archive_files WHERE partition = %s ORDER BY first"  # noqa: S608

_DROP_PARTITION = "DELETE FROM archive_files WHERE partition = %s RETURNING name"

_REMOVE = "DELETE FROM archive_files WHERE name = %s"

_NOTE = "INSERT INTO archive_leftovers (name, is_table) VALUES (%s, %s) ON CONFLICT DO NOTHING"

_FORGET = "DELETE FROM archive_leftovers WHERE name = %s"

# What a commit brings into use it takes from here, and holds until it is known what became of it: also where it waits
# for a standby, and whoever asked for it is gone.
_CONDEMN: LiteralString = """
UPDATE archive_leftovers SET noted_at = '-infinity'
 WHERE name IN (SELECT name FROM archive_leftovers WHERE NOT is_table AND {} FOR UPDATE SKIP LOCKED)
RETURNING name
"""
_CONDEMN_OF = _CONDEMN.format("name = ANY(%s)")
_CONDEMN_OLD = _CONDEMN.format("noted_at <= clock_timestamp() - make_interval(secs => %s)")

_USE = "DELETE FROM archive_leftovers WHERE name = %s AND noted_at > '-infinity'"

_STILL_WRITTEN = (
    "UPDATE archive_leftovers SET noted_at = clock_timestamp() WHERE name = ANY(%s) AND noted_at > '-infinity'"
)

_NAMES = "SELECT name FROM archive_files UNION ALL SELECT name FROM archive_leftovers WHERE NOT is_table"

_TABLES_LEFT = "SELECT name FROM archive_leftovers WHERE is_table"

UNBOUNDED = 2**62


class FileGone(Exception):
    """A file was removed as left over before it came into use: it is to be written anew."""


def is_there(connection: Connection[Any]) -> bool:
    """Whether the tables are: a version before the archive had none."""
    return connection.execute("SELECT to_regclass('archive_files') IS NOT NULL").fetchone() == (True,)


def before(connection: Connection[Any]) -> int:
    """The first position that `events` has all of; what sources said it has of all. 0 where nothing was archived."""
    row = connection.execute(f"SELECT {BEFORE}").fetchone()
    assert row is not None
    position: int = row[0]
    return position


def read(connection: Connection[Any], first: int = 0, last: int = UNBOUNDED) -> list[Manifest]:
    """The files in order, or those for some of the positions from one to another; none for positions without events."""
    return [Manifest(*row) for row in connection.execute(_READ, (first, last)).fetchall()]


def has(connection: Connection[Any], name: str) -> bool:
    """Whether a file is one of the archive now, outside of any snapshot; one that an erasure has replaced is not."""
    return connection.execute(_HAS, (name,)).fetchone() is not None


def last_partition(connection: Connection[Any]) -> str | None:
    """The last partition that is archived; None where none is."""
    row = connection.execute(_LAST_PARTITION).fetchone()
    return row and row[0]


def of_partition(connection: Connection[Any], partition: str) -> list[Manifest]:
    """Its files in order, and what stands for those that hold nothing any more."""
    return [Manifest(*row) for row in connection.execute(_OF_PARTITION, (partition,)).fetchall()]


def drop_partition(cursor: Cursor[Any], partition: str) -> None:
    """A partition is archived no longer; its files are left over then."""
    names = [name for (name,) in cursor.execute(_DROP_PARTITION, (partition,)).fetchall()]
    note(cursor, names)


def add(cursor: Cursor[Any], manifests: Iterable[Manifest]) -> None:
    """Bring files into use that were noted to be removed. Raises FileGone."""
    for manifest in manifests:
        if manifest.events and not cursor.execute(_USE, (manifest.name,)).rowcount:
            raise FileGone
        cursor.execute(_ADD, manifest)


def replace(cursor: Cursor[Any], old: Manifest, new: Manifest) -> None:
    """Have a file in another one's place, which is left over then. Raises FileGone."""
    cursor.execute(_REMOVE, (old.name,))
    note(cursor, [old.name])
    add(cursor, [new])


def note(cursor: Cursor[Any], names: Sequence[str], *, are_tables: bool = False) -> None:
    """Note what is to be removed, unless it comes into use first."""
    for name in names:
        cursor.execute(_NOTE, (name, are_tables))


def still_written(cursor: Cursor[Any], names: Sequence[str]) -> None:
    """Note anew that files may come into use: somebody is still at them."""
    cursor.execute(_STILL_WRITTEN, (list(names),))


def condemn(connection: Connection[Any], names: Sequence[str]) -> list[str]:
    """Those of these files that are left over, and come into no use any more."""
    return [name for (name,) in connection.execute(_CONDEMN_OF, (list(names),)).fetchall()]


def condemn_old(connection: Connection[Any], seconds: float) -> list[str]:
    """Files that have been left over for so long, and come into no use any more."""
    return [name for (name,) in connection.execute(_CONDEMN_OLD, (seconds,)).fetchall()]


def names(connection: Connection[Any]) -> set[str]:
    """Of all files that are of the archive, or left over of it."""
    return {name for (name,) in connection.execute(_NAMES).fetchall()}


def tables_left(connection: Connection[Any]) -> list[str]:
    """Tables that are left over."""
    return [name for (name,) in connection.execute(_TABLES_LEFT).fetchall()]


def forget(cursor: Cursor[Any], name: str) -> None:
    """It is gone, or in use."""
    cursor.execute(_FORGET, (name,))

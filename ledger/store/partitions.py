"""The partitions of `events`: which there are, and more room. The one place that knows `event_partitions`."""

from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor

ROOM: LiteralString = "SELECT before FROM event_partitions ORDER BY first DESC LIMIT 1"
"""The first position that there is no room for."""

_LOOK: LiteralString = f"""
SELECT c.relkind = 'p', (SELECT count(*) FROM event_partitions),
       coalesce((SELECT position FROM last_event()), 0) + 1
         >= (SELECT first FROM event_partitions ORDER BY first DESC LIMIT 1),
       ({ROOM})
  FROM pg_class AS c WHERE c.oid = to_regclass('events')
"""  # noqa: S608  (of constants)

# Made by the migration `partitions`.
_MAKE_ROOM = "SELECT make_events_room(%s)"


class Partitions(NamedTuple):
    """How far `events` is provided for."""

    is_partitioned: bool
    """False: it is still one plain table, a large one of an older version, which is to become the first partition."""
    number: int
    is_last_in_use: bool
    """Whether the next event goes to the last of them."""
    room: int
    """The first position that there is no room for."""


def divides(connection: Connection[Any]) -> bool:
    """Whether there are several, of whose events no one key can tell; not in what an older version left."""
    there = connection.execute("SELECT to_regclass('event_partitions') IS NOT NULL").fetchone()
    return there == (True,) and look(connection).number > 1


def look(connection: Connection[Any]) -> Partitions:
    """As they are now."""
    row = connection.execute(_LOOK).fetchone()
    assert row is not None
    return Partitions(*row)


def make_room(cursor: Cursor[Any], up_to: int) -> int:
    """Make room up to a position at least, within the caller's transaction -> the first one without room then.

    Nobody waits for it, unless `events` is still a plain table.
    """
    row = cursor.execute(_MAKE_ROOM, (up_to,)).fetchone()
    assert row is not None
    room: int = row[0]
    return room

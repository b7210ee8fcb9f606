"""How far each projection has followed the ledger: checkpoints, stops and skips; the one place of their two tables."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.store import seals
from ledger.working_state import erasures

INLINE = "current"
"""The projection that is written with the events: it has no checkpoint, since it is never behind."""

HEAD: LiteralString = "coalesce((SELECT position FROM last_event()), 0)"
"""An expression for the ledger's last position, 0 while it is empty."""

# Built on events of which the ledger no longer has the seal.
_IS_ASTRAY: LiteralString = (
    f"p.anchor IS NOT NULL AND p.anchor IS DISTINCT FROM ({seals.UPTO.format('p.anchor_position')})"
)

_HEAD: LiteralString = f"SELECT {HEAD}"

# Head and checkpoints of one moment, so that a lag is never below zero.
READ: LiteralString = f"""
SELECT name, position, stopped_position, stopped_reason, updated_at,
       {HEAD}, {_IS_ASTRAY}
  FROM projections AS p ORDER BY name
"""  # noqa: S608  (of constants)

# Of one projection, named in the query.
POSITION_OF: LiteralString = "coalesce((SELECT position FROM projections WHERE name = '{}'), 0)"

_LOCK: LiteralString = f"""
SELECT position, updated_at, stopped_position,
       (SELECT array_agg(position) FROM projection_skips AS s WHERE s.name = p.name AND s.position > p.position),
       {_IS_ASTRAY}, {erasures.LAST}
  FROM projections AS p WHERE name = %s FOR UPDATE OF p{{}}
"""  # noqa: S608  (of constants)
_LEAD = _LOCK.format(" SKIP LOCKED")
_HOLD = _LOCK.format("")
_HOLD_ALL = "SELECT name FROM projections ORDER BY name FOR UPDATE"

# With the seal of what it was built on.
_MOVE: LiteralString = f"""
UPDATE projections
   SET position = %(position)s, stopped_position = %(stopped)s, stopped_reason = %(reason)s,
       updated_at = clock_timestamp(), anchor_position = %(position)s, anchor = ({seals.UPTO.format("%(position)s")})
 WHERE name = %(name)s
RETURNING updated_at
"""  # noqa: S608  (of constants)

_RESUME = "UPDATE projections SET stopped_position = NULL, stopped_reason = NULL WHERE name = %s"

_SKIP = """
INSERT INTO projection_skips (name, position, reason) SELECT name, stopped_position, stopped_reason
  FROM projections WHERE name = %s
"""

_SKIPS = "SELECT position FROM projection_skips WHERE name = %s"
_UNSKIP = "DELETE FROM projection_skips WHERE name = %s AND position = ANY(%s)"


class LockedCheckpoint(NamedTuple):
    """How far a projection has come, its row locked."""

    position: int
    updated_at: datetime
    """When it was last moved, by whichever process."""
    stopped_position: int | None
    skips: frozenset[int]
    """Later events that an operator told it to leave out."""
    is_astray: bool = False
    """It was built on events that are no longer in the ledger, so it is to be rebuilt."""
    erased_at: int = 0
    """The position of the last erasure: what was read of the ledger before it may name whom it erased."""


class Checkpoint(NamedTuple):
    """How far a projection has come, as operators see it."""

    name: str
    position: int
    stopped_position: int | None
    stopped_reason: str | None
    updated_at: datetime | None
    head: int
    is_astray: bool = False
    """It was built on events that are no longer in the ledger."""
    inline: bool = False
    """Written with the events themselves."""

    @property
    def lag(self) -> int:
        """How many positions it has still to go. Where events were removed it has gone further than the ledger does."""
        return max(0, self.head - self.position)

    @property
    def state(self) -> str:
        """`following`, `stopped`, `astray` or `inline`."""
        if self.is_astray:
            return "astray"
        if self.stopped_position is not None:
            return "stopped"
        return "inline" if self.inline else "following"


def from_rows(rows: Sequence[TupleRow]) -> list[Checkpoint]:
    """The checkpoints in the rows of `READ`, after that of the projection that is never behind."""
    found = [Checkpoint(*row) for row in rows]
    head = max((each.head for each in found), default=0)
    return [Checkpoint(INLINE, head, None, None, None, head, inline=True), *found]


def read(connection: Connection[TupleRow]) -> list[Checkpoint]:
    """Every projection's checkpoint, of one moment."""
    return from_rows(connection.execute(READ).fetchall())


def head(cursor: Connection[TupleRow] | Cursor[Any]) -> int:
    """The ledger's last position, 0 while it is empty."""
    row = cursor.execute(_HEAD).fetchone()
    assert row is not None
    return int(row[0])


def lead(cursor: Cursor[Any], name: str) -> LockedCheckpoint | None:
    """Lead a projection until the transaction ends; None where another process does."""
    return _lock(cursor, _LEAD, name)


def hold(cursor: Cursor[Any], name: str) -> LockedCheckpoint | None:
    """The same, waiting for the process that leads it; None where there is no such projection."""
    return _lock(cursor, _HOLD, name)


def hold_all(cursor: Cursor[Any]) -> None:
    """Have every projection wait until the transaction ends, once what is being written of them is."""
    cursor.execute(_HOLD_ALL)


def _lock(cursor: Cursor[Any], query: LiteralString, name: str) -> LockedCheckpoint | None:
    row = cursor.execute(query, (name,)).fetchone()
    return None if row is None else LockedCheckpoint(row[0], row[1], row[2], frozenset(row[3] or ()), row[4], row[5])


def move(cursor: Cursor[Any], name: str, position: int) -> datetime:
    """What stands in the projection's tables is as of that position -> when it was moved there."""
    return _move(cursor, name, position, None, None)


def stop(cursor: Cursor[Any], name: str, position: int, stopped_position: int, reason: str) -> datetime:
    """It has come to `position`, and cannot take the event at `stopped_position`."""
    return _move(cursor, name, position, stopped_position, reason)


def _move(cursor: Cursor[Any], name: str, position: int, stopped: int | None, reason: str | None) -> datetime:
    asked = {"name": name, "position": position, "stopped": stopped, "reason": reason}
    row = cursor.execute(_MOVE, asked).fetchone()
    assert row is not None
    moved_at: datetime = row[0]
    return moved_at


def skip(cursor: Cursor[Any], name: str) -> None:
    """Leave out the event at which the projection is stopped, on record, and go on."""
    cursor.execute(_SKIP, (name,))
    cursor.execute(_RESUME, (name,))


def skips(cursor: Cursor[Any], name: str) -> frozenset[int]:
    """The events that an operator told the projection to leave out."""
    return frozenset(position for (position,) in cursor.execute(_SKIPS, (name,)).fetchall())


def unskip(cursor: Cursor[Any], name: str, positions: Sequence[int]) -> None:
    """These events have been taken after all."""
    cursor.execute(_UNSKIP, (name, list(positions)))

"""How far the agenda has heard the ledger; the one place that knows the table."""

from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

_POSITION = "SELECT position FROM followers WHERE name = 'agenda'"
_FOLLOWED = "UPDATE followers SET position = %s WHERE name = 'agenda'"


def followed(connection: Connection[TupleRow]) -> int:
    """The position up to which the agenda has heard the ledger."""
    row = connection.execute(_POSITION).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def note_followed(cursor: Cursor[Any], position: int) -> None:
    """The agenda has heard the ledger up to there."""
    cursor.execute(_FOLLOWED, (position,))

"""How far the agenda has heard the ledger; the one place that knows the table."""

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.working_state import canaries, erasures

_POSITION = "SELECT position FROM followers WHERE name = 'agenda'"
_FOLLOWING: LiteralString = f"""
SELECT position, {erasures.IS_UNDER_WAY}, ARRAY({canaries.EVER}) FROM followers WHERE name = 'agenda'
"""  # noqa: S608  (of constants)
_FOLLOWED = "UPDATE followers SET position = %s WHERE name = 'agenda'"


class Following(NamedTuple):
    """Where the agenda goes on hearing the ledger, and by whom watches are removed that it does not hear of."""

    position: int
    """The last one that it has heard."""
    erasing: bool
    """Somebody's erasure is under way."""
    canaries: Sequence[str]
    """Whoever is a canary, or was once."""


def followed(connection: Connection[TupleRow]) -> int:
    """The position up to which the agenda has heard the ledger."""
    row = connection.execute(_POSITION).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def following(connection: Connection[TupleRow]) -> Following:
    """The same, with what else removes watches."""
    row = connection.execute(_FOLLOWING).fetchone()
    assert row is not None
    return Following(*row)


def note_followed(cursor: Cursor[Any], position: int) -> None:
    """The agenda has heard the ledger up to there."""
    cursor.execute(_FOLLOWED, (position,))

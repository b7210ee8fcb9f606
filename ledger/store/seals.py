"""The one place that knows the table `seals`: one row for each run of positions, written with the events it seals."""

from typing import Any

from psycopg import Cursor

from ledger.store.seal import Seal

LAST = "SELECT seal, last_position FROM seals ORDER BY first_position DESC LIMIT 1"
"""What the next seal stands on, and the last position that is sealed."""

_INSERT = """
INSERT INTO seals (first_position, last_position, recorded_at, key_id, digests, seal) VALUES (%s, %s, %s, %b, %b, %b)
"""


def write(cursor: Cursor[Any], seal: Seal | None) -> None:
    """Store a seal, if there is one, in the transaction of its events."""
    if seal is not None:
        cursor.execute(_INSERT, seal)

"""The backups that were made of a database: the one place that knows the table."""

from datetime import datetime
from typing import Any, LiteralString

from psycopg import Connection

_MADE: LiteralString = """
INSERT INTO backups (made_at, head) VALUES (coalesce(%s, clock_timestamp()), %s) ON CONFLICT DO NOTHING
"""

_LAST_BEFORE: LiteralString = """
SELECT max(made_at), extract(epoch FROM clock_timestamp() - max(made_at))::float8 FROM backups WHERE head < %s
"""


def note(connection: Connection[Any], head: int, made_at: datetime | None = None) -> None:
    """One was made, just now or then, up to this position; a database of an older version has no place for it."""
    if connection.execute("SELECT to_regclass('backups') IS NOT NULL").fetchone() == (True,):
        connection.execute(_MADE, (made_at, head))


def last_before(connection: Connection[Any], position: int) -> tuple[datetime, float] | None:
    """When the last one was made that ends before a position, and how many seconds ago."""
    row = connection.execute(_LAST_BEFORE, (position,)).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])

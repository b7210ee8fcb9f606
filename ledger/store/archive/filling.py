"""Puts events, as PostgreSQL sends them, into a table like `events`."""

from collections.abc import Iterable
from typing import Any

from psycopg import Connection, sql

from ledger.store.archive.rows import END, SIGNATURE

_FILL = "COPY {} (position, recorded_at, version, stream, kind, payload) FROM STDIN (FORMAT BINARY)"


def fill(connection: Connection[Any], target: sql.Identifier, rows: Iterable[bytes]) -> None:
    """Put rows, as `pack` makes them, into a table."""
    with connection.cursor() as cursor, cursor.copy(sql.SQL(_FILL).format(target)) as copy:
        copy.write(SIGNATURE)
        for row in rows:
            copy.write(row)
        copy.write(END)

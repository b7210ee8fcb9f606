"""The limit that ingest is held against: binary COPY of the very same rows into the very same tables."""

import time
from collections.abc import Iterator
from typing import LiteralString, NamedTuple

import psycopg

BLOCK_ROWS = 1000

# Each row of `current` goes with the block that holds its user's last event.
_LAST = """
CREATE TEMPORARY TABLE last_events AS
SELECT c.uid, max(e.position) AS position FROM current c JOIN events e ON e.stream = 'user:' || c.uid GROUP BY c.uid
"""

_EVENTS_OUT: LiteralString = """
COPY (SELECT stream, version, position, kind, payload, recorded_at FROM events
       WHERE position > {after} AND position <= {up_to} ORDER BY position) TO STDOUT (FORMAT BINARY)
"""

_CURRENT_OUT: LiteralString = """
COPY (SELECT c.uid, c.version, c.status, c.since, c.devices, c.state, c.body
        FROM current c JOIN last_events l USING (uid)
       WHERE l.position > {after} AND l.position <= {up_to} ORDER BY l.position) TO STDOUT (FORMAT BINARY)
"""

_EVENTS_IN = "COPY events (stream, version, position, kind, payload, recorded_at) FROM STDIN (FORMAT BINARY)"
_CURRENT_IN = "COPY current (uid, version, status, since, devices, state, body) FROM STDIN (FORMAT BINARY)"


class Block(NamedTuple):
    """The rows of one transaction as COPY takes them."""

    events: bytes
    current: bytes


def blocks_of(url: str) -> list[Block]:
    """What a ledger holds, in the order of its positions, 1,000 events a block."""
    with psycopg.connect(url) as connection:
        connection.execute(_LAST)
        connection.execute("CREATE INDEX ON last_events (position)")
        connection.execute("ANALYZE last_events")
        row = connection.execute("SELECT max(position) FROM events").fetchone()
        assert row is not None
        return [
            Block(_out(connection, _EVENTS_OUT, start), _out(connection, _CURRENT_OUT, start))
            for start in range(0, row[0], BLOCK_ROWS)
        ]


def copy_seconds(url: str, blocks: list[Block]) -> float:
    """How long one connection takes for them, a transaction each."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        for block in blocks:
            for statement, rows in ((_EVENTS_IN, block.events), (_CURRENT_IN, block.current)):
                with cursor.copy(statement) as copy:
                    copy.write(rows)
            connection.commit()
        return time.perf_counter() - started


def counts(url: str) -> tuple[int, int]:
    """Rows in `events` and in `current`."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM current)").fetchone()
        assert row is not None
        return row[0], row[1]


def _out(connection: psycopg.Connection[tuple[object, ...]], query: LiteralString, after: int) -> bytes:
    with connection.cursor() as cursor, cursor.copy(query.format(after=after, up_to=after + BLOCK_ROWS)) as copy:
        return b"".join(_chunks(copy))


def _chunks(copy: psycopg.Copy) -> Iterator[bytes]:
    for chunk in copy:
        yield bytes(chunk)

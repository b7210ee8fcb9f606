"""Events as the very bytes that PostgreSQL has of them, in the order of their positions, to be held against seals."""

import hashlib
import struct
from collections.abc import Generator, Sequence
from itertools import repeat
from typing import Any

from psycopg import Connection, sql

from ledger.store.seal import DIGEST_BYTES, Seal

FIRST, LAST = -(2**63), 2**63 - 1
"""The positions that a row can have."""

Row = bytes | bytearray | memoryview

_SIGNATURE_BYTES = 19
_END = b"\xff\xff"

# The number of fields, position and `recorded_at`, each after its length; the digest covers what follows.
_PLACE = struct.Struct("!hiqiq")
_POSITION = slice(6, 14)

_ROWS = """
COPY (SELECT position, recorded_at, version, stream, kind, payload
        FROM events WHERE position >= {} AND position <= {} ORDER BY position)
  TO STDOUT (FORMAT BINARY)
"""

_HEAD = "SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0)"

_NOWHERE = "SELECT count(*) FROM events WHERE position IS NULL"


def rows(connection: Connection[Any], first: int, last: int) -> Generator[Row]:
    """The rows of these positions.

    By COPY, since what a cursor fetches would have to be put together again for its digest. Whoever stops before the
    end ends the transaction.
    """
    statement = sql.SQL(_ROWS).format(sql.Literal(first), sql.Literal(last))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        received = iter(copy)
        row: Row = next(received)[_SIGNATURE_BYTES:]
        while row != _END:
            yield row
            row = next(received)
        # Only then the connection is free again.
        next(received, None)


def differs(taken: Sequence[Row], seal: Seal) -> int | None:
    """Which of the rows, counted from 0, is the first that is not the one that was sealed; None where all of them are.

    Where there are fewer than were sealed, and nothing else is wrong, that is their number.
    """
    sha256, size = hashlib.sha256, _PLACE.size
    digests = b"".join([sha256(row[size:]).digest() for row in taken])
    places = list(map(_PLACE.pack, repeat(6), repeat(8), _run(seal), repeat(8), repeat(seal.recorded_at)))
    if digests == seal.digests and b"".join([row[:size] for row in taken]) == b"".join(places):
        return None
    for number, row in enumerate(taken):
        here = slice(number * DIGEST_BYTES, (number + 1) * DIGEST_BYTES)
        if row[:size] != places[number] or digests[here] != seal.digests[here]:
            return number
    return len(taken)


def is_recorded_at(row: Row, seal: Seal) -> bool:
    """Whether a row says the instant that was sealed."""
    return bool(row[_POSITION.stop : _PLACE.size] == struct.pack("!iq", 8, seal.recorded_at))


def position_of(row: Row) -> int:
    """Where a row is."""
    return int.from_bytes(row[_POSITION], signed=True)


def head(connection: Connection[Any]) -> int:
    """The last position, 0 while there is none."""
    return _number(connection.execute(_HEAD).fetchone())


def number_without_position(connection: Connection[Any]) -> int:
    """How many rows have none: whoever reads by position does not see them."""
    return _number(connection.execute(_NOWHERE).fetchone())


def _number(row: tuple[Any, ...] | None) -> int:
    assert row is not None
    number: int = row[0]
    return number


def _run(seal: Seal) -> range:
    return range(seal.first_position, seal.last_position + 1)

"""Events as the very bytes that PostgreSQL has of them, in the order of their positions, to be held against seals."""

import hashlib
import struct
from collections.abc import Generator, Iterator
from itertools import islice, repeat
from typing import Any, NamedTuple

from psycopg import Connection, sql

from ledger.store.erased import Left
from ledger.store.seal import DIGEST_BYTES, Seal

FIRST, LAST = -(2**63), 2**63 - 1
"""The positions that a row can have."""

Row = bytes | bytearray | memoryview


class RowDigests(NamedTuple):
    """What rows begin with, which tells their places, and the digests of the rest."""

    places: list[bytes]
    digests: list[bytes]


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

# Within a partition its key sees to it. The keys of all are gone through in their common order.
# Hashed or sorted they would go to disk first, and take twice as long and longer.
_IN_ORDER = "SELECT set_config('enable_hashagg', 'off', true), set_config('enable_sort', 'off', true)"

_TAKEN_AGAIN = """
SELECT max(e.position)
  FROM (SELECT stream, version FROM events GROUP BY stream, version HAVING count(*) > 1
         ORDER BY stream, version LIMIT 1) AS doubled
  JOIN events AS e USING (stream, version)
"""


def rows(connection: Connection[Any], first: int, last: int) -> Generator[Row]:
    """The rows of these positions.

    By COPY, since what a cursor fetches would have to be put together again for its digest. Stopping before the
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


def take(rows: Iterator[Row], number: int) -> RowDigests:
    """The next `number` rows, or as many as there are; of each, no more is kept than a seal covers."""
    sha256, size = hashlib.sha256, _PLACE.size
    places, digests = [], []
    for row in islice(rows, number):
        places.append(bytes(row[:size]))
        digests.append(sha256(row[size:]).digest())
    return RowDigests(places, digests)


def differs(taken: RowDigests, seal: Seal, left: Left | None = None) -> int | None:
    """Which of the rows, counted from 0, is the first that is not the one that was sealed; None where all of them are.

    Where there are fewer than were sealed, and nothing else is wrong, that is their number. `left`: what erasures have
    left of the run.
    """
    run = range(seal.first_position, seal.last_position + 1) if left is None else left.positions
    places = list(map(_PLACE.pack, repeat(6), repeat(8), run, repeat(8), repeat(seal.recorded_at)))
    sealed = seal.digests if left is None else b"".join(left.digests)
    if b"".join(taken.digests) == sealed and taken.places == places:
        return None
    for number, (place, digest) in enumerate(zip(*taken, strict=True)):
        if place != places[number] or digest != sealed[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]:
            return number
    return len(taken.places)


def is_recorded_at(place: bytes, seal: Seal) -> bool:
    """Whether a row says the instant that was sealed."""
    return place[_POSITION.stop :] == _PLACE.pack(6, 8, 0, 8, seal.recorded_at)[_POSITION.stop :]


def decode_position(place: bytes) -> int:
    """Where a row is."""
    return int.from_bytes(place[_POSITION], signed=True)


def head(connection: Connection[Any]) -> int:
    """The last position, 0 while there is none."""
    return _number(connection.execute(_HEAD).fetchone())


def number_without_position(connection: Connection[Any]) -> int:
    """How many rows have none: reading by position does not show them."""
    return _number(connection.execute(_NOWHERE).fetchone())


def taken_again(connection: Connection[Any]) -> int | None:
    """The position of an event whose version an earlier event of its stream has, None where there is none.

    Within a transaction.
    """
    connection.execute(_IN_ORDER)
    row = connection.execute(_TAKEN_AGAIN).fetchone()
    return row and row[0]


def _number(row: tuple[Any, ...] | None) -> int:
    assert row is not None
    number: int = row[0]
    return number

"""What erasures have taken from the ledger: the positions that may be empty, and what is left where a part is gone.

Each erasure is an event under its seal, so nobody can let events pass for erased without the key. In the archive's
files the same is done as `take` does to the table, and whoever checks them asks `Erased` likewise.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor

from ledger.domain.alert_events import SERVICE
from ledger.domain.erasure import unpack_positions
from ledger.domain.erasure_events import UserErased
from ledger.store import seal
from ledger.store.arrays import bigints, byteas
from ledger.store.mapper import source_stream, user_stream
from ledger.store.seal import DIGEST_BYTES, Seal

KIND = "user_erased.v1"

# With the digest that was sealed of it: what is not under a seal allows nothing.
_ERASURES: LiteralString = """
SELECT e.position, e.version, e.payload,
       (SELECT substring(s.digests FROM 32 * least(e.position - s.first_position, 65536)::integer + 1 FOR 32)
          FROM seals AS s WHERE s.first_position BETWEEN 1 AND e.position ORDER BY s.first_position DESC LIMIT 1)
  FROM (SELECT position, version, payload FROM events WHERE stream = %s AND kind = %s ORDER BY position OFFSET 0) AS e
 ORDER BY e.position
"""

_SINCE = "SELECT count(*) FROM events WHERE stream = %s AND kind = %s AND position > %s"

_POSITIONS = "SELECT position FROM events WHERE stream = %s ORDER BY position"

# A payload without the uid's bytes names the user only by escapes; of a rejected body it is base64.
_NAMING = """
SELECT position, stream, version, kind, payload FROM events
 WHERE position > %(after)s AND position <= %(up_to)s AND kind = ANY(%(kinds)s)
   AND (kind = 'body_rejected.v1' OR position(%(uid)b IN payload) > 0 OR position('\\x5c'::bytea IN payload) > 0)
 ORDER BY position
"""

_AT = """
SELECT position, stream, version, kind, payload FROM events WHERE position = ANY(%b::bigint[]) ORDER BY position
"""

# On a Citus cluster the workers are to know it, too; elsewhere nobody reads the first of these settings.
_MAY: LiteralString = "SET LOCAL citus.propagate_set_commands = 'local'; SET LOCAL presence_ledger.erasure = '{}'"

_REMOVE = "DELETE FROM events WHERE stream = %s"

_REWRITE = """
UPDATE events SET payload = left_over.payload
  FROM unnest(%b::bigint[], %b::bytea[]) AS left_over (position, payload)
 WHERE events.position = left_over.position
"""

_decode = msgspec.json.Decoder(UserErased).decode


class NamingRow(NamedTuple):
    """A source's event that may name the user, as it lies there."""

    position: int
    stream: str
    version: int
    kind: str
    payload: bytes


class Left(NamedTuple):
    """What is to be in the rows of a run, in their order."""

    positions: Sequence[int]
    digests: Sequence[bytes]


class Erased:
    """What the erasures on record took from a ledger."""

    def __init__(self, erasures: Iterable[UserErased] = ()) -> None:
        self.number = 0
        """Of erasures."""
        gone = set[int]()
        self._redacted: dict[int, bytes] = {}
        for erasure in erasures:
            self.number += 1
            gone.update(unpack_positions(erasure.positions))
            # Of two that took something from one event, the later one says what is left.
            self._redacted.update({each.position: bytes.fromhex(each.digest) for each in erasure.redacted})
        self._gone = array("q", sorted(gone))
        self._places = array("q", sorted(self._redacted))

    def gone(self, first: int, last: int) -> Sequence[int]:
        """The positions of events that are gone, from one to another."""
        return _between(self._gone, first, last)

    def left(self, sealed: Seal) -> Left | None:
        """What is to be left of a run; None: all that was sealed."""
        first, last = sealed.first_position, sealed.last_position
        gone, redacted = set(self.gone(first, last)), _between(self._places, first, last)
        if not gone and not redacted:
            return None
        positions = [position for position in range(first, last + 1) if position not in gone]
        return Left(positions, [self._digest(sealed, position) for position in positions])

    def _digest(self, sealed: Seal, position: int) -> bytes:
        start = (position - sealed.first_position) * DIGEST_BYTES
        return self._redacted.get(position) or sealed.digests[start : start + DIGEST_BYTES]


def read(connection: Connection[Any]) -> Erased:
    """What was erased by all that is on record and was sealed."""
    stream = source_stream(SERVICE)
    rows = connection.cursor(binary=True).execute(_ERASURES, (stream, KIND)).fetchall()
    return Erased(
        _decode(payload)
        for _, version, payload, digest in rows
        if digest == seal.digests([stream], [version], [KIND], [payload])
    )


def number_since(connection: Connection[Any], position: int) -> int:
    """How many users were erased after a position."""
    row = connection.execute(_SINCE, (source_stream(SERVICE), KIND, position)).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def positions_of(connection: Connection[Any], uid: str) -> list[int]:
    """Where a user's own events are."""
    return [position for (position,) in connection.execute(_POSITIONS, (user_stream(uid),)).fetchall()]


def naming(connection: Connection[Any], uid: str, kinds: Sequence[str], after: int, up_to: int) -> Iterable[NamingRow]:
    """The sources' events of these kinds between two positions that may name a user; within a transaction."""
    params = {"uid": uid.encode(), "kinds": list(kinds), "after": after, "up_to": up_to}
    with connection.cursor("naming", binary=True) as cursor:
        for row in cursor.execute(_NAMING, params):
            yield NamingRow(*row)


def rows_at(connection: Connection[Any], positions: Sequence[int]) -> list[NamingRow]:
    """The events at these positions."""
    return [NamingRow(*row) for row in connection.cursor(binary=True).execute(_AT, (bigints(list(positions)),))]


def take(cursor: Cursor[Any], position: int, uid: str, left_over: Sequence[tuple[int, bytes]]) -> int:
    """Remove a user's events, and put what is left in place of those that named them -> how many were removed.

    Within the transaction that puts the erasure on record, at this position.
    """
    cursor.execute(_MAY.format(str(int(position))), prepare=False)
    removed = cursor.execute(_REMOVE, (user_stream(uid),)).rowcount
    if left_over:
        positions, payloads = zip(*left_over, strict=True)
        cursor.execute(_REWRITE, (bigints(list(positions)), byteas(list(payloads))))
    cursor.execute(_MAY.format(""), prepare=False)
    return removed


def digest_of(row: NamingRow, payload: bytes) -> bytes:
    """The digest of an event as it is once this is its payload."""
    return seal.digests([row.stream], [row.version], [row.kind], [payload])


def _between(positions: "array[int]", first: int, last: int) -> Sequence[int]:
    return positions[bisect_left(positions, first) : bisect_left(positions, last + 1)]

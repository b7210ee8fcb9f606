"""The one place that knows the table `seals`: one row for each run of positions, written with the events it seals."""

from collections.abc import Generator
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor

from ledger.store.seal import NO_SEAL, Seal, instant_from_count

LAST: LiteralString = "SELECT seal, last_position FROM seals ORDER BY first_position DESC LIMIT 1"
"""What the next seal stands on, and the last position that is sealed."""

HEAD: LiteralString = "SELECT position, recorded_at FROM last_sealed()"
"""The last position and when it was recorded: for what is asked very often, without a look at each partition."""

FETCHED_SEALS = 32
"""At a time; a seal of a reconnect storm has megabytes of digests."""

_INSERT = """
INSERT INTO seals (first_position, last_position, recorded_at, key_id, digests, seal) VALUES (%s, %s, %s, %b, %b, %b)
"""

# An altered table may hold what the driver cannot read, such as an infinite instant or NULL.
_FROM = """
SELECT first_position, coalesce(last_position, 0), coalesce(timestamptz_send(recorded_at), ''), coalesce(key_id, ''),
       coalesce(digests, ''), coalesce(seal, '')
  FROM seals WHERE first_position >= %s ORDER BY first_position
"""

_RUN_OF = """
SELECT first_position FROM seals WHERE first_position <= %(after)s AND last_position > %(after)s
 ORDER BY first_position DESC LIMIT 1
"""

_STANDS_ON = "SELECT coalesce(seal, '') FROM seals WHERE first_position <= %s ORDER BY first_position DESC LIMIT 1"

UPTO: LiteralString = "SELECT seal FROM seals WHERE first_position <= {} ORDER BY first_position DESC LIMIT 1"
"""The seal of the run that a position lies in, or of the one before it; to be formatted."""

_UPTO = UPTO.format("%s")

_NUMBER = "SELECT count(*) FROM seals WHERE first_position <= %s"

_OF_KEY = """
SELECT min(first_position), max(last_position) FROM seals WHERE key_id = %(key_id)s AND first_position >= %(first)s
"""

_LAST_POSITION = "SELECT coalesce((SELECT last_position FROM seals ORDER BY first_position DESC LIMIT 1), 0)"

_LAST_KEY = "SELECT key_id FROM seals ORDER BY first_position DESC LIMIT 1"


class Anchor(NamedTuple):
    """A commit that is known: its last position, and its last seal, which stands on everything before it."""

    position: int
    seal: bytes


class Start(NamedTuple):
    """Where a walk over the seals begins."""

    position: int
    """The last one before it."""
    previous: bytes = NO_SEAL
    """The seal that the first one stands on."""
    number: int = 0
    """Of the seals before."""


def write(cursor: Cursor[Any], seal: Seal | None) -> None:
    """Store a seal, if there is one, in the transaction of its events."""
    if seal is not None:
        first, last, recorded_at, *rest = seal
        cursor.execute(_INSERT, (first, last, instant_from_count(recorded_at), *rest))


def last_key(connection: Connection[Any]) -> bytes | None:
    """The id of the key that made the last seal, None while there is none."""
    row = connection.execute(_LAST_KEY).fetchone()
    return row and row[0]


def up_to(connection: Connection[Any], position: int) -> bytes | None:
    """The seal of the run that a position lies in, or of the one before it."""
    row = connection.execute(_UPTO, (position,)).fetchone()
    return row and row[0]


def last(connection: Connection[Any]) -> Anchor | None:
    """The last commit, None while there is none."""
    row = connection.execute(LAST).fetchone()
    return row and Anchor(row[1], row[0])


def last_position(connection: Connection[Any]) -> int:
    """The last position that is sealed, 0 while there is none."""
    row = connection.execute(_LAST_POSITION).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def start_after(connection: Connection[Any], position: int) -> Start:
    """Where to begin in order to check what comes after a position: there, or where the run that it lies in begins."""
    if (run := connection.execute(_RUN_OF, {"after": position}).fetchone()) is not None:
        position = run[0] - 1
    before = connection.execute(_STANDS_ON, (position,)).fetchone()
    number = connection.execute(_NUMBER, (position,)).fetchone()
    assert number is not None
    return Start(position, before[0] if before else NO_SEAL, number[0])


def read(connection: Connection[Any], start: int) -> Generator[Seal]:
    """The seals whose runs begin at a position or after it, in order, as they lie there; needs a transaction."""
    with connection.cursor("seals", binary=True) as cursor:
        cursor.itersize = FETCHED_SEALS
        for first, last, recorded_at, key_id, digests, seal in cursor.execute(_FROM, (start,)):
            yield Seal(first, last, int.from_bytes(recorded_at, signed=True), key_id, digests, seal)


def positions_sealed_by(connection: Connection[Any], key_id: bytes, first: int) -> tuple[int, int]:
    """The first and the last of the positions, from `first` on, that a key sealed, one at least."""
    row = connection.execute(_OF_KEY, {"key_id": key_id, "first": first}).fetchone()
    assert row is not None
    return row[0], row[1]

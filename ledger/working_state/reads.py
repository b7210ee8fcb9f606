"""The log of who asked about whom: the one place that knows its table."""

from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.store.arrays import bigints, texts

STATEMENT_ROWS = 10_000

# Of whom nothing is known, nothing was learnt; and who was erased is not to come back by a late row.
_WRITE = """
INSERT INTO reads (uid, first_at, key_name, route, batch, last_at, number)
SELECT uid, first_at, key_name, route, %s, last_at, number
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[])
       AS noted (uid, key_name, route, first_at, last_at, number)
 WHERE EXISTS (SELECT FROM current WHERE current.uid = noted.uid)
    ON CONFLICT DO NOTHING
"""

_PAGE: LiteralString = """
SELECT first_at, key_name, route, batch::text, last_at, number FROM reads
 WHERE uid = %(uid)s AND (first_at, key_name, route, batch::text) > (%(first_at)s, %(key)s, %(route)s, %(batch)s)
   AND last_at >= %(since)s AND first_at < %(until)s
 ORDER BY first_at, key_name, route, batch::text LIMIT %(limit)s
"""

_REMOVE = """
DELETE FROM reads WHERE ctid = ANY(ARRAY(SELECT ctid FROM reads WHERE first_at < %s ORDER BY first_at LIMIT %s))
"""

Place = tuple[int, str, str, str]
"""Of a row in its user's order: its first instant, the key, the route, the batch."""

FIRST: Place = (-1, "", "", "")
LATEST = 2**63 - 1


class LookUp(NamedTuple):
    """That a key was used to ask about a user over a route, so often between two instants."""

    uid: str
    key_name: str
    route: str
    first_at: Instant
    last_at: Instant
    number: int


def write(connection: Connection[TupleRow], batch: str, reads: Iterable[LookUp]) -> None:
    """Store what was noted, of users of whom something is known; a batch that is there already is left."""
    noted = list(reads)
    for start in range(0, len(noted), STATEMENT_ROWS):
        uids, keys, routes, firsts, lasts, numbers = zip(*noted[start : start + STATEMENT_ROWS], strict=True)
        named = texts(list(uids)), texts(list(keys)), texts(list(routes))
        counted = bigints(list(firsts)), bigints(list(lasts)), bigints(list(numbers))
        connection.execute(_WRITE, (batch, *named, *counted))


def page(
    connection: Connection[TupleRow], uid: str, after: Place, since: Instant, until: Instant, limit: int
) -> Sequence[tuple[Place, LookUp]]:
    """Who asked about a user between two instants, after a place, the oldest first."""
    params = dict(zip(("first_at", "key", "route", "batch"), after, strict=True))
    rows = connection.execute(_PAGE, {"uid": uid, "since": since, "until": until, "limit": limit, **params}).fetchall()
    return [
        ((first_at, key, route, batch), LookUp(uid, key, route, first_at, last_at, number))
        for first_at, key, route, batch, last_at, number in rows
    ]


def remove_before(cursor: Cursor[Any] | Connection[Any], instant: Instant, limit: int) -> int:
    """Remove so many of the oldest rows at most that began before an instant -> how many that were."""
    return cursor.execute(_REMOVE, (instant, limit)).rowcount

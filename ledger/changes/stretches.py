"""The users of whom a stretch of the ledger tells.

Of users whom several events name, each stretch has those whose last event lies in it, in its order: whoever goes
through one stretch after another meets each user once, as they are now.
"""

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.moment import Moment
from ledger.domain.presence import Presence
from ledger.store.archive.table import BEFORE

# The last event of whom one lies in the stretch lies after its beginning: earlier partitions are not looked into. Of
# what is archived snapshots tell it, since each user has one of their last event there.
_LAST: LiteralString = f"""
SELECT substr(moved.stream, 6), last.position
  FROM (SELECT DISTINCT stream FROM events WHERE position > %(after)s AND position <= %(up_to)s) AS moved,
       LATERAL (SELECT position FROM events WHERE stream = moved.stream AND position > %(after)s
                 ORDER BY version DESC LIMIT 1) AS last
 WHERE moved.stream LIKE 'user:%%' AND last.position <= %(up_to)s
 UNION ALL
SELECT s.uid, s.position
  FROM snapshots_between(%(after)s, %(up_to)s) AS s JOIN current AS c ON c.uid = s.uid AND c.version = s.version
 WHERE s.position < ({BEFORE})
 ORDER BY 2 LIMIT %(limit)s
"""  # noqa: S608  (of constants)


class MovedUser(NamedTuple):
    """A user and the position of their last event."""

    uid: str
    position: int


def moved_last(connection: Connection[TupleRow], after: int, up_to: int, limit: int) -> list[MovedUser]:
    """The first of the users whose last event lies after one position and up to another, in the order of that event."""
    asked = {"after": after, "up_to": up_to, "limit": limit}
    return [MovedUser(*row) for row in connection.execute(_LAST, asked)]


def presences_in_order(moment: Moment, uids: Sequence[str]) -> dict[str, Presence]:
    """The presence of each of these users, in the order given."""
    found = moment.presences(uids)
    return {uid: found[uid] for uid in uids}

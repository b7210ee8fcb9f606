"""What has changed of users by a stretch of the ledger, of lists, or of time: what is read to tell it later.

Of users whom several events name, each stretch has those whose last event lies in it, in its order: whoever goes
through one stretch after another meets each user once, as they are now.
"""

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.moment import Moment
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace, next_change_at
from projections.models import current

_LAST: LiteralString = """
SELECT substr(moved.stream, 6), last.position
  FROM (SELECT DISTINCT stream FROM events WHERE position > %s AND position <= %s) AS moved,
       LATERAL (SELECT position FROM events WHERE stream = moved.stream ORDER BY version DESC LIMIT 1) AS last
 WHERE moved.stream LIKE 'user:%%' AND last.position <= %s
 ORDER BY last.position
"""


class Moved(NamedTuple):
    """A user and the position of their last event."""

    uid: str
    position: int


def moved_last(connection: Connection[TupleRow], after: int, up_to: int) -> list[Moved]:
    """The users whose last event lies after one position and up to another, in the order of that event."""
    return [Moved(*row) for row in connection.execute(_LAST, (after, up_to, up_to))]


def has_grace(moment: Moment) -> bool:
    """Whether anything changes by time alone."""
    return longest_grace(moment.rules.sources) > 0


def ended_graces(moment: Moment, after: Instant) -> list[tuple[Instant, Presence]]:
    """Whose grace period has ended after an instant, the first to end first."""
    return _ends(moment, after, moment.made.at)


def next_end(moment: Moment) -> Instant | None:
    """When the next grace period ends."""
    ends = _ends(moment, moment.made.at, None)
    return ends[0][0] if ends else None


def _ends(moment: Moment, after: Instant, up_to: Instant | None) -> list[tuple[Instant, Presence]]:
    grace = round(longest_grace(moment.rules.sources) * SECOND)
    if not grace:
        return []
    found: list[tuple[Instant, Presence]] = []
    for presence in current.in_grace(moment.connection, after - grace):
        end = next_change_at(presence, moment.rules.sources, after)
        if end is not None and (up_to is None or end <= up_to):
            found.append((end, presence))
    return sorted(found, key=lambda each: (each[0], each[1].uid))


def presences_in_order(moment: Moment, uids: Sequence[str]) -> dict[str, Presence]:
    """The presence of each of these users, in the order given."""
    found = moment.presences(uids)
    return {uid: found[uid] for uid in uids}

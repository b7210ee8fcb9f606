"""Drifts: each difference between presence and polls from its first look to its end; the one place of their table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.as_of import InFlight
from ledger.domain.instants import optional
from ledger.domain.reconciled import PollObserved
from ledger.store.arrays import texts

FINISHED = frozenset({"corrected", "cleared", "in_flight"})

_WRITE = """
INSERT INTO drifts AS d (uid, source, position, kind, state, agreed_at, disagreed_at, ended_at, attributed_to, run,
                         node, last_position)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (uid, source, disagreed_at) DO UPDATE
   SET state = excluded.state, ended_at = excluded.ended_at, run = excluded.run, node = excluded.node,
       attributed_to = coalesce(excluded.attributed_to, d.attributed_to), last_position = excluded.last_position
 WHERE d.last_position < excluded.last_position
"""

# A drift whose doubt an event has made void has no look that ends it: the next drift of the user does.
_SUPERSEDE = """
UPDATE drifts SET state = 'cleared', ended_at = %s, last_position = %s
 WHERE uid = %s AND source = %s AND state IN ('open', 'held') AND disagreed_at < %s
"""

_IN_FLIGHT = """
SELECT uid, last_position, agreed_at, disagreed_at FROM drifts
 WHERE uid = ANY(%b) AND state = 'in_flight' AND last_position > %s AND last_position <= %s
 ORDER BY uid, last_position
"""

_PAGE: LiteralString = """
SELECT uid, source, position, kind, state, agreed_at, disagreed_at, ended_at, attributed_to, run, node, last_position
  FROM drifts WHERE (position, uid) > (%s, %s)
"""


class Drift(NamedTuple):
    """One drift: it began between `agreed_at` and `disagreed_at`, and ended at `ended_at`."""

    uid: str
    source: str
    position: int
    kind: str
    state: str
    agreed_at: int | None
    disagreed_at: int
    ended_at: int | None
    attributed_to: str | None
    run: str
    node: str
    last_position: int

    def as_dict(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            **self._asdict(),
            "agreed_at": optional(self.agreed_at),
            "disagreed_at": optional(self.disagreed_at),
            "ended_at": optional(self.ended_at),
        }


class DriftFilter(NamedTuple):
    """What a list is narrowed to; None means any."""

    state: str | None = None
    kind: str | None = None
    source: str | None = None
    node: str | None = None
    attributed_to: str | None = None
    uid: str | None = None


def write(cursor: Cursor[Any], source: str, position: int, poll: PollObserved) -> None:
    """Note what a poll's event, stored at that position, says of drifts."""
    if poll.findings:
        cursor.executemany(
            _SUPERSEDE,
            [(poll.answered_at, position, finding.uid, source, finding.disagreed_at) for finding in poll.findings],
        )
        cursor.executemany(_WRITE, list(_rows(source, position, poll)))


def _rows(source: str, position: int, poll: PollObserved) -> Iterator[tuple[Any, ...]]:
    for finding in poll.findings:
        yield (
            finding.uid,
            source,
            position,
            finding.drift,
            finding.outcome,
            finding.agreed_at,
            finding.disagreed_at,
            poll.answered_at if finding.outcome in FINISHED else None,
            finding.attributed_to,
            poll.run,
            poll.node,
            position,
        )


def page(connection: Connection[TupleRow], wanted: DriftFilter, after: tuple[int, str], limit: int) -> list[Drift]:
    """Drifts by the position and user at which they were first told of, after those of `after`."""
    query, params = _PAGE, list[Any](after)
    conditions: Mapping[LiteralString, str | None] = {
        " AND state = %s": wanted.state,
        " AND kind = %s": wanted.kind,
        " AND source = %s": wanted.source,
        " AND node = %s": wanted.node,
        " AND attributed_to = %s": wanted.attributed_to,
        " AND uid = %s": wanted.uid,
    }
    for condition, value in conditions.items():
        if value is not None:
            query += condition
            params.append(value)
    params.append(limit)
    rows: Sequence[tuple[Any, ...]] = connection.execute(query + " ORDER BY position, uid LIMIT %s", params).fetchall()
    return [Drift(*row) for row in rows]


def in_flight(
    connection: Connection[TupleRow], uids: Sequence[str], after: int, upto: int
) -> dict[str, list[InFlight]]:
    """The drifts of users that a webhook on its way ended, told of between two positions, the first one excluded."""
    found: dict[str, list[InFlight]] = {}
    for uid, *drift in connection.cursor(binary=True).execute(_IN_FLIGHT, (texts(uids), after, upto)):
        found.setdefault(uid, []).append(InFlight(*drift))
    return found

"""Loss: how many transitions webhooks told, and how many they lost, by source, node and hour, or within windows.

What a time of our own explains, in which nobody could know, is counted apart: `blind`.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.alert_events import SERVICE
from ledger.domain.loss import Interval, interval
from ledger.domain.observation import SECOND, Instant
from projections.engine import checkpoints
from projections.models.loss import bucket
from projections.queries.blind import OF_OURS

TOLD = "webhook"
APART = frozenset({"restart", "retired", "node", "upstream_defect", "blind"})
"""What is no loss: a cause is proven, or nobody could know."""

LISTED_WITHIN_SECONDS = 3600
"""After a start everybody has been looked at once by then, whether or not a run over all says so."""

# Of what came to light in a time; where it had been otherwise before is not known of all.
_BLIND: LiteralString = """
(EXISTS (SELECT FROM blind_times AS b
          WHERE b.source IN (u.source, %(service)s) AND b.kind = ANY(%(blind_kinds)s)
            AND b.since <= u.at AND coalesce(b.until, u.at) >= coalesce(u.after, u.at))
 OR (u.after IS NULL
     AND EXISTS (SELECT FROM blind_times AS b
                  WHERE b.source = u.source AND b.kind IN ('service_stopped', 'before_record') AND b.until <= u.at
                    AND u.at <= least(b.listed_at, b.until + %(listed_within)s))))
"""

_COUNTS: LiteralString = """
SELECT source, {keys}, by, sum(number)::bigint
  FROM (SELECT source, node, at, by, number FROM transitions
         WHERE at >= %(since)s AND at < %(until)s AND (%(source)s::text IS NULL OR source = %(source)s)
         UNION ALL
        SELECT source, node, at, CASE WHEN {blind} THEN 'blind' ELSE learnt_by END, 1 FROM untold AS u
         WHERE state <> 'supposed' AND at >= %(since)s AND at < %(until)s
           AND (%(source)s::text IS NULL OR source = %(source)s)) AS counted
 GROUP BY source, {keys}, by ORDER BY source, {keys}, by
"""

_BY_HOUR: LiteralString = _COUNTS.format(keys="node, at - at %% 3600000000", blind=_BLIND)
_BY_WINDOW: LiteralString = _COUNTS.format(keys="width_bucket(at, %(begins)s::bigint[])", blind=_BLIND)
"""Counted once each, by the shortest window that they are in."""

_PLACE: LiteralString = (
    f"SELECT least({checkpoints.POSITION_OF.format('loss')}, {checkpoints.POSITION_OF.format('blind')})"
)


class LossCount(NamedTuple):
    """Transitions counted, by how they were learnt."""

    by: Counter[str]

    @property
    def told(self) -> int:
        """By their own webhook."""
        return self.by[TOLD]

    @property
    def lost(self) -> int:
        """Those that a webhook should have told, and did not."""
        return sum(number for by, number in self.by.items() if by != TOLD and by not in APART)

    @property
    def transitions(self) -> int:
        """Told and lost ones; what is apart is in neither."""
        return self.told + self.lost

    @property
    def share(self) -> float | None:
        """None where there was none."""
        return self.lost / self.transitions if self.transitions else None

    @property
    def interval(self) -> Interval:
        """Where the true share lies."""
        return interval(self.lost, self.transitions)


class LossCell(NamedTuple):
    """What is counted of one node in one hour."""

    source: str
    node: str
    hour: Instant
    counts: LossCount


def by_node_and_hour(
    connection: Connection[TupleRow], since: Instant, until: Instant, source: str | None = None
) -> list[LossCell]:
    """Each node's hours with a transition, by source, node and hour; instants are those at which they were learnt."""
    cells: dict[tuple[str, str, Instant], Counter[str]] = {}
    rows = connection.execute(_BY_HOUR, _params(since, until, source)).fetchall()
    for name, node, hour, by, number in rows:
        cells.setdefault((name, node, hour), Counter())[by] += number
    return [LossCell(*key, LossCount(counts)) for key, counts in cells.items()]


def in_windows(
    connection: Connection[TupleRow], now: Instant, windows: Collection[float], source: str | None = None
) -> Mapping[str, Mapping[float, LossCount]]:
    """For each source that has any, what the last so many seconds before `now` counted, by these.

    A window begins where its ten seconds begin, so it may be so much longer.
    """
    longest_first = sorted(windows, reverse=True)
    begins = [bucket(now - round(seconds * SECOND)) for seconds in longest_first]
    found: dict[str, dict[float, LossCount]] = {}
    params = {**_params(min(begins, default=now), now + SECOND, source), "begins": begins}
    for name, within, by, number in connection.execute(_BY_WINDOW, params).fetchall():
        counts = found.setdefault(name, {each: LossCount(Counter()) for each in windows})
        for seconds in longest_first[:within]:
            counts[seconds].by[by] += number
    return found


def position(connection: Connection[TupleRow]) -> int:
    """Up to where the ledger is counted."""
    row = connection.execute(_PLACE).fetchone()
    assert row is not None
    return int(row[0])


def _params(since: Instant, until: Instant, source: str | None) -> dict[str, Any]:
    return {
        "since": since,
        "until": until,
        "source": source,
        "blind_kinds": list(OF_OURS),
        "service": SERVICE,
        "listed_within": LISTED_WITHIN_SECONDS * SECOND,
    }

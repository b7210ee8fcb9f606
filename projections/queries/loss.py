"""Loss: how many transitions webhooks told, and how many they lost, by source, node and hour, or within windows.

What a time of our own explains, in which nobody could know, is counted apart: `blind`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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

# Of each source, and of the service under its own name: all of its blind times as one multirange, which is searched.
_SPANS: LiteralString = """
WITH spans AS MATERIALIZED (
    SELECT source,
           range_agg(int8range(least(since, until), until, '[]'))
               FILTER (WHERE kind = ANY(%(blind_kinds)s)) AS blind,
           range_agg(int8range(until, greatest(until, least(listed_at, until + %(listed_within)s)), '[]'))
               FILTER (WHERE kind IN ('service_stopped', 'before_record') AND until IS NOT NULL) AS unlisted
      FROM blind_times GROUP BY source)
"""

# Of what came to light in a time; where it had been otherwise before is not known of all.
_BLIND: LiteralString = """
(its.blind && int8range(least(u.after, u.at), u.at, '[]')
 OR ours.blind && int8range(least(u.after, u.at), u.at, '[]')
 OR (u.after IS NULL AND its.unlisted @> u.at))
"""

_COUNTS: LiteralString = """
{spans}
SELECT source, {keys}, by, sum(number)::bigint
  FROM (SELECT source, node, at, by, number FROM transitions AS u
         WHERE at >= %(since)s AND at < %(until)s AND {of_sources}
         UNION ALL
        SELECT u.source, node, at, CASE WHEN {blind} THEN 'blind' ELSE learnt_by END, 1
          FROM untold AS u
          LEFT JOIN spans AS its ON its.source = u.source
          LEFT JOIN spans AS ours ON ours.source = %(service)s
         WHERE state <> 'supposed' AND at >= %(since)s AND at < %(until)s AND {of_sources}) AS counted
 GROUP BY source, {keys}, by ORDER BY source, {keys}, by
"""

_HOURS: LiteralString = "node, at - at %% 3600000000"
_WINDOWS: LiteralString = "width_bucket(at, %(begins)s::bigint[])"
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
    sources = None if source is None else [source]
    rows = connection.execute(_counts(_HOURS, sources), _params(since, until, sources)).fetchall()
    for name, node, hour, by, number in rows:
        cells.setdefault((name, node, hour), Counter())[by] += number
    return [LossCell(*key, LossCount(counts)) for key, counts in cells.items()]


def in_windows(
    connection: Connection[TupleRow], now: Instant, windows: Collection[float], sources: Sequence[str] | None = None
) -> Mapping[str, Mapping[float, LossCount]]:
    """For each of these sources, or of all, that has any, what the last so many seconds before `now` counted, by these.

    A window begins where its ten seconds begin, so it may be so much longer.
    """
    longest_first = sorted(windows, reverse=True)
    begins = [bucket(now - round(seconds * SECOND)) for seconds in longest_first]
    found: dict[str, dict[float, LossCount]] = {}
    params = {**_params(min(begins, default=now), now + SECOND, sources), "begins": begins}
    for name, within, by, number in connection.execute(_counts(_WINDOWS, sources), params).fetchall():
        counts = found.setdefault(name, {each: LossCount(Counter()) for each in windows})
        for seconds in longest_first[:within]:
            counts[seconds].by[by] += number
    return found


def position(connection: Connection[TupleRow]) -> int:
    """Up to where the ledger is counted."""
    row = connection.execute(_PLACE).fetchone()
    assert row is not None
    return int(row[0])


def _counts(keys: LiteralString, sources: Sequence[str] | None) -> LiteralString:
    """Sources are named where they can be, by which the tables' indexes begin."""
    of_sources: LiteralString = "true" if sources is None else "u.source = ANY(%(sources)s)"
    return _COUNTS.format(spans=_SPANS, keys=keys, blind=_BLIND, of_sources=of_sources)


def _params(since: Instant, until: Instant, sources: Sequence[str] | None) -> dict[str, Any]:
    return {
        "since": since,
        "until": until,
        "sources": None if sources is None else list(sources),
        "blind_kinds": list(OF_OURS),
        "service": SERVICE,
        "listed_within": LISTED_WITHIN_SECONDS * SECOND,
    }

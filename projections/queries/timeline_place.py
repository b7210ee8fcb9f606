"""Where a page of a timeline lies, and what is on it besides events: the queries of either direction."""

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from ledger.store.archive.table import BEFORE
from projections.engine import checkpoints
from projections.models import drifts, outages

# Of an instant, what was recorded before it. The first version beyond a position is looked for from the last snapshot
# before that on, since events lie in the order of their versions. Where several intervals have one position, which an
# imported source's may, they go onto one page. Of whom something was archived it is not known when they were first
# heard of: a page on which that shows is made with the archive.
_PLACE: LiteralString = """
WITH place AS MATERIALIZED (
    SELECT *, {edge} AS edge
      FROM (SELECT *, coalesce(position_at(%(since)s::timestamptz - interval '1 microsecond'), 0) AS lower,
                   coalesce(position_at(%(until)s::timestamptz - interval '1 microsecond'), head) AS upper
              FROM (SELECT {head} AS head, least({drift}, {outage}) AS followed,
                           {archived} AS archived, first.version AS first,
                           CASE WHEN {archived} > 0 AND first.version > 1 THEN 0 ELSE first.position END AS known
                      FROM (VALUES (true)) AS once
                      LEFT JOIN first_event_of(%(stream)s) AS first ON true
                   ) AS ends) AS bounds
)
SELECT head, followed, lower, upper, edge, archived, first, positions, entries,
       CASE WHEN edge > 0 AND edge < head THEN
            (SELECT version FROM first_version_beyond(%(uid)s, edge)) END AS next_version
  FROM place
 CROSS JOIN LATERAL (
     SELECT array_agg(position) AS positions, array_agg(entry) AS entries
       FROM (SELECT position, entry
               FROM (SELECT position, entry FROM ({drifts}) AS d WHERE reaches > lower
                     UNION ALL
                     SELECT position, entry FROM ({outages}) AS o WHERE reaches > greatest(lower, known)
                                                                   AND known IS NOT NULL) AS parts
              WHERE position {from_there} %(after)s AND position <= upper
              ORDER BY position {order} FETCH FIRST %(limit)s ROWS WITH TIES) AS intervals
     ) AS found
"""
_PARTS = {
    "archived": BEFORE,
    "head": checkpoints.HEAD,
    "drift": checkpoints.POSITION_OF.format("drift"),
    "outage": checkpoints.POSITION_OF.format("outages"),
    "drifts": drifts.ENTRIES,
    "outages": outages.ENTRIES,
}

_EVENTS: LiteralString = """
SELECT {archived}, e.*
  FROM (VALUES (true)) AS once
  LEFT JOIN (SELECT version, position, kind, payload FROM events
              WHERE stream = %s AND version {from_there} %s AND position <= %s
              ORDER BY version {order} LIMIT %s) AS e ON true
 ORDER BY e.version {order}
"""


class Way(NamedTuple):
    """The queries of one direction."""

    place: LiteralString
    events: LiteralString


ASCENDING = Way(
    _PLACE.format(edge="greatest(%(after)s, lower)", from_there=">", order="ASC", **_PARTS),
    _EVENTS.format(archived=BEFORE, from_there=">=", order="ASC"),
)
DESCENDING = Way(
    _PLACE.format(edge="least(%(after)s - 1, upper)", from_there="<", order="DESC", **_PARTS),
    _EVENTS.format(archived=BEFORE, from_there="<=", order="DESC"),
)


class Place(NamedTuple):
    """Where a page lies: positions, and the user's first version after `edge`, if there is one."""

    head: int
    followed: int
    lower: int
    upper: int
    edge: int
    archived: int
    first: int | None
    positions: Sequence[int] | None
    entries: Sequence[bytes] | None
    next_version: int | None

"""Drifts counted: open and closed, and for how long, by cause, node, source, hour, kind or state."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, NamedTuple

from msgspec import UNSET, Struct, UnsetType
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ledger.domain.instants import Timestamp, from_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome
from projections.engine import checkpoints

By = Literal["attributed_to", "node", "source", "hour", "kind", "state"]

_KEYS: Mapping[str, LiteralString] = {
    "attributed_to": "coalesce(attributed_to, '')",
    "node": "node",
    "source": "source",
    "hour": """to_char(to_timestamp(disagreed_at / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:00:00.000000"Z"')""",
    "kind": "kind",
    "state": "state",
}
"""A drift's group as a text, by what they are grouped by; its hour is that of the first look that disagreed."""

DEFAULT_SPAN = timedelta(days=1)
"""So far back drifts are counted where it is not said since when: to count all that there ever were takes long."""

# What is not over yet has lasted until now.
_COUNT: LiteralString = """
SELECT {keys}, count(*) FILTER (WHERE state IN ('open', 'held')), count(*) FILTER (WHERE state NOT IN ('open', 'held')),
       sum(greatest(0, coalesce(ended_at, %(now)s) - disagreed_at))::bigint,
       sum(greatest(0, coalesce(ended_at, %(now)s) - coalesce(agreed_at, disagreed_at)))::bigint,
       count(*) FILTER (WHERE agreed_at IS NULL)
  FROM ({drifts}) AS drifts
 WHERE true{after}
 GROUP BY {keys} ORDER BY {keys} LIMIT %(limit)s
"""

_BETWEEN: LiteralString = "SELECT * FROM drifts WHERE disagreed_at >= %(since)s AND disagreed_at < %(until)s"
_BETWEEN_OR_UNFINISHED: LiteralString = """
SELECT * FROM drifts WHERE disagreed_at >= %(since)s AND disagreed_at < %(until)s
 UNION ALL
SELECT * FROM drifts WHERE state IN ('open', 'held') AND disagreed_at < least(%(since)s, %(until)s)
"""

_PLACE: LiteralString = "SELECT " + checkpoints.POSITION_OF.format("drift")

_EVER = 2**62
_FIRST = from_datetime(datetime.min.replace(tzinfo=UTC))
_SPAN = round(DEFAULT_SPAN.total_seconds()) * SECOND


class DriftSummaryQuery(NamedTuple):
    """Which drifts, by the first look that disagreed, in which groups; a page of these, after one of them.

    `since` None: the last day before `until`, or before now, and those before it that are not over yet.
    """

    by: Sequence[By]
    since: datetime | None
    until: datetime | None
    after: Sequence[str] | None
    limit: int


class SecondsBody(Struct):
    """How long they lasted together: from the looks that disagreed, from the looks that agreed before; until now where
    they are open.
    """

    at_least: float
    at_most: float


class DriftGroup(Struct, kw_only=True):
    """The drifts that have these in common; only what they are grouped by is there.

    Held ones are `open`. `never_agreed` are those that no look had agreed before, whose `at_most` is not known and
    counts as `at_least`.
    """

    attributed_to: Attribution | UnsetType | None = UNSET
    node: str | UnsetType | None = UNSET
    source: str | UnsetType | None = UNSET
    hour: Timestamp | UnsetType | None = UNSET
    kind: DriftKind | UnsetType | None = UNSET
    state: Outcome | UnsetType | None = UNSET
    open: int
    closed: int
    seconds: SecondsBody
    never_agreed: int


class DriftSummaryPage(NamedTuple):
    """Groups by their keys, as the API shows them; `last` are the keys of the last one, `since` when they begin."""

    items: list[DriftGroup]
    last: Sequence[str]
    position: int
    since: Instant


async def page(connection: AsyncConnection[TupleRow], wanted: DriftSummaryQuery, now: Instant) -> DriftSummaryPage:
    """A page of groups, as of the position that the projection has come to."""
    keys = ", ".join([_KEYS[name] for name in wanted.by])
    until = None if wanted.until is None else from_datetime(wanted.until)
    day_before = max((now if until is None else until) - _SPAN, _FIRST)
    since = day_before if wanted.since is None else from_datetime(wanted.since)
    params: dict[str, Any] = {
        "now": now,
        "since": since,
        "until": _EVER if until is None else until,
        "limit": wanted.limit,
    }
    after = ""
    if wanted.after is not None:
        names = [f"after{number}" for number in range(len(wanted.after))]
        after = f" AND ({keys}) > ({', '.join([f'%({name})s' for name in names])})"
        params |= dict(zip(names, wanted.after, strict=True))
    place = await (await connection.execute(_PLACE)).fetchone()
    assert place is not None
    which = _BETWEEN_OR_UNFINISHED if wanted.since is None else _BETWEEN
    query = _COUNT.format(keys=keys, after=after, drifts=which)
    rows = await (await connection.execute(query, params)).fetchall()
    width = len(wanted.by)
    return DriftSummaryPage([_group(wanted.by, row) for row in rows], rows[-1][:width] if rows else (), place[0], since)


def _group(by: Sequence[By], row: TupleRow) -> DriftGroup:
    still_open, closed, at_least, at_most, unbounded = row[len(by) :]
    return DriftGroup(
        **{name: key or None for name, key in zip(by, row, strict=False)},
        open=still_open,
        closed=closed,
        seconds=SecondsBody(at_least / SECOND, at_most / SECOND),
        never_agreed=unbounded,
    )

"""Drifts counted: open and closed, and for how long, by cause, node, source, hour, kind or state."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, LiteralString, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ledger.domain.instants import of_datetime
from ledger.domain.observation import SECOND, Instant
from projections import checkpoints

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

# What is not over yet has lasted until now.
_COUNT: LiteralString = """
SELECT {keys}, count(*) FILTER (WHERE state IN ('open', 'held')), count(*) FILTER (WHERE state NOT IN ('open', 'held')),
       sum(greatest(0, coalesce(ended_at, %(now)s) - disagreed_at))::bigint,
       sum(greatest(0, coalesce(ended_at, %(now)s) - coalesce(agreed_at, disagreed_at)))::bigint,
       count(*) FILTER (WHERE agreed_at IS NULL)
  FROM drifts
 WHERE disagreed_at >= %(since)s AND disagreed_at < %(until)s{after}
 GROUP BY {keys} ORDER BY {keys} LIMIT %(limit)s
"""

_PLACE: LiteralString = "SELECT " + checkpoints.POSITION_OF.format("drift")

_EVER = 2**62


class Wanted(NamedTuple):
    """Which drifts, by the first look that disagreed, in which groups; a page of these, after one of them."""

    by: Sequence[By]
    since: datetime | None
    until: datetime | None
    after: Sequence[str] | None
    limit: int


class Page(NamedTuple):
    """Groups by their keys, as the API shows them; `last` are the keys of the last one."""

    items: list[dict[str, Any]]
    last: Sequence[str]
    position: int


async def page(connection: AsyncConnection[TupleRow], wanted: Wanted, now: Instant) -> Page:
    """A page of groups, as of the position that the projection has come to."""
    keys = ", ".join([_KEYS[name] for name in wanted.by])
    params: dict[str, Any] = {
        "now": now,
        "since": -_EVER if wanted.since is None else of_datetime(wanted.since),
        "until": _EVER if wanted.until is None else of_datetime(wanted.until),
        "limit": wanted.limit,
    }
    after = ""
    if wanted.after is not None:
        names = [f"after{number}" for number in range(len(wanted.after))]
        after = f" AND ({keys}) > ({', '.join([f'%({name})s' for name in names])})"
        params |= dict(zip(names, wanted.after, strict=True))
    place = await (await connection.execute(_PLACE)).fetchone()
    assert place is not None
    query = _COUNT.format(keys=keys, after=after)
    rows = await (await connection.execute(query, params)).fetchall()
    width = len(wanted.by)
    return Page([_view(wanted.by, row) for row in rows], rows[-1][:width] if rows else (), place[0])


def _view(by: Sequence[By], row: TupleRow) -> dict[str, Any]:
    still_open, closed, at_least, at_most, unbounded = row[len(by) :]
    return {
        **{name: key or None for name, key in zip(by, row, strict=False)},
        "open": still_open,
        "closed": closed,
        "seconds": {"at_least": at_least / SECOND, "at_most": at_most / SECOND},
        "never_agreed": unbounded,
    }

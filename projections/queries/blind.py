"""Blind times: per source the intervals in which nobody could know who came and went, and how long they were."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.alert_events import SERVICE
from ledger.domain.blind import BlindKind, BlindTime
from ledger.domain.observation import SECOND, Instant
from projections.engine import checkpoints
from projections.models.blind import COLUMNS

KINDS: tuple[BlindKind, ...] = ("service_stopped", "source_dark", "node_down", "store_unavailable", "spooling")

OF_OURS: tuple[BlindKind, ...] = ("service_stopped", "source_dark", "store_unavailable")
"""Those in which what webhooks told did not reach the ledger; of a node that is down nothing is to be told."""

OF_WHOLE_SOURCES: tuple[BlindKind, ...] = (*OF_OURS, "spooling")
"""Of what was spooled the ledger has learnt afterwards."""

_BETWEEN: LiteralString = f"""
SELECT {COLUMNS} FROM blind_times
 WHERE kind <> 'before_record' AND since < %(until)s AND coalesce(until, %(until)s) > %(since)s
   AND (%(source)s::text IS NULL OR source IN (%(source)s, %(service)s))
   AND (%(kind)s::text IS NULL OR kind = %(kind)s)
"""  # noqa: S608  (of constants)

_PAGE: LiteralString = (
    _BETWEEN
    + " AND (since, position, node) > (%(after_since)s, %(after_position)s, %(after_node)s)"
    + " ORDER BY since, position, node LIMIT %(limit)s"
)
_ALL: LiteralString = _BETWEEN + " ORDER BY source, since"

_PLACE: LiteralString = "SELECT " + checkpoints.POSITION_OF.format("blind")

Place = tuple[Instant, int, str]
"""Of a time in the list: since when, the position, the node."""

FIRST: Place = (-(2**62), 0, "")


class BlindQuery(NamedTuple):
    """Which times: those that have a part between two instants, of one source or kind where they are named."""

    since: Instant
    until: Instant
    source: str | None = None
    kind: BlindKind | None = None


class BlindTotal(NamedTuple):
    """How long a source was blind: as a whole, where several kinds at once count once, and by kind, of all nodes."""

    source: str
    seconds: float
    by_kind: dict[BlindKind, float]


def page(connection: Connection[TupleRow], wanted: BlindQuery, after: Place, limit: int) -> list[BlindTime]:
    """The times after a place, the oldest first."""
    params = _params(wanted) | {"limit": limit}
    params |= dict(zip(("after_since", "after_position", "after_node"), after, strict=True))
    return [BlindTime(*row) for row in connection.execute(_PAGE, params).fetchall()]


def totals(connection: Connection[TupleRow], wanted: BlindQuery) -> list[BlindTotal]:
    """What the times come to between the two instants, by source; what goes on lasts until the end."""
    times = [BlindTime(*row) for row in connection.execute(_ALL, _params(wanted)).fetchall()]
    return [_total(source, list(group), wanted) for source, group in groupby(times, key=lambda time: time.source)]


def kind_of(time: BlindTime) -> BlindKind:
    """The kind of a time that is told of."""
    return next(kind for kind in KINDS if kind == time.kind)


def position(connection: Connection[TupleRow]) -> int:
    """Up to where the ledger is known."""
    row = connection.execute(_PLACE).fetchone()
    assert row is not None
    return int(row[0])


def _params(wanted: BlindQuery) -> dict[str, object]:
    return {**wanted._asdict(), "service": SERVICE}


def _total(source: str, times: Sequence[BlindTime], wanted: BlindQuery) -> BlindTotal:
    spans = {kind: [_span(time, wanted) for time in times if time.kind == kind] for kind in KINDS}
    whole = _covered(span for kind in OF_WHOLE_SOURCES for span in spans[kind])
    by_kind = {kind: sum(end - begin for begin, end in found) / SECOND for kind, found in spans.items() if found}
    return BlindTotal(source, whole / SECOND, by_kind)


def _span(time: BlindTime, wanted: BlindQuery) -> tuple[Instant, Instant]:
    until = wanted.until if time.until is None else min(time.until, wanted.until)
    return max(time.since, wanted.since), until


def _covered(spans: Iterable[tuple[Instant, Instant]]) -> int:
    """Microseconds that are in any of the spans."""
    covered, reached = 0, -(2**62)
    for begin, end in sorted(spans):
        covered += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return covered

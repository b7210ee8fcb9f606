"""The projection `drift`: each difference between presence and polls, from its first look to its end; its table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import UNFINISHED, Finding, PollObserved
from ledger.store.arrays import bigints, texts
from ledger.store.mapper import SOURCE_PREFIX
from projections.engine.memory import Memory
from projections.engine.projection import Followed

_COLUMNS: LiteralString = """
uid, source, position, kind, state, agreed_at, disagreed_at, ended_at, attributed_to, run, node,
last_position
"""

# Those that an event may change: not yet over, or found again.
_KNOWN: LiteralString = f"""
SELECT {_COLUMNS}
  FROM drifts
  JOIN unnest(%b::text[], %b::text[]) AS told (uid, source) USING (uid, source)
 WHERE state IN ('open', 'held') OR disagreed_at >= %s
"""  # noqa: S608  (of constants)

_WRITE: LiteralString = f"""
INSERT INTO drifts ({_COLUMNS})
SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::text[], %s::bigint[], %b::bigint[],
                     %s::bigint[], %s::text[], %b::text[], %b::text[], %b::bigint[])
    ON CONFLICT (uid, source, disagreed_at) DO UPDATE
   SET state = excluded.state, ended_at = excluded.ended_at, run = excluded.run, node = excluded.node,
       attributed_to = excluded.attributed_to, last_position = excluded.last_position
"""  # noqa: S608  (of constants)

# Of those that may have been there at an instant, the last ones.
_POLLS_AROUND = """
SELECT position, last_position FROM drifts
 WHERE uid = %s AND coalesce(agreed_at, disagreed_at) <= %s AND (ended_at IS NULL OR ended_at >= %s)
 ORDER BY disagreed_at DESC LIMIT 5
"""

# So many rows at most are walked: of one poll there may be very many.
_LATEST = """
SELECT DISTINCT position FROM (SELECT position, source FROM drifts ORDER BY position DESC LIMIT 5000) AS latest
 WHERE source = %s ORDER BY position DESC LIMIT %s
"""

# For the timeline: a user's drifts, each with the last position that it reaches.
ENTRIES: LiteralString = """
SELECT position, CASE WHEN state IN ('open', 'held') THEN 9223372036854775807 ELSE last_position END AS reaches,
       convert_to(json_build_object(
           'kind', 'drift', 'position', position, 'last_position', last_position, 'at', instant_text(disagreed_at),
           'until', instant_text(ended_at), 'source', source, 'node', node, 'drift', kind, 'state', state,
           'agreed_at', instant_text(agreed_at), 'disagreed_at', instant_text(disagreed_at),
           'attributed_to', attributed_to, 'run', run)::text, 'UTF8') AS entry
  FROM drifts_of(%(uid)s)
"""

_WRONGLY_SHOWN = """
SELECT count(DISTINCT uid), coalesce(sum(greatest(0, coalesce(ended_at, %(until)s) - disagreed_at)), 0)::bigint,
       coalesce(sum(greatest(0, coalesce(ended_at, %(until)s) - coalesce(agreed_at, disagreed_at))), 0)::bigint
  FROM drifts
 WHERE source = %(source)s AND disagreed_at >= %(since)s AND disagreed_at <= %(until)s AND kind <> 'devices'
   AND state IN ('open', 'held', 'corrected')
"""

_PAGE: LiteralString = f"""
SELECT {_COLUMNS}
  FROM drifts WHERE (position, uid) > (%s, %s)
"""  # noqa: S608  (of constants)


class WronglyShown(NamedTuple):
    """Users whose status was shown wrongly: each from a look that disagreed, or since the one that agreed before, until
    they were corrected.
    """

    users: int
    least_seconds: float
    most_seconds: float


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


class DriftFilter(NamedTuple):
    """What a list is narrowed to; None means any."""

    state: str | None = None
    kind: str | None = None
    source: str | None = None
    node: str | None = None
    attributed_to: str | None = None
    uid: str | None = None


class Drifts:
    """Follows the polls that said something new."""

    name = "drift"
    tables: Sequence[str] = ("drifts",)
    kinds = frozenset({"poll_observed.v1"})

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Note what these polls say of drifts."""
        polls = [
            (event.stream.removeprefix(SOURCE_PREFIX), event.position, event.event)
            for event in events
            if isinstance(event.event, PollObserved) and event.event.findings
        ]
        if polls:
            drifts = _Known(cursor, polls)
            for source, position, poll in polls:
                drifts.take(source, position, poll)
            drifts.write(cursor)


PROJECTION = Drifts()


class _Known:
    """The drifts that some polls may change, and what they make of them."""

    def __init__(self, cursor: Cursor[Any], polls: Sequence[tuple[str, int, PollObserved]]) -> None:
        self._by_user: dict[tuple[str, str], dict[int, Drift]] = {}
        self._changed: set[tuple[str, str, int]] = set()
        named = {(finding.uid, source) for source, _, poll in polls for finding in poll.findings}
        since = min(finding.disagreed_at for _, _, poll in polls for finding in poll.findings)
        users = texts([uid for uid, _ in named]), texts([source for _, source in named])
        for row in cursor.execute(_KNOWN, (*users, since)).fetchall():
            self._keep(Drift(*row))

    def take(self, source: str, position: int, poll: PollObserved) -> None:
        """What a poll's event, stored at that position, says."""
        for finding in poll.findings:
            # A drift whose doubt an event has made void has no look that ends it: the next drift of the user does.
            for drift in list(self._by_user.get((finding.uid, source), {}).values()):
                if drift.state in UNFINISHED and drift.disagreed_at < finding.disagreed_at:
                    over = drift._replace(state="cleared", ended_at=poll.answered_at, last_position=position)
                    self._change(over)
        for finding in poll.findings:
            self._change(self._after(source, position, poll, finding))

    def write(self, cursor: Cursor[Any]) -> None:
        """Store those that have changed."""
        changed = [self._by_user[uid, source][at] for uid, source, at in sorted(self._changed)]
        columns = list(zip(*changed, strict=True))
        cursor.execute(_WRITE, [pack(column) for pack, column in zip(_PACKED, columns, strict=True)])

    def _after(self, source: str, position: int, poll: PollObserved, finding: Finding) -> Drift:
        """The drift of a finding, new or as found before."""
        ended_at = None if finding.outcome in UNFINISHED else poll.answered_at
        before = self._by_user.get((finding.uid, source), {}).get(finding.disagreed_at)
        if before is None:
            return Drift(
                uid=finding.uid,
                source=source,
                position=position,
                kind=finding.drift,
                state=finding.outcome,
                agreed_at=finding.agreed_at,
                disagreed_at=finding.disagreed_at,
                ended_at=ended_at,
                attributed_to=finding.attributed_to,
                run=poll.run,
                node=poll.node,
                last_position=position,
            )
        return before._replace(
            state=finding.outcome,
            ended_at=ended_at,
            attributed_to=finding.attributed_to or before.attributed_to,
            run=poll.run,
            node=poll.node,
            last_position=position,
        )

    def _change(self, drift: Drift) -> None:
        self._keep(drift)
        self._changed.add((drift.uid, drift.source, drift.disagreed_at))

    def _keep(self, drift: Drift) -> None:
        self._by_user.setdefault((drift.uid, drift.source), {})[drift.disagreed_at] = drift


# Column by column; those that may be NULL go as lists, which the packed arrays cannot hold.
_PACKED: tuple[Callable[[Any], Any], ...] = (
    *(texts, texts, bigints, texts, texts, list, bigints, list, list),
    *(texts, texts, bigints),
)


def page(connection: Connection[TupleRow], wanted: DriftFilter, after: tuple[int, str], limit: int) -> list[Drift]:
    """Drifts by the position and user at which they were first found, after those of `after`."""
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


def latest_positions(connection: Connection[TupleRow], source: str, limit: int) -> list[int]:
    """The positions of the polls that first spoke of a source's last drifts, so many at most, the latest first."""
    return [position for (position,) in connection.execute(_LATEST, (source, limit)).fetchall()]


def polls_around(connection: Connection[TupleRow], uid: str, at: Instant) -> list[int]:
    """The positions of the polls that first and last spoke of the user's drifts which may have been there then."""
    rows = connection.execute(_POLLS_AROUND, (uid, at, at)).fetchall()
    return sorted({position for row in rows for position in row})


def wrongly_shown(connection: Connection[TupleRow], source: str, since: Instant, until: Instant) -> WronglyShown:
    """Those of a source of whom looks found it between two instants; until then where it is not over."""
    asked = {"source": source, "since": since, "until": until}
    row = connection.execute(_WRONGLY_SHOWN, asked).fetchone()
    assert row is not None
    users, least, most = row
    return WronglyShown(users, least / SECOND, most / SECOND)

"""The projection `blind`: the times in which nobody could know who came and went; its table."""

from collections.abc import Sequence
from typing import Any, LiteralString, cast

from psycopg import Cursor

from ledger.domain.alert_events import AlertBegan, AlertEnded
from ledger.domain.blind import BlindTime, after_event, before_start
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import ServiceStarted
from ledger.domain.evidence import Placed
from ledger.domain.instants import from_datetime
from ledger.store.arrays import bigints, optional_bigints, texts
from ledger.store.mapper import SOURCE_PREFIX, EventMapper, source_stream
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.models import outages

STORE_ALERT = "store_unavailable"
"""The alert by which it is known that PostgreSQL was away."""
SPOOLED = "spooled"
"""Its figure that says that webhooks were spooled meanwhile."""

MAX_SERVICES = 64
"""So many starts and stops before a start are looked at: who had started before them is long gone."""

COLUMNS: LiteralString = "source, position, node, kind, since, until, reason, last_position, listed_at, others"

_READ: LiteralString = f"SELECT {COLUMNS} FROM blind_times"  # noqa: S608  (of constants)
_MAY_CHANGE: LiteralString = (
    _READ
    + " WHERE until IS NULL"
    + " OR (kind IN ('service_stopped', 'before_record') AND (listed_at IS NULL OR others <> ''))"
)

_WRITE_TEMPLATE: LiteralString = """
INSERT INTO blind_times ({})
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::text[],
                     %b::bigint[], %b::bigint[], %b::text[])
    ON CONFLICT (source, position, node) DO UPDATE
   SET until = excluded.until, last_position = excluded.last_position, listed_at = excluded.listed_at
"""
_WRITE = _WRITE_TEMPLATE.format(COLUMNS)
_PACKED: tuple[Any, ...] = (
    *(texts, bigints, texts, texts, bigints, optional_bigints, texts),
    *(optional_bigints, optional_bigints, texts),
)

_DROP = "DELETE FROM blind_times WHERE source = %s AND position = %s AND node = %s"

# `kind IN` as the partial index of signs has it.
_SERVICES = """
SELECT kind, payload FROM events
 WHERE stream = %s AND position < %s AND kind IN ('service_started.v1', 'service_stopped.v1')
 ORDER BY position DESC LIMIT %s
"""
_BEFORE = "SELECT position, kind, recorded_at, payload FROM events WHERE stream = %s AND version = %s"

_mapper = EventMapper()


class Blind:
    """Follows the sources' starts, stops, runs and outages; its state are the rows that may still change."""

    name = "blind"
    tables: Sequence[str] = ("blind_times",)
    kinds = outages.KINDS | {
        *("service_started.v1", "service_stopped.v1", "run_started.v1", "run_ended.v1"),
        *("alert_began.v1", "alert_ended.v1"),
    }

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Write the times that these events begin, end or change."""
        if not events:
            return
        times = _Times(cursor)
        for followed in events:
            times.take(followed)
        times.write()


PROJECTION = Blind()


class _Times:
    """The times that may change, and what some events make of them."""

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor = cursor
        rows = cursor.execute(_MAY_CHANGE, binary=True).fetchall()
        self._live = {time.key: time for time in (BlindTime(*row) for row in rows)}
        self._changed: dict[tuple[str, int, str], BlindTime] = {}
        self._dropped: set[tuple[str, int, str]] = set()

    def take(self, followed: Followed) -> None:
        """What an event of a source says."""
        name, event = followed.stream.removeprefix(SOURCE_PREFIX), cast(SourceEvent, followed.event)
        if isinstance(event, ServiceStarted):
            self._take_start(name, followed, event)
            return
        if isinstance(event, AlertBegan | AlertEnded):
            self._take_alert(name, followed, event)
            return
        self._take_outages(name, followed, event)
        for time in [each for each in self._live.values() if each.source == name and each.is_without_us]:
            after = after_event(time, event)
            if after is None:
                del self._live[time.key]
                self._changed.pop(time.key, None)
                self._dropped.add(time.key)
            elif after != time:
                self._keep(after)

    def write(self) -> None:
        """Store those that have changed."""
        for key in sorted(self._dropped):
            self._cursor.execute(_DROP, key)
        if self._changed:
            columns = list(zip(*self._changed.values(), strict=True))
            self._cursor.execute(_WRITE, [pack(column) for pack, column in zip(_PACKED, columns, strict=True)])

    def _take_start(self, name: str, followed: Followed, started: ServiceStarted) -> None:
        start = _placed(name, followed.position, followed.version, from_datetime(followed.recorded_at), started)
        rows = self._cursor.execute(_SERVICES, (followed.stream, followed.position, MAX_SERVICES)).fetchall()
        services = [cast(SourceEvent, _mapper.event(kind, payload)) for kind, payload in reversed(rows)]
        version = followed.version

        def last_before(_: int) -> Placed | None:
            nonlocal version
            version -= 1
            return self._event_at(name, version)

        time = before_start(start, started, services, last_before)
        if time is not None:
            self._keep(time)

    def _event_at(self, name: str, version: int) -> Placed | None:
        row = self._cursor.execute(_BEFORE, (source_stream(name), version)).fetchone()
        if row is None:
            return None
        position, kind, recorded_at, payload = row
        event = cast(SourceEvent, _mapper.event_at(position, kind, payload))
        return _placed(name, position, version, from_datetime(recorded_at), event)

    def _take_outages(self, name: str, followed: Followed, event: SourceEvent) -> None:
        still_open = {
            each.node: each
            for each in self._live.values()
            if each.source == name and each.kind in ("source_dark", "node_down")
        }
        before = {node: time.since for node, time in still_open.items()}
        after = outages.outages_after(name, before, event, followed.position)
        for node in after.keys() - before.keys():
            kind = "node_down" if node else "source_dark"
            reason = outages.reason_of(event)
            self._keep(BlindTime(name, followed.position, node, kind, after[node], None, reason))
        for node in before.keys() - after.keys():
            self._keep(still_open[node]._replace(until=outages.told_at(followed), last_position=followed.position))

    def _take_alert(self, name: str, followed: Followed, event: AlertBegan | AlertEnded) -> None:
        """PostgreSQL did not take what was to be recorded: nobody could record that, but the alert is told later."""
        if event.name != STORE_ALERT:
            return
        if isinstance(event, AlertBegan):
            reason = str(event.figures.get("reason", ""))
            kind = "spooling" if event.figures.get(SPOOLED) else "store_unavailable"
            self._keep(BlindTime(name, followed.position, "", kind, event.since, None, reason))
            return
        for time in list(self._live.values()):
            if time.source == name and time.kind in ("store_unavailable", "spooling"):
                self._keep(time._replace(until=max(time.since, event.since), last_position=followed.position))

    def _keep(self, time: BlindTime) -> None:
        self._changed[time.key] = time
        if time.may_change:
            self._live[time.key] = time
        else:
            self._live.pop(time.key, None)


def _placed(name: str, position: int, version: int, recorded_at: int, event: SourceEvent) -> Placed:
    return Placed(position, version, recorded_at, name, "", event)

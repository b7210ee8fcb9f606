"""The figures that are read from the database, for `/metrics`: head, projections, agenda, sinks, sources, sizes, users.

Every instance shows the same, whichever leads; nothing is shown of what is not known. Alerts stay while the database is
away: as the instance has them in mind that evaluates them, as they were read last on the others.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ledger.domain.source import SourceState
from ledger.http import alert_figures, sink_figures, source_figures
from ledger.http.kept import Kept
from ledger.http.source_figures import Noted
from ledger.store import sizes
from ledger.store.sizes import DatabaseFigures
from ledger.working_state import alerts, followers, node_health, sinks
from ledger.working_state.alerts import AlertRow
from ledger.working_state.sinks import SinkRow
from projections.engine import checkpoints
from projections.engine.checkpoints import Checkpoint

if TYPE_CHECKING:
    from ledger.http.state import Services

STATUSES = ("online", "offline", "unknown")


class FiguresRead(NamedTuple):
    """What was read of one moment, or nearly."""

    checkpoints: Sequence[Checkpoint]
    agenda: int
    """The position that the agenda has heard."""
    sinks: Sequence[SinkRow]
    states: Mapping[str, SourceState]
    noted: Mapping[str, Noted]
    alerts: Sequence[AlertRow]
    database: DatabaseFigures


def read(services: "Services") -> FiguresRead:
    """Read it all. Raises StoreUnavailable."""
    states = services.streams.states()
    names = {each.name for each in services.settings.sinks}
    with services.ledger.connection() as connection:
        return FiguresRead(
            checkpoints.read(connection),
            followers.followed(connection),
            [row for name, row in sinks.read(connection).items() if name in names] if names else [],
            states,
            node_health.of_all(connection),
            alerts.on(connection),
            sizes.read(connection),
        )


class LedgerFigures(Collector):
    """As they were read last."""

    def __init__(self, services: "Services") -> None:
        self.services = services
        """Those in force: the settings may be read anew."""
        self._reading = Kept(lambda: asyncio.to_thread(self._read))
        self._users = Kept(services.reader.statuses)
        self._alerts: Sequence[AlertRow] | None = None
        self.alerts_here: Callable[[], Sequence[AlertRow] | None] = lambda: None
        """The alerts that are on, on record or not; None where another instance evaluates them. The service sets it."""

    async def refresh(self) -> None:
        """Read anew what is due."""
        await asyncio.gather(self._reading.refresh(), self._users.refresh())

    def collect(self) -> Iterable[Metric]:
        """Of a reading that does not come to its end it is known that the database does not answer."""
        reading = None if self._reading.is_late else self._reading.value
        up = GaugeMetricFamily(
            "presence_ledger_database_up", "1 if the database answers questions", value=reading is not None
        )
        users = GaugeMetricFamily("presence_ledger_users", "Users ever observed, by status shown", labels=["status"])
        if reading is None:
            return [up, *self._alerts_in_mind()]
        if (counted := self._users.value) is not None:
            for status in STATUSES:
                users.add_metric([status], counted.get(status, 0))
        return [
            up,
            users,
            *_progress(reading),
            *_sizes(reading.database),
            *sink_figures.families(reading.sinks, reading.checkpoints[0].head),
            *source_figures.families(self.services.settings.sources, reading.states, reading.noted),
            *alert_figures.families(reading.alerts),
        ]

    def _read(self) -> FiguresRead:
        reading = read(self.services)
        self._alerts = reading.alerts
        return reading

    def _alerts_in_mind(self) -> Sequence[Metric]:
        here = self.alerts_here()
        rows = self._alerts if here is None else here
        return [] if rows is None else alert_figures.families(rows)


def _progress(reading: FiguresRead) -> list[Metric]:
    head = reading.checkpoints[0].head
    lag = GaugeMetricFamily(
        "presence_ledger_projection_lag_events", "Positions that a projection is behind", labels=["projection"]
    )
    stopped = GaugeMetricFamily(
        "presence_ledger_projection_stopped", "1 where a projection met an event it cannot take", labels=["projection"]
    )
    for each in reading.checkpoints:
        lag.add_metric([each.name], each.lag)
        stopped.add_metric([each.name], each.stopped_position is not None)
    return [
        GaugeMetricFamily("presence_ledger_head_position", "The ledger's last position", value=head),
        GaugeMetricFamily(
            "presence_ledger_agenda_lag_events",
            "Positions that the agenda of looks is behind",
            value=max(0, head - reading.agenda),
        ),
        lag,
        stopped,
    ]


def _sizes(database: DatabaseFigures) -> list[Metric]:
    found: list[Metric] = [
        GaugeMetricFamily("presence_ledger_database_size_bytes", "The database, in bytes", value=database.size),
        GaugeMetricFamily(
            "presence_ledger_clock_offset_seconds",
            "By how much the database's clock is ahead of this machine's, at least",
            value=database.clock_offset_seconds,
        ),
    ]
    if database.wal_size is not None:
        found.append(
            GaugeMetricFamily(
                "presence_ledger_wal_size_bytes", "The server's write-ahead log, in bytes", value=database.wal_size
            )
        )
    return found

"""The sinks' figures for `/metrics`: read from the database, where whichever instance leads writes them."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ledger.domain.observation import SECOND, Instant
from ledger.working_state.sinks import SinkRow


class SinkFigures(Collector):
    """As they were read last; nothing is shown of what is not known."""

    def __init__(self) -> None:
        self._rows: list[SinkRow] = []
        self._head = 0
        self._now: Instant = 0

    def show(self, rows: Iterable[SinkRow], head: int, now: Instant) -> None:
        """From now on these."""
        self._rows, self._head, self._now = list(rows), head, now

    def collect(self) -> Iterable[Metric]:
        """One of each for every sink."""
        lag = _gauge("sink_lag_events", "Positions of the ledger that a sink has not been told of")
        failing = _gauge("sink_failing_seconds", "For how long all attempts to tell a sink have failed; 0: they do not")
        held = _gauge("sink_held", "Whether a sink is paused, or stopped by its receiver")
        success = _gauge("sink_last_success_timestamp_seconds", "When a sink was last told something, Unix seconds")
        told = _counter("sink_changes", "Changes that a sink has been told")
        failures = _counter("sink_failures", "Attempts to tell a sink that failed")
        for row in self._rows:
            labels = [row.name]
            lag.add_metric(labels, max(0, self._head - row.checkpoint.position))
            since = row.failing_since
            failing.add_metric(labels, 0 if since is None else max(0.0, (self._now - since) / SECOND))
            held.add_metric(labels, row.is_held)
            if row.last_success_at is not None:
                success.add_metric(labels, row.last_success_at / SECOND)
            told.add_metric(labels, row.told)
            failures.add_metric(labels, row.failures)
        return [lag, failing, held, success, told, failures]


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"presence_ledger_{name}", text, labels=["sink"])


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"presence_ledger_{name}", text, labels=["sink"])

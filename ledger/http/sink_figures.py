"""The sinks' figures for `/metrics`: read from the database, where whichever instance leads writes them."""

from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ledger.domain.observation import SECOND, Instant
from ledger.working_state.sinks import SinkRow


def families(rows: Iterable[SinkRow], head: int) -> Sequence[Metric]:
    """One of each for every sink; `head` is the ledger's last position."""
    lag = _gauge("sink_lag_events", "Positions of the ledger that a sink has not been told of")
    failing = _gauge(
        "sink_failing_timestamp_seconds", "Since when all attempts to tell a sink have failed; 0: they do not"
    )
    held = _gauge("sink_held", "1 while a sink is paused, or stopped by its receiver")
    success = _gauge("sink_last_success_timestamp_seconds", "When a sink was last told something")
    told = _counter("sink_changes", "Changes that a sink has been told")
    failures = _counter("sink_failures", "Attempts to tell a sink that failed")
    for row in rows:
        labels = [row.name]
        lag.add_metric(labels, max(0, head - row.checkpoint.position))
        failing.add_metric(labels, _seconds(row.failing_since or 0))
        held.add_metric(labels, row.is_held)
        if row.last_success_at is not None:
            success.add_metric(labels, _seconds(row.last_success_at))
        told.add_metric(labels, row.told)
        failures.add_metric(labels, row.failures)
    return [lag, failing, held, success, told, failures]


def _seconds(at: Instant) -> float:
    return at / SECOND


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"presence_ledger_{name}", text, labels=["sink"])


def _counter(name: str, text: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"presence_ledger_{name}", text, labels=["sink"])

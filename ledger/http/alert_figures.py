"""The alerts that are on, for `/metrics`: how many by name and state, and each with what it is of."""

from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from ledger.alerts.definitions import BY_NAME
from ledger.domain.alert_events import SERVICE
from ledger.working_state.alerts import AlertRow, State

STATES: tuple[State, ...] = ("firing", "acknowledged")


def families(rows: Iterable[AlertRow]) -> Sequence[Metric]:
    """Every name is there, with 0 where nothing is wrong; of one subject there may be several incidents."""
    number = GaugeMetricFamily("presence_ledger_alerts", "Alerts that are on", labels=["name", "state"])
    on = GaugeMetricFamily(
        "presence_ledger_alert_on", "1 for each alert that is on", labels=["name", "source", "subject"]
    )
    rows = list(rows)
    counted = Counter((row.name, row.state) for row in rows)
    for name in BY_NAME:
        for state in STATES:
            number.add_metric([name, state], counted[name, state])
    for name, source, subject in sorted({(row.name, row.source, row.subject) for row in rows}):
        on.add_metric([name, "" if source == SERVICE else source, subject], 1)
    return [number, on]

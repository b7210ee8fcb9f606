"""The events that an alert rests on: looked up once, when it begins."""

from collections.abc import Mapping

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.alerts.words import LEAST, MOST, WRONG_USERS
from ledger.domain.alert_events import SERVICE, Figures
from ledger.domain.observation import Instant
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from ledger.working_state.alerts import AlertRow
from projections.models import drifts

SIGNS: Mapping[str, str] = {
    "source_dark": "source_dark.v1",
    "node_down": "node_down.v1",
    "breaker_open": "breaker_opened.v1",
}
"""The kind of event that a source's alert begins with."""

OF_DRIFTS = frozenset({"drift_rate", "webhook_loss_budget", "webhooks_silent", "wrong_cluster"})
MAX_EVENTS = 10


def rests_on(ledger: Ledger, connection: Connection[TupleRow], row: AlertRow) -> tuple[int, ...]:
    """Positions in the ledger, so many at most."""
    if row.source == SERVICE:
        position = row.figures.get("position")
        return (position,) if isinstance(position, int) else ()
    if row.incident.startswith("boot "):
        return (int(row.incident.removeprefix("boot ")),)
    if (kind := SIGNS.get(row.name)) is not None:
        return _signs(ledger, connection, row, kind)
    if row.name in OF_DRIFTS:
        return tuple(sorted(drifts.latest_positions(connection, row.source, MAX_EVENTS)))
    return ()


def _signs(ledger: Ledger, connection: Connection[TupleRow], row: AlertRow, kind: str) -> tuple[int, ...]:
    """The last sign of that kind, of the node where it is one's."""
    rows = ledger.events_recorder.last_signs(source_stream(row.source), kind, MAX_EVENTS, connection)
    for found in rows:
        if not row.subject or getattr(ledger.event(found), "node", row.subject) == row.subject:
            return (found.position,)
    return ()


def cost(connection: Connection[TupleRow], row: AlertRow, until: Instant) -> Figures:
    """What an alert of a source has cost its users, as far as looks have found that; nothing where none was wrong."""
    if row.source == SERVICE:
        return {}
    found = drifts.wrongly_shown(connection, row.source, row.since, until)
    if not found.users:
        return {}
    return {WRONG_USERS: found.users, LEAST: round(found.least_seconds, 1), MOST: round(found.most_seconds, 1)}

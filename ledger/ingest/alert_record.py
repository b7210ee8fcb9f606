"""Alerts on record: their events, and their rows in the same transaction. Each is decided under the commit lock.

So of two instances that find the same at once, one begins the alert, and one ends it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.alert_events import AlertAcknowledged, AlertBegan, AlertEnded, Figures
from ledger.domain.event_types import Event
from ledger.domain.observation import Instant
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.working_state import alerts
from ledger.working_state.alerts import AlertRow, by_incident


class EndedAlert(NamedTuple):
    """An alert that is over, by its id."""

    id: str
    at: Instant
    since: Instant
    figures: Figures


def record(ledger: Ledger, source: str, began: Sequence[AlertRow], ended: Sequence[EndedAlert]) -> None:
    """Put on record what began of a source and what ended, as far as it is not yet.

    What began has its position from the record. Raises StoreUnavailable, SourceUnreadable; nothing is on record then,
    as far as is known.
    """
    given = _Given(source, began, ended)
    append(ledger, {source: None}, (), given.decide, given.write, given.load)


class _Given:
    """What is to be put on record of a source, and what is on as of the lock."""

    def __init__(self, source: str, began: Sequence[AlertRow], ended: Sequence[EndedAlert]) -> None:
        self._source = source
        self._began = began
        self._ended = ended
        self._on: dict[str, AlertRow] = {}
        self._incidents: set[tuple[str, str, str, str]] = set()

    def load(self, connection: Connection[TupleRow]) -> None:
        is_on = [row for row in alerts.on(connection) if row.source == self._source]
        self._on = {row.id: row for row in is_on}
        self._incidents = set(by_incident(is_on))

    def decide(self, draft: Draft) -> Iterator[Recorded]:
        yield from self._ends(draft)
        for row in self._began:
            incident = by_incident([row]).keys()
            if not incident & self._incidents:
                self._incidents |= incident
                self._on[row.id] = row
                yield draft.append_to_source(self._source, _began(row))
                # It may have been over while nothing could be put on record.
                yield from self._ends(draft)

    def _ends(self, draft: Draft) -> Iterator[Recorded]:
        for over in self._ended:
            if (row := self._on.pop(over.id, None)) is not None:
                self._incidents -= by_incident([row]).keys()
                yield draft.append_to_source(self._source, _ended(row, over))

    def write(self, cursor: Cursor[Any], events: list[tuple[int, Event]]) -> None:
        rows = {row.id: row for row in self._began}
        for position, event in events:
            if isinstance(event, AlertEnded):
                alerts.end(cursor, event.alert, event.at, event.figures)
            elif isinstance(event, AlertBegan):
                alerts.begin(cursor, rows[event.alert]._replace(position=position))


def acknowledge(ledger: Ledger, alert: str, at: Instant, by: str) -> AlertRow | None:
    """Put on record that somebody knows of an alert -> the alert, None where there is none of that id.

    One that is over, or is known already, stays as it is. Raises StoreUnavailable, SourceUnreadable.
    """
    with ledger.connection() as connection:
        if (found := alerts.get(connection, alert)) is None or found.state != "firing":
            return found
    in_force: list[AlertRow] = []

    def load(connection: Connection[TupleRow]) -> None:
        in_force.extend(filter(None, [alerts.get(connection, alert)]))

    def decide(draft: Draft) -> Iterator[Recorded]:
        for row in in_force:
            if row.state == "firing":
                event = AlertAcknowledged(alert=row.id, name=row.name, at=at, by=by, subject=row.subject)
                yield draft.append_to_source(row.source, event)

    def also(cursor: Cursor[Any], events: list[tuple[int, Event]]) -> None:
        if events:
            alerts.acknowledge(cursor, alert, at, by)

    append(ledger, {found.source: None}, (), decide, also, load)
    with ledger.connection() as connection:
        return alerts.get(connection, alert)


def _began(row: AlertRow) -> AlertBegan:
    return AlertBegan(
        alert=row.id,
        name=row.name,
        severity=row.severity,
        at=row.began_at,
        since=row.since,
        subject=row.subject,
        figures=row.figures,
        rests_on=tuple(row.rests_on),
    )


def _ended(row: AlertRow, over: EndedAlert) -> AlertEnded:
    return AlertEnded(
        alert=row.id, name=row.name, at=over.at, since=over.since, subject=row.subject, figures=over.figures
    )

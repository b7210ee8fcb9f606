"""What of alerts is not on record yet: put there as soon as the store takes it, kept in a file of the data folder until
then."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.alerting.evidence import cost, rests_on
from ledger.alerting.journal import AlertChanges, Journal
from ledger.domain.alert_events import Figures
from ledger.domain.observation import Instant
from ledger.errors import LedgerError
from ledger.ingest import alert_record
from ledger.ingest.alert_record import EndedAlert
from ledger.repeated_logs import LoggedOutage
from ledger.store.ledger import Ledger
from ledger.working_state import alerts
from ledger.working_state.alerts import AlertRow, Notices


class Unrecorded:
    """Of one instance; its calls do not overlap. Nothing is put on record while it `waits`."""

    def __init__(self, ledger: Ledger, journal: Journal, waits: Callable[[], bool] = lambda: False) -> None:
        self._ledger = ledger
        self._journal = journal
        self._waits = waits
        self._has_taken_over = False
        self._outage = LoggedOutage("alerts_not_recorded", "alerts_recorded")
        self.began: list[AlertRow] = []
        self.ended: list[tuple[str, EndedAlert]] = []
        """With its source."""

    def __bool__(self) -> bool:
        return bool(self.began or self.ended)

    def take_over(self) -> None:
        """What an instance before this one could not put on record, once. Raises StoreUnavailable."""
        if self._has_taken_over:
            return
        with self._ledger.connection() as connection:
            left = self._journal.left(connection)
        self.began, self.ended = [*left.began, *self.began], [*left.ended, *self.ended]
        self._has_taken_over = True

    def keep(self, now: Instant) -> None:
        """What is there outlives this instance."""
        # Before that the file has what is still to be taken over.
        if self._has_taken_over:
            self._journal.keep(AlertChanges(self.began, self.ended), now)

    def note_told(self, notices: Mapping[str, Notices]) -> None:
        """Who has been told of what began, by alert."""
        self.began = [row._replace(notices={**row.notices, **notices.get(row.id, {})}) for row in self.began]

    def note_notices(self, notices: Mapping[str, Notices]) -> None:
        """The same of what is on record. Raises StoreUnavailable."""
        with self._ledger.connection() as connection:
            for alert, told in notices.items():
                alerts.note_notices(connection, alert, told)

    def record(self, changed: Mapping[str, dict[str, Any]] | None = None) -> dict[str, Figures]:
        """Put on record what is not yet, source by source: one that cannot be read holds up no other.

        `changed`: figures of alerts that are on record, by id. -> the figures of those that ended, with what they cost
        """
        costs: dict[str, Figures] = {}
        sources = {row.source for row in self.began} | {source for source, _ in self.ended}
        for source in () if self._waits() else sources:
            began = [row for row in self.began if row.source == source]
            ended = [over for its, over in self.ended if its == source]
            try:
                with self._ledger.connection() as connection:
                    began = [row._replace(rests_on=rests_on(self._ledger, connection, row)) for row in began]
                    ended = [self._with_cost(connection, over, began) for over in ended]
                alert_record.record(self._ledger, source, began, ended)
            except LedgerError as error:
                self._outage.failed(str(error))
                continue
            self._outage.succeeded()
            costs |= {over.id: over.figures for over in ended}
            self.began = [row for row in self.began if row.source != source]
            self.ended = [each for each in self.ended if each[0] != source]
        if changed:
            with self._ledger.connection() as connection:
                alerts.note_figures(connection, changed)
        return costs

    @staticmethod
    def _with_cost(connection: Connection[TupleRow], over: EndedAlert, began: Sequence[AlertRow]) -> EndedAlert:
        row = next((each for each in began if each.id == over.id), None) or alerts.get(connection, over.id)
        return over if row is None else over._replace(figures={**over.figures, **cost(connection, row, over.at)})

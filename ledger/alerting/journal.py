"""Alerts that are not on record yet, in a file of the data folder: an instance that ends before its store is back loses
none of them."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.alerts.definitions import BY_NAME
from ledger.domain.observation import Instant
from ledger.files import NotOurs, open_own, replacement
from ledger.ingest.alert_record import EndedAlert
from ledger.repeated_logs import LoggedOutage
from ledger.working_state import alerts
from ledger.working_state.alerts import AlertRow
from projections.queries import history

log = structlog.get_logger()

FILE = "unrecorded-alerts.json"
STORE_ALERT = "store_unavailable"


class AlertChanges(NamedTuple):
    """What began and what ended, with its source, in order."""

    began: Sequence[AlertRow] = ()
    ended: Sequence[tuple[str, EndedAlert]] = ()


class _Kept(msgspec.Struct):
    ledger: str
    """Its id: what another one was not told is none of this one's."""
    held_at: Instant
    """What has not ended held then."""
    began: list[AlertRow]
    ended: list[tuple[str, EndedAlert]]


class Journal:
    """The file of one ledger; of one thread at a time."""

    def __init__(self, folder: Path, ledger: str) -> None:
        self._path = folder / FILE
        self._ledger = ledger
        self._outage = LoggedOutage("alerts_not_kept", "alerts_kept")
        self._is_there = True

    def keep(self, left: AlertChanges, now: Instant) -> None:
        """Durable by then, as far as the disk lets it be; without any there is no file."""
        try:
            if left.began or left.ended:
                kept = _Kept(self._ledger, now, list(left.began), list(left.ended))
                with replacement(self._path) as file:
                    file.write(msgspec.json.encode(kept))
                self._is_there = True
            elif self._is_there:
                self._path.unlink(missing_ok=True)
                self._is_there = False
        except OSError as error:
            # They are told all the same, and put on record by this instance if it lives. Its text names a draft.
            self._outage.failed(f"{self._path}: {error.strerror}")
        else:
            self._outage.succeeded()

    def left(self, connection: Connection[TupleRow]) -> AlertChanges:
        """What an instance before this one could not put on record. Raises StoreUnavailable.

        Of an incident that another instance has put on record meanwhile there is nothing left to say.
        """
        if (kept := self._read()) is None:
            return AlertChanges()
        since = min((row.since for row in kept.began), default=kept.held_at)
        known = alerts.recent(connection, since)
        began = [row for row in kept.began if row.name in BY_NAME and not _is_known(row, known)]
        ended = [*kept.ended, *_over_meanwhile(connection, kept, began)]
        return AlertChanges(began, ended)

    def _read(self) -> _Kept | None:
        try:
            with os.fdopen(open_own(self._path, os.O_RDONLY), "rb") as file:
                kept = msgspec.json.decode(file.read(), type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, NotOurs, msgspec.MsgspecError) as error:
            log.warning("kept_alerts_unreadable", file=str(self._path), reason=str(error).splitlines()[0])
            return None
        return kept if kept.ledger == self._ledger else None


def _is_known(row: AlertRow, known: Iterable[AlertRow]) -> bool:
    """Whether an alert, or another one of its incident that was on when it was, is on record."""
    incident = alerts.by_incident([row]).keys()
    return any(
        each.id == row.id or (incident == alerts.by_incident([each]).keys() and each.began_at >= row.since)
        for each in known
    )


def _over_meanwhile(
    connection: Connection[TupleRow], kept: _Kept, began: Iterable[AlertRow]
) -> list[tuple[str, EndedAlert]]:
    """That the store was away was over with the first thing that it took, whoever saw to what it means since."""
    over = {each.id for _, each in kept.ended}
    lasting = [row for row in began if row.name == STORE_ALERT and row.id not in over]
    if not lasting or (at := history.recorded_after(connection, kept.held_at)) is None:
        return []
    return [(row.source, EndedAlert(row.id, at, at, row.figures)) for row in lasting]

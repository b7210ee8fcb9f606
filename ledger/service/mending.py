"""Makes right what a ledger that went back has left wrong: projections built on lost events, rows no event supports.

It is done by the projector's process, between its rounds: webhooks and answers go on.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.errors import LedgerError, StoreUnavailable
from ledger.store.ledger import translated
from projections.engine import rebuild
from projections.engine.rebuild import Rebuild
from projections.models import repair_current
from projections.models.registry import AFTER_FILLING, FOLLOWING

log = structlog.get_logger()

RETRY_DELAY_SECONDS = 30.0
"""After something that could not be made right, be it that another instance is at it."""


class Mending:
    """What one process makes right of a database."""

    def __init__(self, database_url: str, archive: Folder | None = None) -> None:
        self._archive = archive
        self._database_url = database_url
        self._not_before: dict[str, float] = {}

    def mend(self, connection: Connection[TupleRow], astray: Sequence[str]) -> None:
        """Hold `current` against the events if that is due, and rebuild these projections. Raises StoreUnavailable."""
        if self._may("current"):
            with translated():
                self._try("current", lambda: self._mend_current(connection))
        for name in astray:
            if self._may(name):
                self._try(name, partial(self._rebuild, name))

    def _may(self, name: str) -> bool:
        return time.monotonic() >= self._not_before.get(name, 0.0)

    def _try(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except StoreUnavailable:
            raise
        except LedgerError as error:
            self._not_before[name] = time.monotonic() + RETRY_DELAY_SECONDS
            log.warning("projection_not_made_right", projection=name, reason=str(error))

    def _mend_current(self, connection: Connection[TupleRow]) -> None:
        found = repair_current.repair(connection)
        if found is not None:
            said = log.error if found.wrong else log.info
            said("current_held_against_events", users=found.users, made_right=found.wrong)

    def _rebuild(self, name: str) -> None:
        log.error(
            "projection_astray", projection=name, reason="it was built on events that are no longer in the ledger"
        )
        with rebuild.alone(self._database_url, name) as connection:
            position = Rebuild(
                connection, self._database_url, FOLLOWING[name], archive=self._archive, also=AFTER_FILLING.get(name)
            ).run(lambda _done, _of: None)
        log.info("projection_rebuilt", projection=name, position=position)

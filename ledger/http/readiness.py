"""Whether webhooks can be taken as far as the ledger goes: whether each source can be read to its stream's end."""

import threading
from collections.abc import Iterable

from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger
from ledger.working_state import sources

WAIT_SECONDS = 2.0


class Streams:
    """The streams of these sources. What was read once is not read again."""

    def __init__(self, ledger: Ledger, names: Iterable[str]) -> None:
        self._ledger = ledger
        self._states: dict[str, SourceState | None] = dict.fromkeys(names)
        self._lineage = ledger.lineage
        self._reading = threading.Lock()

    def check(self) -> None:
        """Read what came since the last time. Raises SourceUnreadable, StoreUnavailable."""
        if not self._reading.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable("the sources' streams are still being read")
        try:
            if self._lineage != (lineage := self._ledger.lineage):
                self._states = dict.fromkeys(self._states)
                self._lineage = lineage
            with self._ledger.reading() as connection:
                for name, state in self._states.items():
                    self._states[name] = sources.bring_up_to_date(connection, self._ledger, name, state)
        finally:
            self._reading.release()

"""Whether an instance can take webhooks and answer: what readiness asks of the database and of the sources' streams."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.store_progress import StoreProgress
from ledger.store.ledger import Ledger, translated, try_to_write
from ledger.store.preflight import CLOCK_WAY_OUT, SKEW_SECONDS, offset_seconds, skew_in_words
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable

log = structlog.get_logger()

WAIT_SECONDS = 2.0
"""For another check that reads the streams already."""

_LOOK = "SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('transaction_read_only') = 'on'"


class CannotLead(StoreUnavailable):
    """PostgreSQL takes what is written, but this instance can neither lead nor see that another does."""


class Database:
    """The database of an instance: does it take writes, is its clock this machine's.

    `leads_not` says why the instance can neither lead nor see that another does.
    """

    def __init__(
        self,
        ledger: Ledger,
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]],
        store: StoreProgress,
        leads_not: Callable[[], str | None],
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._store = store
        self._leads_not = leads_not
        self._skewed = False

    async def look(self) -> float:
        """By how many seconds its clock is ahead of ours, at least. Raises StoreUnavailable where it takes no writes.

        A commit that failed is tried with an event that is taken back: a sender that was told to stop must learn that
        it is over.
        """
        before = time.time()
        with translated():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_LOOK)).fetchone()
        assert row is not None
        told, read_only = row
        offset = offset_seconds(before, told, time.time())
        self._note(offset)
        if read_only:
            raise StoreUnavailable("PostgreSQL takes no writes: it is a standby, or was set read-only")
        if self._store.trouble is not None:
            await asyncio.to_thread(self._try_to_write)
        if (reason := self._leads_not()) is not None:
            raise CannotLead(f"this instance can neither lead reconciliation nor see that another does: {reason}")
        return offset

    def _try_to_write(self) -> None:
        try_to_write(self._ledger)
        self._store.recovered()

    def _note(self, offset: float) -> None:
        """Say once that the clocks differ, until they no longer do."""
        skewed = abs(offset) > SKEW_SECONDS
        if skewed and not self._skewed:
            log.warning("clock_skew", reason=skew_in_words(offset), way_out=CLOCK_WAY_OUT)
        self._skewed = skewed


class SourceStreams:
    """The streams of these sources. What was read once is not read again."""

    def __init__(self, ledger: Ledger, names: Iterable[str]) -> None:
        self._ledger = ledger
        self._states: dict[str, SourceState | None] = dict.fromkeys(names)
        self._lineage = ledger.lineage
        self._reading = threading.Lock()

    def check(self) -> None:
        """Read what came since the last time. Raises SourceUnreadable, StoreUnavailable."""
        with self._up_to_date() as bring:
            for name in self._states:
                bring(name)

    def states(self) -> dict[str, SourceState]:
        """The same of those that can be read. Raises StoreUnavailable."""
        found = {}
        with self._up_to_date() as bring:
            for name in self._states:
                with suppress(SourceUnreadable):
                    found[name] = bring(name)
        return found

    @contextmanager
    def _up_to_date(self) -> Iterator[Callable[[str], SourceState]]:
        """What brings a source's state up to date."""
        if not self._reading.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable("the sources' streams are still being read")
        try:
            if self._lineage != (lineage := self._ledger.lineage):
                self._states = dict.fromkeys(self._states)
                self._lineage = lineage
            with self._ledger.reading() as connection:

                def bring(name: str) -> SourceState:
                    state = sources.bring_up_to_date(connection, self._ledger, name, self._states[name])
                    self._states[name] = state
                    return state

                yield bring
        finally:
            self._reading.release()

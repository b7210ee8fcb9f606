"""The database as readiness sees it: whether it takes what is written, and whether its clock is this machine's."""

import asyncio
import time
from collections.abc import Callable

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from ledger.errors import StoreUnavailable
from ledger.ingest.intake import Intake
from ledger.store.ledger import Ledger, translated, try_to_write
from ledger.store.preflight import CLOCK_WAY_OUT, SKEW_SECONDS, offset_seconds, skew_in_words

log = structlog.get_logger()

_LOOK = "SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('transaction_read_only') = 'on'"


class Database:
    """The one of an instance. `leads_not` says why the instance can neither lead nor see that another does."""

    def __init__(
        self,
        ledger: Ledger,
        pool: AsyncConnectionPool[AsyncConnection[TupleRow]],
        intake: Intake,
        leads_not: Callable[[], str | None],
    ) -> None:
        self._ledger = ledger
        self._pool = pool
        self._intake = intake
        self._leads_not = leads_not
        self._skewed = False

    async def look(self) -> float:
        """By how many seconds its clock is ahead of ours, at least. Raises StoreUnavailable where it takes no writes.

        A commit that failed is tried with an event that is taken back: who was told not to send any more must learn
        that it is over.
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
        if self._intake.trouble is not None:
            await asyncio.to_thread(self._try_to_write)
        if (reason := self._leads_not()) is not None:
            raise StoreUnavailable(f"this instance can neither lead reconciliation nor see that another does: {reason}")
        return offset

    def _try_to_write(self) -> None:
        try_to_write(self._ledger)
        self._intake.recovered()

    def _note(self, offset: float) -> None:
        """Say once that the clocks differ, until they no longer do."""
        skewed = abs(offset) > SKEW_SECONDS
        if skewed and not self._skewed:
            log.warning("clock_skew", reason=skew_in_words(offset), way_out=CLOCK_WAY_OUT)
        self._skewed = skewed

"""Finishes erasures that are under way, whoever began them, and removes what the log of reads need not keep.

What an erasure has still to do after its commit is noted in the database, by that commit: so none of it depends on the
instance that began it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import psycopg
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.errors import StoreUnavailable
from ledger.ingest import archive_turn, erasing_end
from ledger.settings import Settings
from ledger.store.ledger import Ledger
from ledger.working_state import reads

log = structlog.get_logger()

LOOK_SECONDS = 1.0
CANCEL_SECONDS = 2.0

OVERWRITE_SECONDS = 60.0
"""Between two times that PostgreSQL is to reuse space, at least."""

CLEAN_SECONDS = 600.0
"""As often files of the archive are removed that a crash has left, and the log of reads loses what is too old, …"""
CLEAN_ROWS = 10_000
"""… so much at a time."""

DAY_SECONDS = 86_400


class Erasures:
    """One instance's part; what one leaves undone another does."""

    def __init__(
        self, ledger: Ledger, database_url: str, settings: Callable[[], Settings], now: Callable[[], Instant]
    ) -> None:
        self._ledger = ledger
        self._url = database_url
        self._settings = settings
        self._now = now
        self._cleaned_at = float("-inf")
        self._overwritten_at = float("-inf")
        self._overwriting: Connection[TupleRow] | None = None
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, once a second."""
        self._task = asyncio.create_task(self._run(), name="erasures")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            if self._overwriting is not None:
                # The thread that waits for it would hold up the end of the process.
                with contextlib.suppress(psycopg.Error):
                    await asyncio.to_thread(self._overwriting.cancel_safe, timeout=CANCEL_SECONDS)
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
                self._failed = False
            except StoreUnavailable:
                pass
            except Exception:  # a defect must be seen, once, and must not end what erasures still need
                if not self._failed:
                    self._failed = True
                    log.exception("erasures_not_finished")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Do what is due. Raises StoreUnavailable."""
        await asyncio.to_thread(erasing_end.finish, self._ledger, [sink.name for sink in self._settings().sinks])
        if time.monotonic() - self._overwritten_at >= OVERWRITE_SECONDS and await asyncio.to_thread(
            erasing_end.leaves_space, self._ledger
        ):
            await asyncio.to_thread(self._overwrite)
        if time.monotonic() - self._cleaned_at >= CLEAN_SECONDS:
            await asyncio.to_thread(self._clean)
            self._cleaned_at = time.monotonic()

    def _overwrite(self) -> None:
        def began(connection: Connection[TupleRow]) -> None:
            self._overwriting = connection

        try:
            erasing_end.overwrite(self._url, began)
        finally:
            self._overwriting = None
            self._overwritten_at = time.monotonic()

    def _clean(self) -> None:
        # An erasure's replaced files, too, where nothing is archived any more.
        with self._ledger.connection() as connection:
            archive_turn.clean_files(connection, self._settings().archive_dir)
        before = self._now() - round(self._settings().reads_days * DAY_SECONDS * SECOND)
        removed = CLEAN_ROWS
        while removed == CLEAN_ROWS:
            with self._ledger.connection() as connection:
                removed = reads.remove_before(connection, before, CLEAN_ROWS)

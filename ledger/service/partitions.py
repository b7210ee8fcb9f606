"""Keeps room in the ledger's table: a partition ahead, and the plain table of an older version made one of many."""

import asyncio
import contextlib

import psycopg
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.errors import StoreUnavailable
from ledger.store import partitioning, partitions, session
from ledger.store.ledger import Ledger, translated

log = structlog.get_logger()

LOOK_SECONDS = 10.0

CANCEL_SECONDS = 2.0

IN_USE = "the table `events` is in use for long, as by `verify`, a dump or VACUUM, so no partition can be made yet"


class PartitionKeeper:
    """One instance's share in it: whichever comes first does what is to be done.

    Commits make room by themselves where they find none, so it holds up nobody.
    """

    def __init__(self, ledger: Ledger, database_url: str) -> None:
        self._ledger = ledger
        self._database_url = database_url
        self._task: asyncio.Task[None] | None = None
        self._working_on: Connection[TupleRow] | None = None
        self._is_stopping = False
        self._has_begun = False
        """To make the plain table one of partitions: logged once."""
        self._told: str | None = None
        """What was logged and has not passed yet."""

    def start(self) -> None:
        """Begin to look."""
        self._is_stopping = False
        self._task = asyncio.create_task(self._run(), name="partitions")

    async def stop(self) -> None:
        """Look no more; what is under way is undone by PostgreSQL, and done at the next start."""
        assert self._task is not None
        self._is_stopping = True
        self._task.cancel()
        if (connection := self._working_on) is not None:
            with contextlib.suppress(psycopg.Error):
                await asyncio.to_thread(connection.cancel_safe, timeout=CANCEL_SECONDS)
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.look)
                self._told = None
            except StoreUnavailable as error:
                if self._told != str(error):
                    self._told = str(error)
                    log.warning("partitions_wait", reason=str(error), meaning="it is tried again")
            except Exception:  # a defect must be seen, once, and must not end the watch
                if self._told != "defect":
                    self._told = "defect"
                    log.exception("partitions_failed")
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Look once, and do what is to be done. Raises StoreUnavailable, also where the table is read for too long."""
        with self._ledger.connection() as connection:
            found = partitions.look(connection)
        if found.is_partitioned and not found.is_last_in_use:
            return
        with translated(), session.connect(self._database_url, "partitions") as working_on:
            self._working_on = working_on
            try:
                if self._is_stopping:
                    return
                if not found.is_partitioned:
                    self._partition(working_on, found.room)
                elif (room := partitioning.make_room_ahead(working_on)) is not None:
                    log.info("partition_added", room=room)
            except psycopg.errors.LockNotAvailable as error:
                raise StoreUnavailable(IN_USE) from error
            finally:
                self._working_on = None

    def _partition(self, connection: Connection[TupleRow], room: int) -> None:
        if not self._has_begun:
            self._has_begun = True
            log.info("partitioning", meaning="every event is read once; everything else goes on meanwhile")
        if partitioning.partition(connection):
            log.info("partitioned", room=room)

"""Rebuilding a projection from the ledger alongside the live one, which it then replaces within one transaction."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.database_url import setting_of
from ledger.errors import LedgerError
from ledger.store import distribution, session
from ledger.store.ledger import translated
from ledger.store.mapper import USER_KINDS
from projections.engine import archived, by_stream, checkpoints, switch
from projections.engine.filling import APPLICATION, BATCH_EVENTS, Filling, fill_partitions
from projections.engine.lock_holders import LockHolder, long_held
from projections.engine.projection import Projection
from projections.engine.shares import together

LOCK = 0x70726573_72656275
"""The advisory lock of a rebuild: "pres", "rebu" in ASCII."""

SWITCH_LOCK_SECONDS = 0.5
"""Reads wait for the switch so long at most; where one that had begun before takes longer, it is not tried yet."""
INITIAL_BACKOFF_SECONDS = 1.0
"""Before the next attempt; each pause is twice the one before …"""
MAX_BACKOFF_SECONDS = 15.0
"""… up to this."""
SWITCH_TIMEOUT_SECONDS = 3600.0
"""A dump of a large ledger, which waiting does not disturb, may take so long."""

_TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"

_HOLDER = """
SELECT a.application_name, a.backend_start
  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
 WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = %s
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

Progress = Callable[[int, int], None]
"""Told how far it is: the position, and the head."""

Waiting = Callable[[str], None]
"""Told what the switch waits for, each time that this is another."""


class RebuildRefused(LedgerError):
    """Another rebuild is under way, or this one may not make its tables."""


@contextmanager
def alone(database_url: str, name: str) -> Iterator[Connection[TupleRow]]:
    """A connection that rebuilds this projection; no other does meanwhile, and what one had left is gone.

    Raises RebuildRefused, StoreUnavailable.
    """
    with (
        translated(),
        session.connect(database_url, application_name=f"{APPLICATION} {name}") as connection,
    ):
        if not _lock(connection):
            raise RebuildRefused(_who_rebuilds(connection))
        try:
            # What a crash would lose is built from scratch anyway; the switch and what it replaces go together.
            connection.execute("SET synchronous_commit = off")
            with connection.transaction():
                switch.clear(connection.cursor())
            with _rare_collections():
                yield connection
        except psycopg.errors.UndefinedTable as error:
            raise RebuildRefused(
                "the database has no tables of presence ledger yet.\nRun `presence-ledger migrate` first."
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise RebuildRefused(
                f"PostgreSQL refuses it: {error.diag.message_primary}.\n"
                f"A rebuild makes a schema of its own: grant the role of {setting_of(database_url)} CREATE on the "
                "database."
            ) from error
        finally:
            if not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                with connection.transaction():
                    switch.clear(connection.cursor())
                # PostgreSQL notices the end of the connection later than the next rebuild may begin.
                connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Events hold no cycles, and a collection walks a whole batch of them for nothing."""
    threshold = gc.get_threshold()
    gc.set_threshold(1_000_000, *threshold[1:])
    try:
        yield
    finally:
        gc.set_threshold(*threshold)


def keep_from_beginning(connection: Connection[TupleRow]) -> bool:
    """Let no rebuild begin until the transaction ends, and remove what a killed one left; False: one is under way."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
    if row is None or not row[0]:
        return False
    switch.clear(connection.cursor())
    return True


def clear_remains(connection: Connection[TupleRow]) -> None:
    """Remove what a rebuild left that was killed, unless one is under way."""
    with connection.transaction():
        keep_from_beginning(connection)


def _lock(connection: Connection[TupleRow]) -> bool:
    row = connection.execute(_TRY_LOCK, (LOCK,)).fetchone()
    return row is not None and bool(row[0])


def _who_rebuilds(connection: Connection[TupleRow]) -> str:
    row = connection.execute(_HOLDER, (LOCK,)).fetchone()
    what = "" if row is None else f" ({row[0].removeprefix(APPLICATION).strip()}, since {row[1]:%Y-%m-%d %H:%M:%S%z})"
    return f"another rebuild is under way{what}.\nWait for its end, or stop it; nothing has been changed."


def limit_lock_wait(cursor: Cursor[Any]) -> None:
    """For the rest of the transaction, rather give up than wait long for a lock."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", (f"{SWITCH_LOCK_SECONDS * 1000:.0f}ms",))


def ignore(_: str) -> None:
    """Where it is of no interest what is waited for."""


def switch_when_free(
    connection: Connection[TupleRow],
    tables: Sequence[str],
    attempt: Callable[[], int],
    catch_up: Callable[[], None],
    waiting: Waiting,
) -> int:
    """Switch as soon as no session holds the live tables for long. Raises RebuildRefused.

    An attempt waits for their locks, and others wait for it: so none is made while it can be seen to be in vain.
    """
    give_up_at, pause = time.monotonic() + SWITCH_TIMEOUT_SECONDS, INITIAL_BACKOFF_SECONDS
    reported: list[LockHolder] = []
    while True:
        holders = long_held(connection, tables, SWITCH_LOCK_SECONDS)
        if not holders:
            try:
                return attempt()
            except psycopg.errors.LockNotAvailable:
                # A session came in between: the next look finds it, if it stays.
                pass
        elif holders != reported:
            reported = holders
            waiting(_named(holders))
        if time.monotonic() + pause > give_up_at:
            raise RebuildRefused(
                "a session keeps reading the live tables, so they cannot be replaced; they are as they were.\n"
                f"End the session ({_named(reported) or 'find it in pg_stat_activity'}), and rebuild again."
            )
        time.sleep(pause)
        pause = min(2 * pause, MAX_BACKOFF_SECONDS)
        catch_up()


def _named(holders: Sequence[LockHolder]) -> str:
    return ", ".join(map(str, holders))


class Rebuild:
    """The rebuild of one projection that follows the ledger, over a connection of `alone`.

    `archive`: the folder of its files; `also` does to the new tables, once they are filled, what no handler does. Its
    methods raise ArchiveDamaged and ArchiveUnknown, too.
    """

    def __init__(
        self,
        connection: Connection[TupleRow],
        database_url: str,
        projection: Projection,
        batch_events: int = BATCH_EVENTS,
        archive: Folder | None = None,
        also: Callable[[Cursor[Any]], None] | None = None,
    ) -> None:
        self._archive = archive
        self._also = also
        self._connection = connection
        self._database_url = database_url
        self._projection = projection
        self._filling = Filling(connection, projection, batch_events)

    def run(self, progress: Progress, waiting: Waiting = ignore) -> int:
        """Build it, catch up, and switch; returns the position that it has come to. Raises RebuildFailed."""
        self.build(progress)
        tables = self._projection.tables
        with self._connection.transaction():
            switch.analyze(self._connection.cursor(), tables)
        return switch_when_free(self._connection, tables, self._switch, self._filling.fill, waiting)

    def build(self, progress: Progress, up_to: int | None = None) -> None:
        """Fill new tables alongside the live ones, as far as the ledger goes now, or up to a position."""
        with self._connection.transaction():
            switch.begin(self._connection.cursor(), self._projection.tables)
        archived.put_beside(self._connection, self._archive)
        goal = checkpoints.head(self._connection) if up_to is None else up_to
        filling, done = self._filling, 0

        def report(events: int) -> None:
            nonlocal done
            done += events
            progress(min(done, goal), goal)

        # Streams depend on each other in no projection; those of sources are few.
        has_users = bool(self._projection.kinds & USER_KINDS)
        shares = by_stream.partitions(goal) if has_users else [[by_stream.StreamShare(0, 1, goal)]]
        if len(shares) > 1:
            fill = partial(fill_partitions, self._database_url, self._projection, filling.batch_events)
            filling.left_out.update(*together(fill, shares, report))
        else:
            filling.fill_partitions(self._database_url, shares[0], report)
        if self._also is not None:
            with self._connection.transaction():
                self._also(self._connection.cursor())
        filling.position = goal
        progress(goal, goal)

    def _switch(self) -> int:
        """The last events and the switch, in one transaction that the projector waits for."""
        before, filling = self._filling.position, self._filling
        name = self._projection.name
        try:
            with self._connection.transaction():
                cursor = self._connection.cursor(binary=True)
                limit_lock_wait(cursor)
                distribution.allow_exchange(cursor)
                checkpoints.hold(cursor, name)
                while filling.batch(cursor):
                    pass
                switch.switch(cursor, self._projection.tables)
                checkpoints.move(cursor, name, filling.position)
                checkpoints.unskip(cursor, name, sorted(filling.skips - filling.left_out))
        except psycopg.errors.LockNotAvailable:
            filling.position = before
            raise
        return filling.position

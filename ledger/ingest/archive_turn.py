"""Whose turn it is to change the archive, what others left of it, and the instant to have `events` alone."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.errors import LedgerError
from ledger.store import distribution, session
from ledger.store.archive import partitions, table
from ledger.store.archive.partitions import TableInUse
from ledger.store.ledger import translated
from projections.engine import rebuild
from projections.engine.lock_holders import LockHolder, long_held

LOCK = 0x70726573_61726368
"""The advisory lock of the session that archives: "pres", "arch" in ASCII."""

LEFT_OVER_SECONDS = 3600.0
"""What was begun and is in no use is removed after so long: somebody may still be at it."""

ATTEMPTS = 600
PAUSE_SECONDS = 0.5
"""So often, and with such pauses, it is tried to have the table for an instant."""

_TRY_LOCK = "SELECT pg_try_advisory_lock(%s)"


class NotArchivable(LedgerError):
    """The ledger is spread over the workers of a Citus cluster, whose partitions nobody can exchange at once."""


class ArchiveWaits(LedgerError):
    """Nothing was archived, since somebody still needs the events, or the table; it can be tried again."""


@contextmanager
def alone(database_url: str, folder: Folder) -> Iterator[Connection[TupleRow]]:
    """A connection of the one that changes the archive; what others left is gone.

    Raises ArchiveWaits, NotArchivable.
    """
    with translated(), session.connect(database_url, "archive") as connection:
        if distribution.is_distributed(connection):
            raise NotArchivable(
                "A ledger on a Citus cluster is not archived: its events stay on the workers.\n"
                "Set retention.events_days = 0; add workers where they have no more room."
            )
        row = connection.execute(_TRY_LOCK, (LOCK,)).fetchone()
        if row is None or not row[0]:
            raise ArchiveWaits("Another one is archiving.\nWait for its end; one at a time does it.")
        clean(connection, folder)
        yield connection


def keep_out_rebuild(connection: Connection[TupleRow]) -> None:
    """Let no rebuild begin until the transaction ends: it reads a partition from files or from `events`, not both.

    Raises ArchiveWaits where one is under way.
    """
    if not rebuild.keep_from_beginning(connection):
        raise ArchiveWaits("A projection is being rebuilt from the events.\nTry again once the rebuild has ended.")


def clean(connection: Connection[Any], folder: Folder) -> None:
    """Remove what nobody needs any more: tables that were replaced at once, files once nobody is at them."""
    for name in table.tables_left(connection):
        partitions.drop(connection, name)
        table.forget(connection.cursor(), name)
    clean_files(connection, folder)


def clean_files(connection: Connection[Any], folder: Folder) -> None:
    """Remove the files alone that nobody needs any more, whoever archives meanwhile."""
    _remove(connection, folder, table.condemn_old(connection, LEFT_OVER_SECONDS))


def discard(connection: Connection[Any], folder: Folder, names: Sequence[str]) -> None:
    """Remove those of one's own files that are in no use; of which that is not known yet, `clean` does some time."""
    _remove(connection, folder, table.condemn(connection, names))


def _remove(connection: Connection[Any], folder: Folder, condemned: Sequence[str]) -> None:
    if not condemned:
        return
    from ledger.store.archive import writing  # noqa: PLC0415  (only who changes the archive needs its library)

    for name in condemned:
        if writing.remove(folder, name):
            table.forget(connection.cursor(), name)


def when_free(connection: Connection[TupleRow], partition: str, attempt: Callable[[], None]) -> None:
    """Take a partition out of `events` as soon as nobody holds either for long. Raises ArchiveWaits.

    Others wait for each attempt, if for milliseconds: none is made that can be seen to be in vain.
    """
    holders: list[LockHolder] = []
    for number in range(ATTEMPTS):
        if number:
            time.sleep(PAUSE_SECONDS)
        if holders := long_held(connection, ("events", partition), PAUSE_SECONDS):
            continue
        try:
            return attempt()
        except TableInUse:
            pass
    who = ", ".join(map(str, holders)) or "many who come and go"
    raise ArchiveWaits(
        f"The table `events` is held by {who}; nothing was taken out of it.\n"
        "Try again when that has ended, be it a dump, `verify` or a vacuum: `pg_stat_activity` shows it."
    )

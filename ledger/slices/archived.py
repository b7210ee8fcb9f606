"""The snapshot that a slice is read in: of the database, or with what it needs of the archive beside it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import LiteralString, NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.errors import LedgerError
from ledger.slices import ledger_rows
from ledger.store.archive import beside, table
from ledger.store.archive.beside import Wanted
from ledger.store.ledger import translated
from ledger.store.mapper import user_stream
from projections.engine.switch import ONE_MOMENT
from projections.queries import archived

TABLES: LiteralString = "current, source_states, snapshots"

AT_ONE_MOMENT = ONE_MOMENT.format(f"{TABLES}, ONLY events")
"""Begins a transaction that a slice is taken in."""


class ArchivedElsewhere(LedgerError):
    """A part of the slice is archived, and nobody said where."""


class ArchivePlace(NamedTuple):
    """Where what was archived is read beside the database."""

    database_url: str
    folder: Folder


@contextmanager
def moment(
    live: Connection[TupleRow],
    since: datetime | None,
    until: datetime | None,
    users: Sequence[str] | None,
    place: ArchivePlace | None,
) -> Iterator[Connection[TupleRow]]:
    """A connection in a transaction that sees one state of the ledger, with all that the slice is to have.

    Raises ArchiveDamaged, ArchivedElsewhere, StoreUnavailable.
    """
    with live.transaction():
        live.execute(AT_ONE_MOMENT, prepare=False)
        before = table.before(live)
        wanted = _wanted(live, since, until, users) if before else None
        if wanted is None:
            yield live
            return
    if place is None:
        raise ArchivedElsewhere(
            f"Of the events before position {before:,}, those of users are archived.\nName the archive's folder."
        )
    with translated(), beside.opened(place.database_url, place.folder, wanted, TABLES) as found:
        yield found.connection


def _wanted(
    connection: Connection[TupleRow], since: datetime | None, until: datetime | None, users: Sequence[str] | None
) -> Wanted | None:
    """What it needs of the archive: the events of its span, and the last one before it of each user."""
    if users is not None and all(archived.of_user(connection, uid) is None for uid in users):
        return None
    bounds = ledger_rows.bounds(connection, since, until)
    return Wanted(
        None if users is None else [user_stream(uid) for uid in users],
        whole_from=bounds.start,
        up_to=bounds.stop,
        lasts_before=bounds.start > 0,
        last_up_to=[bounds.start],
    )

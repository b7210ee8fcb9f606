"""Archived events put beside the new tables of a rebuild, which reads everything: as long as it lasts.

They are a table of its schema, which a view `events` there puts beside the live one; both go when it ends. Nothing is
archived and nobody erased meanwhile, since both keep out of a rebuild's way.
"""

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.errors import LedgerError
from ledger.store.archive import beside, filling, table
from ledger.store.archive.beside import Wanted
from ledger.store.archive.rows import pack
from projections.engine import switch

_TABLE = "CREATE UNLOGGED TABLE {} (LIKE events INCLUDING ALL EXCLUDING INDEXES)"

# What a handler asks of a user's earlier events.
_INDEX = "CREATE INDEX ON {} (stream, version)"


class ArchiveUnknown(LedgerError):
    """Events are archived, and nobody said where."""


def put_beside(connection: Connection[TupleRow], folder: Folder | None) -> None:
    """Have the rebuild that has begun read what is archived, too. Raises ArchiveDamaged, ArchiveUnknown."""
    if not (before := table.before(connection)):
        return
    if folder is None:
        raise ArchiveUnknown(
            f"The events of users before position {before:,} are archived, and a rebuild reads all of them.\n"
            "Name the archive's folder; the live tables are as they were."
        )
    # Only who reads the archive needs its library, which is large.
    from ledger.store.archive import selected  # noqa: PLC0415

    target, view = (sql.Identifier(switch.SCHEMA, name) for name in ("archived_events", "events"))
    with connection.transaction():
        live = beside.schema_of_events(connection)
        connection.execute(sql.SQL(_TABLE).format(target))
        archived = selected.events(folder, table.read(connection), Wanted(None))
        filling.fill(connection, target, map(pack, archived))
        connection.execute(sql.SQL(_INDEX).format(target))
        connection.execute(sql.SQL("ANALYZE {}").format(target))
        connection.execute(beside.view("VIEW", view, target, live))

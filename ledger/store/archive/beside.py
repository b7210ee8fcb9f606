"""A connection on which `events` has archived events again: those that a question needs, read from their files.

They are in a temporary table, which a temporary view of the name `events` puts beside the live one. So what is asked of
the past is asked by the same statements, slower; and the connection is of that question alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import LiteralString, NamedTuple

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.store import session
from ledger.store.archive import filling, table
from ledger.store.archive.manifest import ArchiveDamaged
from ledger.store.archive.rows import EventRow, pack
from ledger.store.archive.table import UNBOUNDED

LOCK: LiteralString = "LOCK TABLE ONLY events IN ACCESS SHARE MODE"
"""Within a transaction, before anything is read: nothing is archived from then on until it ends."""

_SCHEMA = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('events')"

# Of the transaction that answers, so that it holds where connections are shared by transactions, too.
_MOMENT: LiteralString = """
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE {}, ONLY events IN ACCESS SHARE MODE
"""

_TABLE = "CREATE TEMPORARY TABLE archived_events (LIKE events INCLUDING INDEXES)"

_VIEW = """
CREATE {} {} AS SELECT stream, version, position, kind, payload, recorded_at FROM {}
 UNION ALL SELECT stream, version, position, kind, payload, recorded_at FROM {}
"""


class _ArchiveChanged(Exception):
    """A file was replaced while it was read: there is another one by now."""


class Wanted(NamedTuple):
    """Which of the archived events of users a question needs; what sources said is in the database."""

    streams: Sequence[str] | None
    """Of these; None: of all users."""
    whole_from: int = 0
    """All events from this position on; of the file that it lies in those before as well, …"""
    up_to: int = UNBOUNDED
    """… up to this one."""
    lasts_before: bool = False
    """And of the files before that each stream's last event."""
    last_up_to: Sequence[int] = ()
    """And the last event up to each of these positions, whosever it is."""

    def with_last_up_to(self, positions: Sequence[int]) -> "Wanted":
        """The same, and the last event up to each of these positions."""
        return self._replace(last_up_to=positions)


class Beside(NamedTuple):
    """A connection with the archived events that were wanted, and the first position that is not archived."""

    connection: Connection[TupleRow]
    before: int


@contextmanager
def opened(database_url: str, folder: Folder, wanted: Wanted, tables: LiteralString) -> Iterator[Beside]:
    """In a transaction that sees one state of `events` and these tables, and is undone at its end.

    Raises ArchiveDamaged, psycopg.Error.
    """
    with ExitStack() as stack:
        found: Beside | None = None
        while found is None:
            with suppress(_ArchiveChanged):
                found = stack.enter_context(_opened(database_url, folder, wanted, tables))
        yield found


@contextmanager
def _opened(database_url: str, folder: Folder, wanted: Wanted, tables: LiteralString) -> Iterator[Beside]:
    # Only who reads the archive needs its library, which is large.
    from ledger.store.archive import selected  # noqa: PLC0415

    with session.connect(database_url, "archive") as connection, connection.transaction(force_rollback=True):
        connection.execute(_MOMENT.format(tables), prepare=False)
        before, manifests = table.before(connection), table.read(connection)
        try:
            _put(connection, selected.events(folder, manifests, wanted))
        except ArchiveDamaged as error:
            if _is_replaced(database_url, error):
                raise _ArchiveChanged from error
            raise
        yield Beside(connection, before)


def _is_replaced(database_url: str, error: ArchiveDamaged) -> bool:
    """Whether the file is no longer one of the archive, as where an erasure has written another one meanwhile."""
    with session.connect(database_url, "archive") as connection:
        return not table.has(connection, error.name)


def schema_of_events(connection: Connection[TupleRow]) -> str:
    """The schema that the live table is in."""
    row = connection.execute(_SCHEMA).fetchone()
    assert row is not None
    name: str = row[0]
    return name


def view(kind: LiteralString, name: sql.Identifier, target: sql.Identifier, live: str) -> sql.Composed:
    """The statement of a view of a table's events and the live ones."""
    return sql.SQL(_VIEW).format(sql.SQL(kind), name, target, sql.Identifier(live, "events"))


def _put(connection: Connection[TupleRow], events: Iterator[EventRow]) -> None:
    live, target = schema_of_events(connection), sql.Identifier("pg_temp", "archived_events")
    connection.execute(_TABLE)
    filling.fill(connection, target, map(pack, events))
    connection.execute("ANALYZE pg_temp.archived_events")
    connection.execute(view("TEMPORARY VIEW", sql.Identifier("events"), target, live))

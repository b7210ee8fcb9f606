"""Slices brought into a ledger, and all that is in it then."""

from pathlib import Path

from psycopg.rows import TupleRow

from ledger.slices.importing import Imported, import_slice
from ledger.slices.reading import SliceFile
from ledger.store.ledger import Ledger


def brought(ledger: Ledger, path: Path, **renames: str) -> Imported:
    """Import a file."""
    return import_slice(ledger, SliceFile(path), renames, lambda *_: None)


def everything(ledger: Ledger) -> list[TupleRow]:
    """Each event as it is stored."""
    with ledger.connection() as connection:
        return connection.execute(
            "SELECT position, stream, version, kind, payload, recorded_at FROM events ORDER BY 1"
        ).fetchall()

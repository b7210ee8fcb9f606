"""The rows of the whole ledger in their order, those of the archive's files among them, to be held against the seals.

Of what was archived the database keeps what sources said: each such row is held against its file's on the way.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg import Connection

from ledger.store import raw_events
from ledger.store.archive import table
from ledger.store.archive.rows import EventRow, pack
from ledger.store.mapper import SOURCE_PREFIX
from ledger.store.raw_events import Row, decode_position


class KeptDiffers(Exception):
    """What the database keeps of an archived stretch is not what is in the file."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(what)
        self.position = position
        self.what = what


class SealedRows:
    """Reads one stretch after another over one connection, in the transaction that it is in."""

    def __init__(self, connection: Connection[Any], folder: Path | None) -> None:
        self._connection = connection
        self._folder = folder or Path()
        self.manifests = table.read(connection) if table.is_there(connection) else []
        self.before = self.manifests[-1].before if self.manifests else raw_events.FIRST
        """The first position whose row is in the database alone."""
        self._whole = set[str]()
        """Names of the files that are to the byte as they were written."""
        self._archived: Iterator[EventRow] = iter(())
        self._next: EventRow | None = None
        self._read_to: int | None = None

    def between(self, first: int, last: int) -> Generator[Row]:
        """The rows from one position to another. Stopping before the end ends the transaction.

        Raises ArchiveDamaged, KeptDiffers.
        """
        if first < self.before:
            yield from self._of_files(first, min(last, self.before - 1))
            first = self.before
        if first <= last:
            with closing(raw_events.rows(self._connection, first, last)) as rows:
                yield from rows

    def _of_files(self, first: int, last: int) -> Generator[Row]:
        if self._read_to != first - 1:
            self._archived = self._events_from(first)
            self._next = next(self._archived, None)
        with closing(raw_events.rows(self._connection, first, last)) as kept:
            while (event := self._next) is not None and event.position <= last:
                row = pack(event)
                if event.stream.startswith(SOURCE_PREFIX):
                    _compare(event.position, row, next(kept, None))
                yield row
                self._next = next(self._archived, None)
            if (left := next(kept, None)) is not None:
                raise KeptDiffers(decode_position(bytes(left)), "an event was put in where events have been archived")
        self._read_to = last

    def _events_from(self, first: int) -> Iterator[EventRow]:
        # Only who reads the archive needs its library, which is large.
        from ledger.store.archive import files  # noqa: PLC0415

        for manifest in self.manifests:
            if manifest.before > first:
                if manifest.name not in self._whole:
                    files.check(self._folder, manifest)
                    self._whole.add(manifest.name)
                yield from files.rows(files.groups(self._folder, manifest, first))


def _compare(position: int, row: bytes, kept: Row | None) -> None:
    if kept is None or (found := decode_position(bytes(kept))) > position:
        raise KeptDiffers(position, "the event was removed from the database, which keeps it beside its archived copy")
    if found < position:
        raise KeptDiffers(found, "an event was put in where events have been archived")
    if bytes(kept) != row:
        raise KeptDiffers(position, "the event was altered in the database, which keeps it beside its archived copy")

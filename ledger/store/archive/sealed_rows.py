"""The rows of the whole ledger in their order, those of the archive's files among them, to be held against the seals.

Of what was archived the database keeps what sources said: each such row is held against its file's on the way.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from ledger.archive_folder import Folder
from ledger.store import raw_events
from ledger.store.archive import table
from ledger.store.raw_events import Row, decode_position

if TYPE_CHECKING:
    from ledger.store.archive.files import PackedGroup


class KeptDiffers(Exception):
    """What the database keeps of an archived stretch is not what is in the file."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(what)
        self.position = position
        self.what = what


class SealedRows:
    """Reads one stretch after another over one connection, in the transaction that it is in."""

    def __init__(self, connection: Connection[Any], folder: Folder | None) -> None:
        self._connection = connection
        self._folder = folder or Path()
        self.manifests = table.read(connection) if table.is_there(connection) else []
        self.before = self.manifests[-1].before if self.manifests else raw_events.FIRST
        """The first position whose row is in the database alone."""
        self._whole = set[str]()
        """Names of the files that are to the byte as they were written."""
        self._groups: Iterator[PackedGroup] = iter(())
        self._group: PackedGroup | None = None
        self._next = 0
        """Of the group, the index of the first row that was not read."""
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
            self._groups = self._groups_from(first)
            self._group, self._next = next(self._groups, None), 0
        with closing(raw_events.rows(self._connection, first, last)) as kept:
            while (group := self._group) is not None:
                end = bisect_right(group.positions, last, self._next)
                yield from _compared(group, self._next, end, kept)
                self._next = end
                if end < len(group.rows):
                    break
                self._group, self._next = next(self._groups, None), 0
            if (left := next(kept, None)) is not None:
                raise KeptDiffers(decode_position(bytes(left)), "an event was put in where events have been archived")
        self._read_to = last

    def _groups_from(self, first: int) -> "Iterator[PackedGroup]":
        # Only who reads the archive needs its library, which is large.
        from ledger.store.archive import files  # noqa: PLC0415

        for manifest in self.manifests:
            if manifest.before > first:
                if manifest.name not in self._whole:
                    files.check(self._folder, manifest)
                    self._whole.add(manifest.name)
                yield from files.packed(files.groups(self._folder, manifest, first))


def _compared(group: "PackedGroup", start: int, end: int, kept: Iterator[Row]) -> Iterator[Row]:
    """Some rows of a group, those of sources held against what the database keeps of them."""
    for place in group.of_sources[bisect_left(group.of_sources, start) : bisect_left(group.of_sources, end)]:
        yield from group.rows[start:place]
        _compare(group.positions[place], group.rows[place], next(kept, None))
        start = place
    yield from group.rows[start:end]


def _compare(position: int, row: bytes, kept: Row | None) -> None:
    if kept is None or (found := decode_position(bytes(kept))) > position:
        raise KeptDiffers(position, "the event was removed from the database, which keeps it beside its archived copy")
    if found < position:
        raise KeptDiffers(found, "an event was put in where events have been archived")
    if bytes(kept) != row:
        raise KeptDiffers(position, "the event was altered in the database, which keeps it beside its archived copy")

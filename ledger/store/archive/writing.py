"""Parquet files of events, written whole and durable under their name, or not at all."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import RawIOBase
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledger.archive_folder import Folder
from ledger.store.archive import storage
from ledger.store.archive.files import SCHEMA, SINCE_1970, Groups, groups, rows
from ledger.store.archive.manifest import ArchiveUnwritable, Manifest
from ledger.store.archive.rows import EventRow, unpack
from ledger.store.archive.storage import Write
from ledger.store.raw_events import Row

ROWS_A_GROUP = 65_536
"""As many as the largest run that a seal is for: what is held in memory, written or read, is a few such groups."""

_OPTIONS: Mapping[str, Any] = {"compression": "zstd", "write_page_checksum": True}


class Written(NamedTuple):
    """What was written into a file."""

    events: int
    size: int
    sha256: str
    first: EventRow
    last: EventRow


class _Digesting(RawIOBase):
    """Counts and digests what is written, so that the file need not be read for it."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.size = 0
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = view = memoryview(data).cast("B")
        self.sha256.update(view)
        while left:
            left = left[self._write(left) :]
        self.size += len(view)
        return len(view)


def make_folder(folder: Folder) -> None:
    """Make the archive's folder, for the owner alone. Raises ArchiveUnwritable."""
    try:
        storage.of(folder).make()
    except OSError as error:
        raise _unwritable(folder, error) from error


def write(folder: Folder, name: str, rows: Iterable[Row]) -> Written:
    """Write rows, one at least, as they come by COPY, into a file that is durable when this returns.

    Raises ArchiveUnwritable: the folder is full, read-only or not there.
    """
    return _in_place(folder, name, lambda sink: _write_rows(sink, iter(rows)))


def rewrite(
    folder: Folder, manifest: Manifest, name: str, without: Sequence[int], instead: Mapping[int, bytes]
) -> Written | None:
    """Write another file with the events of one but for those at some positions, and other payloads at others.

    None where nothing is left of it. Raises ArchiveDamaged, ArchiveUnwritable.
    """
    gone, changed = pa.array(without, pa.int64()), pa.array(list(instead), pa.int64())

    def tables() -> Groups:
        for table in groups(folder, manifest):
            left = table.filter(pc.invert(pc.is_in(table.column("position"), value_set=gone)))
            if pc.any(pc.is_in(left.column("position"), value_set=changed)).as_py():
                left = _with_payloads(left, instead)
            if left.num_rows:
                yield left

    if manifest.events == len(without):
        return None
    return _in_place(folder, name, lambda sink: _write_tables(sink, tables()))


def remove(folder: Folder, name: str) -> bool:
    """Remove a file, and what is there of one that never was whole -> whether none is left."""
    try:
        storage.of(folder).remove(name)
    except OSError:
        return False
    return True


def _in_place(folder: Folder, name: str, fill: Callable[[Any], tuple[int, EventRow, EventRow]]) -> Written:
    try:
        with storage.of(folder).new(name) as write:
            digesting = _Digesting(write)
            with pa.PythonFile(digesting, mode="w") as sink:
                events, first, last = fill(sink)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return Written(events, digesting.size, digesting.sha256.hexdigest(), first, last)


def _write_rows(sink: Any, left: Iterator[Row]) -> tuple[int, EventRow, EventRow]:
    first: EventRow | None = None
    last: EventRow | None = None
    number = 0
    with pq.ParquetWriter(sink, SCHEMA, **_OPTIONS) as writer:
        while group := list(map(unpack, islice(left, ROWS_A_GROUP))):
            first, last, number = first or group[0], group[-1], number + len(group)
            writer.write_table(_table(group), row_group_size=ROWS_A_GROUP)
    if first is None or last is None:
        raise ValueError("a file of no event")
    return number, first, last


def _write_tables(sink: Any, tables: Groups) -> tuple[int, EventRow, EventRow]:
    first = last = pa.table({})
    number = 0
    with pq.ParquetWriter(sink, SCHEMA, **_OPTIONS) as writer:
        for table in tables:
            first, last = (first if number else table.slice(0, 1)), table.slice(table.num_rows - 1)
            number += table.num_rows
            writer.write_table(table, row_group_size=ROWS_A_GROUP)
    return number, next(rows([first])), next(rows([last]))


def _table(events: Sequence[EventRow]) -> pa.Table:
    positions, recorded, *rest = zip(*events, strict=True)
    columns = (positions, [each + SINCE_1970 for each in recorded], *rest)
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _with_payloads(table: pa.Table, instead: Mapping[int, bytes]) -> pa.Table:
    positions, payloads = table.column("position").to_pylist(), table.column("payload").to_pylist()
    changed = [instead.get(position, payload) for position, payload in zip(positions, payloads, strict=True)]
    place = SCHEMA.get_field_index("payload")
    return table.set_column(place, SCHEMA.field(place), pa.array(changed, pa.binary()))


def _unwritable(folder: Folder, error: OSError) -> ArchiveUnwritable:
    return ArchiveUnwritable(
        f"The archive's folder {folder} cannot be written: {error.strerror or error}. Nothing has left the database.\n"
        "Make room or grant the rights, or set retention.archive_dir to another folder; it is tried again."
    )

"""Parquet files of events, written whole and durable under their name, or not at all."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledger.store.archive.files import SCHEMA, SINCE_1970, Groups, groups, rows
from ledger.store.archive.manifest import PARTIAL, ArchiveUnwritable, Manifest
from ledger.store.archive.rows import EventRow, unpack
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

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = 0
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = view = memoryview(data).cast("B")
        self.sha256.update(view)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self.size += len(view)
        return len(view)


def make_folder(folder: Path) -> None:
    """Make the archive's folder, for the owner alone. Raises ArchiveUnwritable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write(folder: Path, name: str, rows: Iterable[Row]) -> Written:
    """Write rows, one at least, as they come by COPY, into a file that is durable when this returns.

    Raises ArchiveUnwritable: the folder is full, read-only or not there.
    """
    return _in_place(folder, name, lambda sink: _write_rows(sink, iter(rows)))


def rewrite(
    folder: Path, manifest: Manifest, name: str, without: Sequence[int], instead: Mapping[int, bytes]
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


def remove(folder: Path, name: str) -> bool:
    """Remove a file, and what is there of one that never was whole -> whether none is left."""
    for each in (folder / name, folder / f"{name}{PARTIAL}"):
        try:
            each.unlink(missing_ok=True)
        except OSError:
            return False
    return True


def _in_place(folder: Path, name: str, fill: Callable[[Any], tuple[int, EventRow, EventRow]]) -> Written:
    """Write a file aside, durably, then give it its name."""
    partial = folder / f"{name}{PARTIAL}"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        try:
            digesting = _Digesting(descriptor)
            with pa.PythonFile(digesting, mode="w") as sink:
                events, first, last = fill(sink)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.rename(folder / name)
        _sync(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
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


def _unwritable(folder: Path, error: OSError) -> ArchiveUnwritable:
    return ArchiveUnwritable(
        f"The archive's folder {folder} cannot be written: {error.strerror or error}. Nothing has left the database.\n"
        "Make room or grant the rights, or set retention.archive_dir to another folder; it is tried again."
    )


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

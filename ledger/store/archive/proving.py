"""Holds the events of a file against the seals of their positions, which stay in the database."""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection

from ledger.store import seals
from ledger.store.archive import files
from ledger.store.archive.manifest import Manifest
from ledger.store.archive.rows import EventRow, pack
from ledger.store.erased import Erased
from ledger.store.seal import DIGEST_BYTES, Seal

_PLACE_BYTES = 26
"""Of a row, before what its digest is of: the number of fields, position and `recorded_at`."""


class Different(NamedTuple):
    """The first position of a file at which it is not as it was sealed."""

    position: int
    what: str


class _Sealed(NamedTuple):
    position: int
    recorded_at: int
    digest: bytes


def first_difference(
    connection: Connection[Any], folder: Path, manifest: Manifest, erasures: Erased
) -> Different | None:
    """Go through a file and the seals of just its positions, in a transaction. Raises ArchiveDamaged."""
    events = files.rows(files.groups(folder, manifest))
    with closing(_sealed(connection, manifest, erasures)) as expected:
        for sealed in expected:
            event = next(events, None)
            if event is None or event.position > sealed.position:
                return Different(sealed.position, "the event is missing")
            if event.position < sealed.position:
                return Different(event.position, "the event was never sealed")
            if (found := _compared(event, sealed)) is not None:
                return found
    more = next(events, None)
    return None if more is None else Different(more.position, "the event was never sealed")


def _sealed(connection: Connection[Any], manifest: Manifest, erasures: Erased) -> Generator[_Sealed]:
    """What is to be in the file."""
    start = seals.start_after(connection, manifest.first - 1).position + 1
    with closing(seals.read(connection, start)) as chain:
        for seal in chain:
            if seal.first_position >= manifest.before:
                return
            for position, digest in _of_run(seal, erasures):
                if manifest.first <= position < manifest.before:
                    yield _Sealed(position, seal.recorded_at, digest)


def _of_run(seal: Seal, erasures: Erased) -> Iterator[tuple[int, bytes]]:
    if (left := erasures.left(seal)) is not None:
        yield from zip(left.positions, left.digests, strict=True)
        return
    for number, position in enumerate(range(seal.first_position, seal.last_position + 1)):
        yield position, seal.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]


def _compared(event: EventRow, sealed: _Sealed) -> Different | None:
    if event.recorded_at != sealed.recorded_at:
        return Different(event.position, "recorded_at of the event is not as it was sealed")
    if hashlib.sha256(pack(event)[_PLACE_BYTES:]).digest() != sealed.digest:
        return Different(event.position, "the event is not as it was sealed")
    return None

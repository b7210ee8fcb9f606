"""Holds the events of a file against the seals of their positions, which stay in the database."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any, NamedTuple

from psycopg import Connection

from ledger.archive_folder import Folder
from ledger.store import raw_events, seals
from ledger.store.archive import files
from ledger.store.archive.manifest import Manifest
from ledger.store.erased import Erased, Left
from ledger.store.raw_events import decode_position
from ledger.store.seal import DIGEST_BYTES, Seal

NEVER_SEALED = "the event was never sealed"


class Different(NamedTuple):
    """The first position of a file at which it is not as it was sealed."""

    position: int
    what: str


def first_difference(
    connection: Connection[Any], folder: Folder, manifest: Manifest, erasures: Erased
) -> Different | None:
    """Go through a file and the seals of just its positions, in a transaction. Raises ArchiveDamaged."""
    rows = (row for group in files.packed(files.groups(folder, manifest)) for row in group.rows)
    start = seals.start_after(connection, manifest.first - 1).position + 1
    with closing(seals.read(connection, start)) as chain:
        for seal in chain:
            if seal.first_position >= manifest.before:
                break
            left = _within(manifest, seal, erasures)
            taken = raw_events.take(rows, len(left.positions))
            if (number := raw_events.differs(taken, seal, left)) is not None:
                there = taken.places[number:] + raw_events.take(rows, 1).places
                return _difference(left.positions[number], there, seal)
    more = raw_events.take(rows, 1).places
    return Different(decode_position(more[0]), NEVER_SEALED) if more else None


def _within(manifest: Manifest, seal: Seal, erasures: Erased) -> Left:
    """What of a run is to be in the file: the next one may have the rest."""
    left = erasures.left(seal) or _whole(seal)
    places = [n for n, position in enumerate(left.positions) if manifest.first <= position < manifest.before]
    return Left([left.positions[n] for n in places], [left.digests[n] for n in places])


def _whole(seal: Seal) -> Left:
    positions, size = range(seal.first_position, seal.last_position + 1), DIGEST_BYTES
    return Left(positions, [seal.digests[n * size : (n + 1) * size] for n in range(len(positions))])


def _difference(expected: int, there: Sequence[bytes], seal: Seal) -> Different:
    """What is wrong at a place of a run, from what the rows that are there and after it begin with."""
    found = decode_position(there[0]) if there else None
    if found is None or found > expected:
        return Different(expected, "the event is missing")
    if found < expected:
        return Different(found, NEVER_SEALED)
    if not raw_events.is_recorded_at(there[0], seal):
        return Different(expected, "recorded_at of the event is not as it was sealed")
    return Different(expected, "the event is not as it was sealed")

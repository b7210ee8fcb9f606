"""The archived events that a question needs, read from their files."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ledger.archive_folder import Folder
from ledger.store.archive import files
from ledger.store.archive.beside import Wanted
from ledger.store.archive.manifest import Manifest
from ledger.store.archive.rows import EventRow
from ledger.store.mapper import USER_PREFIX


def events(folder: Folder, manifests: Sequence[Manifest], wanted: Wanted) -> Iterator[EventRow]:
    """Those of users that are wanted. Raises ArchiveDamaged."""
    for manifest in manifests if wanted.streams != [] else ():
        if manifest.first > wanted.up_to:
            break
        if manifest.before > wanted.whole_from:
            found = files.matching(folder, manifest, "stream", lambda column: _is_of(wanted, column))
        elif wanted.lasts_before:
            found = files.last_of_each(folder, manifest, lambda column: _is_of(wanted, column))
        else:
            continue
        for event in files.rows(found):
            if event.position <= wanted.up_to:
                yield event
    if wanted.streams is not None:
        yield from _others(folder, manifests, wanted)


def _others(folder: Folder, manifests: Sequence[Manifest], wanted: Wanted) -> Iterator[EventRow]:
    """The last events up to positions, where they are of other users: one's own are there, and those of sources."""
    found: dict[int, EventRow] = {}
    for position in wanted.last_up_to:
        for manifest in reversed(manifests):
            if manifest.first <= position < manifests[-1].before:
                event = files.last_up_to(folder, manifest, position)
                if event is not None:
                    found[event.position] = event
                    break
    for event in found.values():
        if event.stream.startswith(USER_PREFIX) and event.stream not in (wanted.streams or ()):
            yield event


def _is_of(wanted: Wanted, streams: Any) -> Any:
    if wanted.streams is None:
        return pc.starts_with(streams, USER_PREFIX)
    return pc.is_in(streams, value_set=pa.array(list(wanted.streams), pa.string()))


def positions_of(folder: Folder, manifest: Manifest, stream: str) -> list[int]:
    """Where a stream's events are in a file. Raises ArchiveDamaged."""
    found: list[int] = []
    for group in files.groups(folder, manifest, columns=["stream"]):
        found += group.filter(pc.equal(group.column("stream"), stream)).column("position").to_pylist()
    return found

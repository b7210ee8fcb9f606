"""An erasure's part in the archive: files without what names the user, written before the commit that needs them.

Whoever crashes before it leaves files that are noted to be removed; after it, those that were replaced are.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from psycopg import Cursor

from ledger.archive_folder import Folder
from ledger.errors import LedgerError
from ledger.ingest.archive_turn import discard
from ledger.store.archive import manifest, table
from ledger.store.archive.manifest import ArchiveDamaged, Manifest
from ledger.store.archive.table import FileGone
from ledger.store.ledger import Ledger
from ledger.store.mapper import user_stream


class ArchiveMoved(Exception):
    """The archive is another one than when the files were written: they are to be written anew."""


class Rewritten(NamedTuple):
    """The archive as it was, the files that are to be replaced, and where the user's own events in them are."""

    there: Sequence[Manifest]
    replaced: Sequence[tuple[Manifest, Manifest]]
    positions: Sequence[int]

    def expect(self, there: Sequence[Manifest]) -> None:
        """Raises ArchiveMoved where the archive is another one by now."""
        if list(there) != list(self.there):
            raise ArchiveMoved

    def put(self, cursor: Cursor[object]) -> None:
        """Have the new files in the others' places, within the transaction of the erasure. Raises ArchiveMoved."""
        try:
            for old, new in self.replaced:
                table.replace(cursor, old, new)
        except FileGone as error:
            raise ArchiveMoved from error

    def clean(self, ledger: Ledger, folder: Folder) -> None:
        """Remove the files that are in no use now: the old ones, or the new where nothing came of the erasure."""
        if self.replaced:
            with suppress(LedgerError), ledger.connection() as connection:
                discard(connection, folder, [each.name for pair in self.replaced for each in pair])


def rewritten(
    ledger: Ledger, folder: Folder, uid: str, there: Sequence[Manifest], left_over: Mapping[int, bytes]
) -> Rewritten:
    """Write anew each file that names the user.

    `there`: the archive's files; `left_over`, read after that: what is left of events that name them beside others.

    Raises ArchiveDamaged, ArchiveMoved, ArchiveUnwritable, StoreUnavailable.
    """
    if not there:
        return Rewritten([], [], [])
    from ledger.store.archive import selected  # noqa: PLC0415  (only who reads the archive needs its library)

    replaced: list[tuple[Manifest, Manifest]] = []
    positions: list[int] = []
    try:
        for old in there:
            own = selected.positions_of(folder, old, user_stream(uid))
            instead = {place: payload for place, payload in left_over.items() if old.first <= place < old.before}
            if own or instead:
                replaced.append((old, _rewritten(ledger, folder, old, own, instead)))
                positions += own
                with ledger.connection() as connection:
                    table.still_written(connection.cursor(), [new.name for _, new in replaced])
    except ArchiveDamaged as error:
        with ledger.connection() as connection:
            if table.has(connection, error.name):
                raise
        raise ArchiveMoved from error
    return Rewritten(there, replaced, positions)


def _rewritten(
    ledger: Ledger, folder: Folder, old: Manifest, own: Sequence[int], instead: Mapping[int, bytes]
) -> Manifest:
    from ledger.store.archive import writing  # noqa: PLC0415

    name = manifest.new_name(old.first)
    with ledger.connection() as connection:
        table.note(connection.cursor(), [name])
    found = writing.rewrite(folder, old, name, own, instead)
    if found is None:
        return manifest.empty(old.first, old.before, old.partition, old.recorded_to)
    # From when to when it is stays, since instants are looked up by it.
    return old._replace(name=name, events=found.events, size=found.size, sha256=found.sha256)

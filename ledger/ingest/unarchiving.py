"""Putting archived events back into the database, the latest partition first: a rebuild reads all of them."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ledger.archive_folder import Folder
from ledger.ingest.archive_turn import ArchiveWaits, alone, clean, discard, keep_out_rebuild, when_free
from ledger.ingest.archiving import Told
from ledger.store.archive import files, partitions, table, writing
from ledger.store.archive.manifest import ArchiveDamaged, Manifest
from ledger.store.archive.rows import pack
from ledger.store.commit import LONG_LOCK_TIMEOUT_SECONDS
from ledger.store.ledger import Ledger, translated

CHANGED = "The archive was changed meanwhile, as by an erasure.\nTry again."


class Restored(NamedTuple):
    """A partition whose events are in the database again."""

    partition: str
    first: int
    before: int
    events: int


def restore(ledger: Ledger, database_url: str, folder: Folder, told: Told) -> Iterator[Restored]:
    """Put all that is archived back. Whoever is killed meanwhile has lost nothing, and begins again.

    Raises ArchiveDamaged, ArchiveRefused, ArchiveWaits, StoreUnavailable.
    """
    with alone(database_url, folder) as connection:
        while (last := table.last_partition(connection)) is not None:
            manifests = table.of_partition(connection, last)
            try:
                whole = partitions.fill(connection, last, _rows(folder, manifests, told))
            except ArchiveDamaged as error:
                if table.has(connection, error.name):
                    raise
                raise ArchiveWaits(CHANGED) from error
            when_free(connection, last, _replacing(ledger, last, whole, manifests))
            discard(connection, folder, [each.name for each in manifests])
            clean(connection, folder)
            yield Restored(last, manifests[0].first, manifests[-1].before, sum(each.events for each in manifests))


def _rows(folder: Folder, manifests: list[Manifest], told: Told) -> Iterator[bytes]:
    done, total = 0, sum(each.events for each in manifests)
    for manifest in manifests:
        if manifest.events:
            files.check(folder, manifest)
            for event in files.rows(files.groups(folder, manifest)):
                if done % writing.ROWS_A_GROUP == 0:
                    told(done, total)
                done += 1
                yield pack(event)


def _replacing(ledger: Ledger, partition: str, whole: str, manifests: list[Manifest]) -> Callable[[], None]:
    def attempt() -> None:
        # As a commit does, so that no erasure is in the middle.
        with translated(), ledger.events_recorder.commit(LONG_LOCK_TIMEOUT_SECONDS) as commit:
            keep_out_rebuild(commit.connection)
            if table.of_partition(commit.connection, partition) != manifests:
                raise ArchiveWaits(CHANGED)
            table.drop_partition(commit.cursor, partition)
            partitions.replace(commit.cursor, partition, whole)

    return attempt

"""Verifies one state of the ledger; another one where an erasure replaced a file of its archive meanwhile."""

from typing import Any

from psycopg import Connection

from ledger.archive_folder import Folder
from ledger.store.archive import table
from ledger.store.seal import SealKeys
from ledger.store.seal_head import SealHead
from ledger.store.verify import Told, Verified, snapshot, verify


def verify_moment(
    connection: Connection[Any],
    keys: SealKeys,
    told: Told,
    *,
    after: int | None = None,
    expected: SealHead | None = None,
    archive: Folder | None = None,
    only_archive: bool = False,
) -> Verified:
    """What `verify` finds, over a connection in autocommit. Raises BeyondHead."""
    while True:
        with snapshot(connection):
            found = verify(
                connection, keys, told, after=after, expected=expected, archive=archive, only_archive=only_archive
            )
        if not is_outdated(connection, found):
            return found


def is_outdated(connection: Connection[Any], found: Verified) -> bool:
    """Whether what is altered is a file that is none of the archive's any more; outside of the snapshot."""
    file = found.altered and found.altered.file
    return file is not None and not table.has(connection, file)

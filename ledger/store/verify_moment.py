"""Verifies one state of the ledger; another one where an erasure replaced a file of its archive meanwhile."""

from typing import Any

from psycopg import Connection

from ledger.store.archive import table
from ledger.store.seal import SealKeys
from ledger.store.verified import EVERYTHING, Extent, Verified
from ledger.store.verify import Told, snapshot, verify


def verify_moment(connection: Connection[Any], keys: SealKeys, told: Told, extent: Extent = EVERYTHING) -> Verified:
    """What `verify` finds, over a connection in autocommit. Raises BeyondHead."""
    while True:
        with snapshot(connection):
            found = verify(connection, keys, told, extent)
        if not is_outdated(connection, found):
            return found


def is_outdated(connection: Connection[Any], found: Verified) -> bool:
    """Whether what is altered is a file that is none of the archive's any more; outside of the snapshot."""
    file = found.altered and found.altered.file
    return file is not None and not table.has(connection, file)

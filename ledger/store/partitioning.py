"""What is done to partitions beside the commits: one made ahead, and a plain table made the first of them.

Of all instances one does it at a time, on a connection in autocommit that it closes afterwards.
"""

from typing import Any

from psycopg import Connection

from ledger.store import partitions
from ledger.store.commit import COMMIT_LOCK, LOCK, LOCK_TIMEOUT_SECONDS

TURN_LOCK = 0x70726573_70617274
""""pres", "part" in ASCII: the advisory lock of the session that is at it."""

WAITED_FOR_MS = 100
"""So long, at most, others wait behind the one that wants the table for itself; then it lets them pass."""

_TAKE_TURN = "SELECT pg_try_advisory_lock(%s)"

_READ_ALL = "ALTER TABLE events VALIDATE CONSTRAINT events_room"

_AS_A_COMMIT = f"{LOCK_TIMEOUT_SECONDS * 1000:.0f}ms"

_BOUND = "SELECT set_config('lock_timeout', %s, true)"

# Made by the migration `partitions`.
_PARTITION = "SELECT partition_events()"


def make_room_ahead(connection: Connection[Any]) -> int | None:
    """Add a partition where the last one is in use -> the first position without room; None: nothing was to be done.

    Raises psycopg.errors.LockNotAvailable where the table is vacuumed or analyzed for longer than a commit may wait.
    """
    if not _take_turn(connection) or not (found := partitions.look(connection)).is_last_in_use:
        return None
    with connection.transaction():
        connection.execute(_BOUND, (_AS_A_COMMIT,))
        return partitions.make_room(connection.cursor(), found.room)


def partition(connection: Connection[Any]) -> bool:
    """Make the plain table `events` the first partition -> whether that was done here.

    Its rows are read once, which takes minutes where there are very many, while everybody reads and writes on. Then
    commits wait for milliseconds. Raises psycopg.errors.LockNotAvailable where somebody reads the table for longer.
    """
    if not _take_turn(connection) or partitions.look(connection).is_partitioned:
        return False
    connection.execute(_READ_ALL)
    with connection.transaction():
        connection.execute(LOCK, (COMMIT_LOCK, _AS_A_COMMIT))
        connection.execute(_BOUND, (f"{WAITED_FOR_MS}ms",))
        connection.execute(_PARTITION)
    return True


def _take_turn(connection: Connection[Any]) -> bool:
    row = connection.execute(_TAKE_TURN, (TURN_LOCK,)).fetchone()
    return row is not None and bool(row[0])

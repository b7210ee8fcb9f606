"""Whether the ledger can be written to now: an event is appended and taken back."""

from psycopg.errors import LockNotAvailable

from ledger.store.ledger import Ledger
from ledger.store.recorder import COMMIT_LOCK

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s) WHERE set_config('lock_timeout', '1s', true) IS NOT NULL"

_APPEND = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
VALUES ('a trial', 0, 0, 'trial', '{}', clock_timestamp())
"""


def try_to_write(ledger: Ledger) -> None:
    """Append an event in a transaction that is rolled back. Raises StoreUnavailable where that cannot be now."""
    with ledger.connection() as connection, connection.transaction(force_rollback=True):
        row = connection.execute(_TRY_LOCK, (COMMIT_LOCK,)).fetchone()
        if row is None or not row[0]:
            raise LockNotAvailable("somebody holds the ledger's lock")
        connection.execute(_APPEND)

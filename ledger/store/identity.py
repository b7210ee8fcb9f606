"""Which ledger a database holds, and that it went back, if it did: the one place that knows `ledger_identity`."""

from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor

READ: LiteralString = """
SELECT ledger::text, epoch::text, went_back_at, went_back_from, went_back_to, suspect_after FROM ledger_identity
"""

EPOCH: LiteralString = "SELECT epoch::text FROM ledger_identity"

_RENEW = "UPDATE ledger_identity SET epoch = gen_random_uuid()"

# What an earlier time left to be looked at is still to be.
_GO_BACK = """
UPDATE ledger_identity
   SET epoch = gen_random_uuid(), went_back_at = clock_timestamp(), went_back_from = %(known)s,
       went_back_to = %(common)s, suspect_after = least(suspect_after, %(common)s)
"""

# Where rows were repaired, instances have to learn again what they know of users.
_CLEAR = """
UPDATE ledger_identity
   SET suspect_after = NULL, epoch = CASE WHEN %(changed)s THEN gen_random_uuid() ELSE epoch END
 WHERE epoch::text = %(epoch)s
"""


class Identity(NamedTuple):
    """A ledger as its database knows it."""

    ledger: str
    """For ever, wherever its database is moved."""
    epoch: str
    """Another one wherever a position may mean another event: after an import, a restore, and when it went back."""
    went_back_at: datetime | None
    went_back_from: int | None
    """The last position that was known before."""
    went_back_to: int | None
    """Up to this one, everything is as it was."""
    suspect_after: int | None
    """After this position `current` has still to be held against the events."""


def read(connection: Connection[Any]) -> Identity:
    """The identity of a ledger."""
    row = connection.execute(READ).fetchone()
    assert row is not None
    return Identity(*row)


def epoch(connection: Connection[Any]) -> str:
    """The epoch of now."""
    row = connection.execute(EPOCH).fetchone()
    assert row is not None
    found: str = row[0]
    return found


def renew(cursor: Cursor[Any]) -> None:
    """Begin a new epoch."""
    cursor.execute(_RENEW)


def renew_restored(connection: Connection[Any]) -> None:
    """The same in a database that a backup was restored into; one of before ledgers had ids gets its own later."""
    row = connection.execute("SELECT to_regclass('ledger_identity') IS NOT NULL").fetchone()
    if row == (True,):
        renew(connection.cursor())


def go_back(connection: Connection[Any], known: int, common: int) -> None:
    """Put on record that what was known up to one position is there up to another one only."""
    connection.execute(_GO_BACK, {"known": known, "common": common})


def clear_suspicion(connection: Connection[Any], epoch: str, *, changed: bool) -> None:
    """`current` is as the events say, if this epoch is still the last one; `changed`: as it was not before."""
    connection.execute(_CLEAR, {"epoch": epoch, "changed": changed})

"""What is still to be done of an erasure after its commit, by whichever instance is there, until its row says it is.

Streams and sinks are to be told, what is left by then is removed with the uid, and PostgreSQL is to reuse the space.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
from psycopg import Connection
from psycopg.errors import Diagnostic
from psycopg.rows import TupleRow

from ledger.store import session
from ledger.store.ledger import Ledger, translated
from ledger.working_state import erasures, sinks

TOLD_SECONDS = 1.5
"""So long streams have at least to tell that a user is gone; those that were slower begin anew."""


class Waiting(NamedTuple):
    """The sinks that have still to be told, and whether somebody has to resume one of them first."""

    sinks: list[str]
    held: bool


def finish(ledger: Ledger, sink_names: Sequence[str]) -> int:
    """Remove what is left of those who were erased, where all have done their part -> how many that were.

    Raises StoreUnavailable.
    """
    done = 0
    with ledger.connection() as connection, connection.transaction():
        cursor = connection.cursor()
        for row in erasures.due(cursor, TOLD_SECONDS):
            if not sinks.behind(connection, sink_names, row.position):
                erasures.finish(cursor, row)
                done += 1
    return done


def waiting_for(ledger: Ledger, position: int, sink_names: Sequence[str]) -> Waiting | None:
    """What an erasure waits for; None: it is done. Raises StoreUnavailable."""
    with ledger.connection() as connection:
        if all(row.position != position for row in erasures.under_way(connection)):
            return None
        behind = sinks.behind(connection, sink_names, position)
        held = {name for name, row in sinks.read(connection).items() if row.is_held}
        return Waiting(behind, any(name in held for name in behind))


def leaves_space(ledger: Ledger) -> bool:
    """Whether PostgreSQL has still to reuse the space of what was removed. Raises StoreUnavailable."""
    with ledger.connection() as connection:
        return bool(erasures.to_overwrite(connection))


def overwrite(database_url: str, began: Callable[[Connection[TupleRow]], None] = lambda _: None) -> None:
    """Have PostgreSQL reuse the space of what was removed, and forget it in its statistics. Raises StoreUnavailable.

    `began` is told the connection, over which it can be cancelled: of a large ledger it takes minutes. What is
    cancelled, or left out a table that somebody else held, stays to be done.
    """
    tables = ", ".join(["events", "erasures", *erasures.PER_USER_TABLES, *erasures.LIST_TABLES])
    left_out: list[str | None] = []

    def note(said: Diagnostic) -> None:
        if said.sqlstate == psycopg.errors.LockNotAvailable.sqlstate:
            left_out.append(said.message_primary)

    with translated(), session.connect(database_url, "erasure") as connection:
        began(connection)
        connection.add_notice_handler(note)
        finished = erasures.to_overwrite(connection)
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            connection.execute(f"VACUUM (ANALYZE, SKIP_LOCKED) {tables}".encode())
            if not left_out:
                erasures.overwritten(connection, finished)

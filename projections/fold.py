"""Folding all of the users' streams, one user after another, divided among processes.

Nobody judges here and nothing is written twice, so that this takes little longer than to fetch the events.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import psycopg
from psycopg import ServerCursor
from psycopg.rows import TupleRow

from ledger.domain.evolve import evolve
from ledger.domain.history import UserEvent
from ledger.domain.presence import Presence
from ledger.errors import LedgerError
from ledger.store.ledger import translated
from ledger.store.mapper import USER_PREFIX, EventMapper
from projections import current, switch
from projections.shares import Told, number_of_processes, together

SORTED_EVENTS = 10_000_000
"""So many are sorted at once by each process, by PostgreSQL and on its disk, if need be: some 4 GB."""

FETCHED_ROWS = 5_000

_USUAL = "webhook_observed.v1"

# User by user, so that each one's presence is at hand until it is complete. By a hash, since numbers are sorted sooner
# than names.
_EVENTS = """
SELECT stream, position, nullif(kind, %s), payload FROM events
 WHERE starts_with(stream, 'user:') AND (hashtext(stream) & 2147483647) %% %s = %s AND position <= %s
 ORDER BY hashtext(stream), stream, version
"""

# To go through an index would be to fetch each row from another place.
_PLAN = (
    "SET enable_indexscan = off",
    "SET enable_bitmapscan = off",
    "SET jit = off",
    "SET work_mem = '64MB'",
    "SET synchronous_commit = off",
)


class FoldFailed(LedgerError):
    """An event cannot be folded; the live table is as it was."""


class Share(NamedTuple):
    """What one process does: these parts of the users, of so many in all, up to a position."""

    database_url: str
    parts: Sequence[int]
    of: int
    upto: int


def fold_all(database_url: str, upto: int, told: Told) -> None:
    """Fill the new table `current`, which has no index yet, with every user's presence as of a position.

    Raises FoldFailed, ProcessEnded, StoreUnavailable.
    """
    processes = number_of_processes(upto)
    passes = -(-upto // (SORTED_EVENTS * processes)) or 1
    of = processes * passes
    together(fold_share, [Share(database_url, range(n, of, processes), of, upto) for n in range(processes)], told)


def fold_share(share: Share, told: Told) -> None:
    """Fold the parts one after another, in a transaction each."""
    mapper = EventMapper()
    with translated(), psycopg.connect(share.database_url, application_name="presence-ledger rebuild") as connection:
        for setting in _PLAN:
            connection.execute(setting)
        for part in share.parts:
            cursor = connection.cursor()
            with connection.cursor("events", binary=True) as events, switch.named_first(cursor):
                events.execute(_EVENTS, (_USUAL, share.of, part, share.upto))
                current.insert(cursor, current.rows_of(_folded(events, mapper, told)))
            connection.commit()


def _folded(events: ServerCursor[TupleRow], mapper: EventMapper, told: Told) -> Iterator[Presence]:
    """Each user's presence, when its last event has come."""
    usual, last, position = mapper.decoder(_USUAL), "", 0
    presence = Presence("")
    try:
        while rows := events.fetchmany(FETCHED_ROWS):
            for stream, position, kind, payload in rows:
                if stream != last:
                    if last:
                        yield presence
                    last, presence = stream, Presence(stream[len(USER_PREFIX) :])
                event = usual(payload) if kind is None else cast(UserEvent, mapper.event(kind, payload))
                presence = evolve(presence, event, position)
            told(len(rows))
    except (psycopg.Error, OSError):
        raise
    except Exception as error:
        raise FoldFailed(
            f"the event at position {position} cannot be folded: {type(error).__name__}: {error}.\n"
            "The live table is as it was; upgrade to the version that wrote the event."
        ) from error
    if last:
        yield presence

"""The ledger judged again, by one process or by several that share its users, all of them at the same moment of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.evidence import Placed
from ledger.errors import LedgerError
from ledger.replay.placed import placed, placed_row
from ledger.replay.replayed import Replayed
from ledger.replay.slice import Trial, replay_events
from ledger.slices import ledger_rows
from ledger.slices.archived import AT_ONE_MOMENT
from ledger.slices.form import SliceHeader
from ledger.slices.ledger_rows import Bounds
from ledger.slices.share import WHOLE, Share
from ledger.slices.taking import SliceScope, describe, states
from ledger.store.archive import table
from ledger.store.mapper import EventMapper

TOLD_EVENTS = 2_000
"""Between two reports of how far a share is."""

Advanced = Callable[[int], None]
"""Told how many positions are behind."""

_SNAPSHOT = "SELECT pg_export_snapshot()"

# Before anything is read; the tables are locked by whoever has exported it.
_AT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{}'"


class PartlyArchived(LedgerError):
    """Some of it is in files, which only a slice is read from."""


class LedgerPart(NamedTuple):
    """A part of the ledger as of one moment, for as long as the transaction lasts that found it."""

    snapshot: str
    """By which other transactions see the same."""
    bounds: Bounds
    header: SliceHeader

    @property
    def positions(self) -> int:
        """How many there are."""
        return self.bounds.stop - self.bounds.start


@contextmanager
def at_one_moment(connection: Connection[TupleRow], mapper: EventMapper, scope: SliceScope) -> Iterator[LedgerPart]:
    """The part between two instants as of now. Raises PartlyArchived, UnreadableEvent."""
    with connection.transaction():
        connection.execute(AT_ONE_MOMENT, prepare=False)
        if table.before(connection):
            raise PartlyArchived("Events of users are archived.\nThey are judged again by one process, as a slice.")
        bounds = ledger_rows.bounds(connection, scope.since, scope.until)
        row = connection.execute(_SNAPSHOT).fetchone()
        assert row is not None
        yield LedgerPart(row[0], bounds, describe(connection, mapper, scope, bounds))


def judge_share(
    connection: Connection[TupleRow],
    moment: LedgerPart,
    trial: Trial,
    advanced: Advanced,
    share: Share = WHOLE,
) -> Replayed:
    """Judge a share of the users again, in a transaction that sees the moment. Raises UnreadableEvent."""
    mapper, bounds = EventMapper(), moment.bounds
    before = (placed(line, mapper) for line in states(connection, mapper, bounds.start, share=share))
    return replay_events(moment.header, before, _events(connection, mapper, bounds, share, advanced), trial, share)


def judge_share_elsewhere(
    connection: Connection[TupleRow], moment: LedgerPart, trial: Trial, advanced: Advanced, share: Share
) -> Replayed:
    """The same in a transaction of its own, while that of the moment lasts."""
    with connection.transaction():
        connection.execute(_AT.format(moment.snapshot).encode(), prepare=False)
        return judge_share(connection, moment, trial, advanced, share)


def _events(
    connection: Connection[TupleRow], mapper: EventMapper, bounds: Bounds, share: Share, advanced: Advanced
) -> Iterator[Placed]:
    rows = ledger_rows.between(connection, bounds.start, bounds.stop, None, share)
    for number, row in enumerate(rows):
        if number % TOLD_EVENTS == 0:
            advanced(row.position - bounds.start)
        yield placed_row(row, mapper)
    advanced(bounds.stop - bounds.start)

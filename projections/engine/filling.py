"""Filling a projection's new tables by its own handler: stream by stream at first, then as the ledger goes on."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, LiteralString

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.errors import LedgerError
from ledger.store import session
from ledger.store.ledger import translated
from ledger.store.mapper import EventMapper
from projections.engine import checkpoints, switch
from projections.engine.by_stream import STREAM_BY_STREAM, StreamShare, opened
from projections.engine.feed import EVENTS_OF_KINDS, Feed, FeedRow, Poison, Stretch
from projections.engine.memory import Memory
from projections.engine.projection import Projection
from projections.engine.projector import apply
from projections.engine.shares import ReportDone

BATCH_EVENTS = 20_000

_PARTITION_TEMPLATE: LiteralString = "{} AND {}"
_PARTITION = _PARTITION_TEMPLATE.format(EVENTS_OF_KINDS, STREAM_BY_STREAM)

APPLICATION = "presence-ledger rebuild"


class RebuildFailed(LedgerError):
    """The ledger holds an event that the projection cannot take; the live one is as it was."""


def fill_partitions(
    database_url: str,
    projection: Projection,
    batch_events: int,
    partitions: Sequence[StreamShare],
    report: ReportDone,
) -> set[int]:
    """Fill the new tables over a connection of its own; returns the skipped events that it had to leave out, too."""
    with (
        translated(),
        session.connect(database_url, application_name=APPLICATION) as connection,
    ):
        connection.execute("SET synchronous_commit = off")
        filling = Filling(connection, projection, batch_events)
        filling.fill_partitions(database_url, partitions, report)
    return filling.left_out


class Filling:
    """How far new tables are filled over one connection. `position` is that of the last event."""

    def __init__(self, connection: Connection[TupleRow], projection: Projection, batch_events: int) -> None:
        self._mapper = EventMapper()
        self.position = 0
        self.skips = checkpoints.skips(connection.cursor(), projection.name)
        self.left_out: set[int] = set()
        self.batch_events = batch_events
        self._connection = connection
        self._projection = projection
        self._kinds = self._mapper.stored_kinds(projection.kinds)
        self._feed = Feed(self._mapper, self._kinds)

    def fill_partitions(self, database_url: str, partitions: Sequence[StreamShare], report: ReportDone) -> None:
        """Begin with these, read over a connection of their own, and written a transaction a batch.

        Were they written in the transaction that reads, each batch would be another level of it, which makes everybody
        slower who sees its rows. Raises RebuildFailed.
        """
        kinds = sorted(self._kinds), sorted(self._mapper.known_kinds)
        with session.connect(database_url, application_name=APPLICATION, autocommit=False) as reading:
            for partition in partitions:
                with reading.transaction(), opened(reading, _PARTITION, kinds, partition) as events:
                    while rows := events.fetchmany(self.batch_events):
                        with self._connection.transaction():
                            self._write(
                                Stretch(0, partition.up_to, True, [FeedRow(*row) for row in rows], self._mapper)
                            )
                            report(len(rows))

    def fill(self) -> None:
        """Go on to where the ledger is now, a transaction a batch. Raises RebuildFailed."""
        more = True
        while more:
            with self._connection.transaction():
                more = self.batch(self._connection.cursor(binary=True))

    def batch(self, cursor: Cursor[Any]) -> bool:
        """One stretch of the ledger; whether there is more."""
        stretch = self._feed.after(cursor, self.position, self.batch_events)
        self._write(stretch)
        self.position = stretch.last
        return stretch.more

    def _write(self, stretch: Stretch) -> None:
        cursor = self._connection.cursor(binary=True)
        with switch.named_first(cursor):
            self._take(cursor, stretch)

    def _take(self, cursor: Cursor[Any], stretch: Stretch) -> None:
        """What an operator had the live one leave out is tried again: this version may know better."""
        taken = set[int]()
        while True:
            events, unreadable = stretch.followed(self._kinds, self.left_out | taken)
            found = apply(self._connection, cursor, self._projection, events, Memory()) or unreadable
            if found is None:
                return
            if found.position not in self.skips:
                raise RebuildFailed(self._explain(found))
            self.left_out.add(found.position)
            taken.update(takewhile(found.position.__ne__, [event.position for event in events]))

    def _explain(self, found: Poison) -> str:
        name = self._projection.name
        return (
            f"'{name}' cannot take the event at position {found.position}: {found.reason}; the live one is as it was.\n"
            f"Upgrade, or leave the event out with `presence-ledger projections --skip {name} {found.position}` "
            "where the live one is stopped there too."
        )

"""Filling a projection's new tables by its own handler: from all of the ledger, or from a share of its streams."""

from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.errors import LedgerError
from ledger.store.ledger import translated
from ledger.store.mapper import EventMapper
from projections import checkpoints, switch
from projections.feed import Feed, Poison, Stretch
from projections.projection import Projection
from projections.projector import apply
from projections.registry import FOLLOWING
from projections.shares import Told

BATCH_EVENTS = 20_000

APPLICATION = "presence-ledger rebuild"


class RebuildFailed(LedgerError):
    """The ledger holds an event that the projection cannot take; the live one is as it was."""


class Share(NamedTuple):
    """Of a projection that is registered: the streams of one part of so many, up to a position."""

    database_url: str
    name: str
    part: int
    of: int
    upto: int


def fill_share(share: Share, told: Told) -> set[int]:
    """Fill the new tables with a share; returns the skipped events that it had to leave out, too."""
    with (
        translated(),
        psycopg.connect(share.database_url, autocommit=True, application_name=APPLICATION) as connection,
    ):
        connection.execute("SET synchronous_commit = off")
        filling = Filling(connection, FOLLOWING[share.name], part=share.part, of=share.of)
        filling.fill(told, share.upto)
    return filling.left_out


class Filling:
    """How far new tables are filled over one connection. `position` is that of the last event."""

    def __init__(
        self,
        connection: Connection[TupleRow],
        projection: Projection,
        batch_events: int = BATCH_EVENTS,
        *,
        part: int = 0,
        of: int = 1,
    ) -> None:
        mapper = EventMapper()
        self.position = 0
        self.skips = checkpoints.skips(connection.cursor(), projection.name)
        self.left_out: set[int] = set()
        self._connection = connection
        self._projection = projection
        self._kinds = mapper.stored_kinds(projection.kinds)
        self._feed = Feed(mapper, self._kinds, part, of)
        self._batch_events = batch_events

    def fill(self, told: Told, upto: int | None = None) -> None:
        """Go on to a position, or to where the ledger is now, a transaction a batch. Raises RebuildFailed."""
        more = True
        while more and (upto is None or self.position < upto):
            before = self.position
            with self._connection.transaction():
                more = self.batch(self._connection.cursor(binary=True), upto)
            told(self.position - before)

    def batch(self, cursor: Cursor[Any], upto: int | None = None) -> bool:
        """One stretch of the ledger; whether there is more."""
        stretch = self._feed.after(cursor, self.position, self._batch_events, upto)
        with switch.named_first(cursor):
            self._take(cursor, stretch)
        self.position = stretch.last
        return stretch.more

    def _take(self, cursor: Cursor[Any], stretch: Stretch) -> None:
        """What an operator had the live one leave out is tried again: this version may know better."""
        after = stretch.after
        while True:
            events, unreadable = stretch.followed(self._kinds, self.left_out)
            events = [event for event in events if event.position > after]
            found = apply(self._connection, cursor, self._projection, events) or unreadable
            if found is None:
                return
            if found.position not in self.skips:
                raise RebuildFailed(self._explain(found))
            self.left_out.add(found.position)
            after = found.position

    def _explain(self, found: Poison) -> str:
        name = self._projection.name
        return (
            f"'{name}' cannot take the event at position {found.position}: {found.reason}; the live one is as it was.\n"
            f"Upgrade, or leave the event out with `presence-ledger projections --skip {name} {found.position}` "
            "where the live one is stopped there too."
        )

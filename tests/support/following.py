"""Projections for tests: one that notes which events it was given, and stumbles over some of them."""

from collections.abc import Collection, Sequence
from typing import Any, Self

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.store.mapper import CURRENT_KINDS
from projections.engine import checkpoints
from projections.engine.checkpoints import Checkpoint
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.engine.projector import Projector

TABLE = "CREATE TABLE {} (position bigint PRIMARY KEY, kind text NOT NULL)"


class Noted:
    """Notes every event's position under the name of a projection that there is; twice the same is an error."""

    kinds = frozenset(CURRENT_KINDS)

    def __init__(self, name: str = "drift", stumbles: Collection[int] = ()) -> None:
        self.name = name
        self.tables: Sequence[str] = (f"noted_{name}",)
        self.stumbles = set(stumbles)

    def create(self, connection: Connection[TupleRow]) -> Self:
        """Make its table."""
        connection.execute(TABLE.format(self.tables[0]).encode())
        return self

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Note them. Raises ValueError at those that it stumbles over."""
        for event in events:
            cursor.execute(
                f"INSERT INTO {self.tables[0]} VALUES (%s, %s)".encode(), (event.position, type(event.event).__name__)
            )
            if event.position in self.stumbles:
                raise ValueError(f"cannot take {event.position}")

    def positions(self, connection: Connection[TupleRow]) -> list[int]:
        """What it has noted."""
        rows = connection.execute(f"SELECT position FROM {self.tables[0]} ORDER BY position".encode()).fetchall()
        return [position for (position,) in rows]


def connect(url: str) -> Connection[TupleRow]:
    """A connection as the projector's process has it."""
    return psycopg.connect(url, autocommit=True)


def checkpoint(connection: Connection[TupleRow], name: str) -> Checkpoint:
    """How far a projection is."""
    return next(each for each in checkpoints.read(connection) if each.name == name)


def follow_all(connection: Connection[TupleRow], projector: Projector) -> None:
    """Bring everything as far as it goes."""
    while projector.round(connection):
        pass

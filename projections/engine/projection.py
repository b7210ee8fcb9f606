"""What a batch projection is: a name, its tables, and a handler of events in their order."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from psycopg import Cursor

from ledger.domain.event_types import Event
from projections.engine.memory import Memory


class Followed(NamedTuple):
    """An event at its place in the ledger; `uid` is None for a source's."""

    position: int
    stream: str
    version: int
    recorded_at: datetime
    event: Event
    uid: str | None


class Projection(Protocol):
    """A read model that follows the ledger.

    `handle` is given the events of each stream in their order, each once, and writes its tables with the cursor, in the
    transaction that also moves the checkpoint. It names its tables without a schema, so that a rebuild can fill others;
    and what it makes of an event depends on earlier ones of the same stream alone, so that a rebuild can take one
    stream after another. Several processes can, so a projection is picklable.
    """

    name: str
    tables: Sequence[str]
    """What a rebuild builds from scratch and switches, with their indexes."""
    kinds: frozenset[str]
    """The kinds of events that it reads, as they are stored."""

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Write what these events change. Raises what it cannot cope with: the projection then stops there.

        `memory` is as of the events before these, for users of whom it still knows something.
        """

"""The batch projector: brings each projection as far as the ledger, hundreds of events a transaction, exactly once.

A projection's rows and its checkpoint are written in one transaction that locks the checkpoint's row, and skips a row
that is locked: so one process leads per projection, and when it dies another goes on from the checkpoint at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.errors import StoreUnavailable
from ledger.store.ledger import translated
from ledger.store.mapper import EventMapper
from projections.engine import checkpoints
from projections.engine.feed import Feed, Poison, poison
from projections.engine.memory import Memory
from projections.engine.projection import Followed, Projection

log = structlog.get_logger()

BATCH_EVENTS = 1_000
MAX_BATCH_EVENTS = 10_000
"""A tenth of what it is behind at a time: larger batches cost less an event, and keep others waiting for longer."""


class Projector:
    """Follows the ledger for these projections. For one thread, with one connection at a time."""

    def __init__(
        self,
        following: Mapping[str, Projection],
        mapper: EventMapper | None = None,
        batch_events: int = BATCH_EVENTS,
    ) -> None:
        self._mapper = mapper or EventMapper()
        self._following = following
        self._kinds = {name: self._mapper.stored_kinds(each.kinds) for name, each in following.items()}
        self._batch_events = batch_events
        self._connection: Connection[TupleRow] | None = None
        self._begin(None)
        self.astray: Sequence[str] = ()
        """Those that were found to be built on events that are no longer in the ledger: they wait for their rebuild."""
        self.head = 0
        """The ledger's last position when the last round began."""
        self.behind = 0
        """How many positions the one that was furthest behind had to go then."""

    def _begin(self, connection: Connection[TupleRow] | None) -> None:
        """Keep nothing of what was read over another connection, which may have been to another server."""
        self._connection = connection
        self._feed = Feed(self._mapper, frozenset().union(*self._kinds.values()))
        # What another process could not take, an older version perhaps, is tried here; what this one could not, is not.
        self._refused: dict[str, int] = {}
        self._memories = {name: Memory() for name in self._following}

    def round(self, connection: Connection[TupleRow]) -> bool:
        """Take each projection one batch further; whether one of them has still some way to go.

        Raises StoreUnavailable; what a projection cannot take stops that projection alone.
        """
        more = False
        if connection is not self._connection:
            self._begin(connection)
        with translated():
            found = checkpoints.read(connection)
            self.astray = [each.name for each in found if each.is_astray and each.name in self._following]
            going = [each for each in found if self._goes_on(each)]
            self.head = max([each.head for each in going], default=self.head)
            self.behind = max([each.lag for each in going], default=0)
            for checkpoint in going:
                more |= self._step(connection, self._following[checkpoint.name])
        return more

    def _goes_on(self, checkpoint: checkpoints.Checkpoint) -> bool:
        can_go = checkpoint.name in self._following and not checkpoint.is_astray
        return can_go and checkpoint.lag > 0 and not self._is_refused(checkpoint)

    def _is_refused(self, checkpoint: checkpoints.Checkpoint) -> bool:
        stopped = checkpoint.stopped_position
        return stopped is not None and self._refused.get(checkpoint.name) == stopped

    def _limit(self) -> int:
        return max(self._batch_events, min(self.behind // 10, MAX_BATCH_EVENTS))

    def _step(self, connection: Connection[TupleRow], projection: Projection) -> bool:
        """One batch of one projection; whether there is more."""
        name, memory = projection.name, self._memories[projection.name]
        with connection.transaction():
            cursor = connection.cursor(binary=True)
            checkpoint = checkpoints.lead(cursor, name)
            if checkpoint is None or checkpoint.is_astray:
                return False
            # Whoever else moves it, or puts other tables in place, does so at another time.
            memory.hold_to((checkpoint.updated_at, checkpoint.erased_at))
            stretch = self._feed.after(cursor, checkpoint.position, self._limit(), checkpoint.erased_at)
            events, unreadable = stretch.followed(self._kinds[name], checkpoint.skips)
            found = apply(connection, cursor, projection, events, memory) or unreadable
            if found is None:
                moved_at = checkpoints.move(cursor, name, stretch.last)
            else:
                moved_at = checkpoints.stop(cursor, name, found.position - 1, found.position, found.reason)
        memory.moved_to((moved_at, checkpoint.erased_at))
        if found is not None:
            self._refused[name] = found.position
            log.error("projection_stopped", projection=name, position=found.position, reason=found.reason)
        return found is None and stretch.more


def apply(
    connection: Connection[TupleRow],
    cursor: Cursor[Any],
    projection: Projection,
    events: Sequence[Followed],
    memory: Memory,
) -> Poison | None:
    """Give events to a projection within a transaction; where it cannot take one, all before that one, and say which.

    Raises StoreUnavailable: a database that is away is nothing that an event did.
    """
    if not events:
        return None
    try:
        with translated(), connection.transaction():
            projection.handle(cursor, events, memory)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001  (whatever it is, it stops this projection and no other)
        memory.forget()
        if len(events) == 1:
            return poison(events[0].position, error)
        middle = len(events) // 2
        return apply(connection, cursor, projection, events[:middle], memory) or apply(
            connection, cursor, projection, events[middle:], memory
        )
    return None

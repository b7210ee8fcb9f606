"""Feeds events to projections without a ledger, in batches of any size; what recordings and lives at random leave."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import TupleRow

from ledger.domain.event_types import Event, UserEvent
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.replay.recording import Replay
from ledger.sources.wukongim.recording import read_header, read_lines
from ledger.store.mapper import CURRENT_KINDS, Recorded, source_stream, user_stream
from projections.engine.memory import Memory
from projections.engine.projection import Followed, Projection
from tests.support.reconciler import SOURCE, Kept
from tests.support.recordings import lines_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_KIND_OF = {cls: kind for kind, cls in CURRENT_KINDS.items()}


def followed(position: int, event: Event, uid: str | None, at: Instant = 0, version: int = 1) -> Followed:
    """An event as a projection is given it."""
    stream = source_stream(SOURCE) if uid is None else user_stream(uid)
    return Followed(position, stream, version, EPOCH + timedelta(microseconds=at), event, uid)


def all_followed(kept: Iterable[Kept]) -> list[Followed]:
    """What a reconciler in memory kept."""
    return [followed(each.position, each.event, each.uid) for each in kept]


def replayed(name: str, *, all_deliveries: bool = True) -> list[Followed]:
    """The events that a recording leaves, refused deliveries taken as received, too."""
    events: list[Followed] = []

    def listen(recorded: Recorded, at: Instant) -> None:
        events.append(followed(len(events) + 1, recorded.event, recorded.uid, at, recorded.originator_version))

    first, *lines = lines_of(name)
    header = read_header(first)
    replay = Replay(header, Policy(tier_normal_seconds=5), listen)
    for _ in replay.run(read_lines(lines, header, None, all_deliveries=all_deliveries, polls=True)):
        pass
    return events


def feed(
    connection: Connection[TupleRow],
    projection: Projection,
    events: Iterable[Followed],
    sizes: Iterator[int],
    *,
    remembers: bool = True,
) -> None:
    """Give a projection those of the events that it reads, in batches of these sizes.

    `remembers`: users from one batch to the next; else it reads them back each time.
    """
    memory = Memory()
    wanted = iter([each for each in events if _KIND_OF[type(each.event)] in projection.kinds])
    while batch := list(islice(wanted, next(sizes))):
        with connection.transaction():
            projection.handle(connection.cursor(binary=True), batch, memory if remembers else Memory())


def rows_of(connection: Connection[TupleRow], projection: Projection) -> list[list[TupleRow]]:
    """All that stands in its tables, each in the order of its key."""
    return [
        connection.execute(sql.SQL("SELECT * FROM {} AS r ORDER BY r").format(sql.Identifier(table))).fetchall()
        for table in projection.tables
    ]


def users_events(events: Sequence[Followed], uid: str) -> list[UserEvent]:
    """One user's events."""
    found: list[Any] = [each.event for each in events if each.uid == uid]
    return found


def as_kept(events: Iterable[Followed]) -> list[Kept]:
    """Events to be poured into a ledger, each in a commit of its own."""
    return [Kept(each.position, each.position, each.uid, each.event) for each in events]

"""A slice's events with their places, as they are judged again: those of one poll together."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ledger.domain.event_types import Event
from ledger.domain.instants import from_datetime
from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import Corrected, PollObserved
from ledger.slices.form import EventLine, StateLine
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX, EventMapper


class Placed(NamedTuple):
    """An event at its place; `uid` is None for a source's, `source` empty for a user's."""

    position: int
    recorded_at: Instant
    uid: str | None
    source: str
    event: Event


def placed(line: StateLine | EventLine, mapper: EventMapper) -> Placed:
    """The event of a line. Raises UnreadableEvent."""
    is_user = line.stream.startswith(USER_PREFIX)
    return Placed(
        line.position,
        from_datetime(line.recorded_at),
        line.stream.removeprefix(USER_PREFIX) if is_user else None,
        "" if is_user else line.stream.removeprefix(SOURCE_PREFIX),
        mapper.event_at(line.position, line.event_kind, bytes(line.payload)),
    )


def judged_together(events: Iterable[Placed]) -> Iterator[list[Placed]]:
    """Each event alone, but a poll's with the corrections that follow from it."""
    together: list[Placed] = []
    for each in events:
        poll = together[0].event if together else None
        if isinstance(each.event, Corrected) and isinstance(poll, PollObserved) and each.event.poll == poll.poll:
            together.append(each)
            continue
        if together:
            yield together
        together = [each]
    if together:
        yield together

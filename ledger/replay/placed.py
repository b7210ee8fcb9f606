"""A slice's events at their places, and the draft that judges them there again."""

from collections.abc import Iterable, Iterator, Mapping

from ledger.domain.event_types import Event, SourceEvent, UserEvent
from ledger.domain.evidence import Placed
from ledger.domain.instants import from_datetime
from ledger.domain.reconciliation_events import Corrected, PollObserved
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft
from ledger.slices.form import LedgerLine
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX, EventMapper, Recorded
from ledger.store.recorder import StoredRow


def placed(line: LedgerLine, mapper: EventMapper) -> Placed:
    """The event of a line. Raises UnreadableEvent."""
    return _placed(line, mapper.event_at(line.position, line.event_kind, bytes(line.payload)))


def placed_row(row: StoredRow, mapper: EventMapper) -> Placed:
    """The same of a row. Raises UnreadableEvent."""
    return _placed(row, mapper.event_at(row.position, row.kind, row.payload))


def _placed(found: LedgerLine | StoredRow, event: Event) -> Placed:
    is_user = found.stream.startswith(USER_PREFIX)
    return Placed(
        found.position,
        found.version,
        from_datetime(found.recorded_at),
        "" if is_user else found.stream.removeprefix(SOURCE_PREFIX),
        found.stream.removeprefix(USER_PREFIX) if is_user else "",
        event,
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


class PlacedDraft(Draft):
    """The states after events at given positions; a source that was not heard of before is new."""

    def __init__(self) -> None:
        super().__init__({}, {}, 0)
        self._places: Mapping[str, int] | None = None
        self._at = 0

    def source(self, name: str) -> SourceState:
        return self.sources.get(name) or SourceState(name)

    def put(self, at: Placed, event: Event) -> None:
        """Add an event in the place of another."""
        self.head = at.position - 1
        if isinstance(event, UserEvent):
            self.append_to_user(at.uid, event)
        else:
            assert isinstance(event, SourceEvent)
            self.append_to_source(at.source, event)

    def stand_at(self, position: int, places: Mapping[str, int]) -> None:
        """What is added next stands there, and users' events at these places; those of others there as well: where it
        stands must not depend on others, who may be judged elsewhere."""
        self.head = position - 1
        self._places = places
        self._at = position

    def append_to_user(self, uid: str, event: UserEvent) -> Recorded:
        if self._places is not None:
            self.head = self._places.get(uid, self._at) - 1
        return super().append_to_user(uid, event)

    def leave(self) -> None:
        """The places are over."""
        self._places = None

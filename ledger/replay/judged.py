"""What judging a slice again works on and comes to: drafts whose events stand where the slice's do, and verdicts."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from ledger.domain.event_types import SourceEvent, UserEvent
from ledger.domain.events import DeliveryReceived
from ledger.domain.reconciliation_events import Finding
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft
from ledger.replay.placed import Placed
from ledger.store.mapper import Recorded

Said: TypeAlias = UserEvent | DeliveryReceived | Finding
"""One thing that the rules say."""


class Judged(NamedTuple):
    """What the rules said of something when it was recorded, and what they say of it now."""

    position: int
    uid: str | None
    """None: of a delivery."""
    recorded: tuple[Said, ...]
    replayed: tuple[Said, ...]
    why_not: str | None = None
    """Why it could not be judged again, or not in full: its evidence is not in the slice. What was recorded stands."""

    @property
    def is_repeated(self) -> bool:
        """Whether it was judged again, and came out the same."""
        return self.why_not is None and self.recorded == self.replayed


class PlacedDraft(Draft):
    """The states after events at given positions; a source that was not heard of before is new."""

    def __init__(self) -> None:
        super().__init__({}, {}, 0)
        self._places: Mapping[str, int] | None = None
        self._last = 0

    def source(self, name: str) -> SourceState:
        return self.sources.get(name) or SourceState(name)

    def put(self, at: Placed, event: UserEvent | SourceEvent) -> None:
        """Add an event in the place of another."""
        self.head = at.position - 1
        if isinstance(event, UserEvent):
            assert at.uid is not None
            self.append_to_user(at.uid, event)
        else:
            self.append_to_source(at.source, event)

    def stand_at(self, position: int, places: Mapping[str, int]) -> None:
        """What is added next stands there, and users' events at these places; those of others at the last of all."""
        self.head = position - 1
        self._places = places
        self._last = max(places.values(), default=position)

    def append_to_user(self, uid: str, event: UserEvent) -> Recorded:
        if self._places is not None:
            self.head = self._places.get(uid, self._last) - 1
        return super().append_to_user(uid, event)

    def leave(self) -> None:
        """The places are over."""
        self._places = None

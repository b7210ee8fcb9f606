"""A user's events as the entries of their timeline, whichever end they are read from. Pure."""

from typing import NamedTuple, cast

import msgspec

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from projections.models.entry_making import entry_for
from projections.models.repeats import begun, changes_nothing

STRETCH_VERSIONS = 1_024
"""Events in a row that changed nothing are one entry as far as they lie in the same stretch of their stream, of so many
versions each. So an entry is made of a bounded number of events, and is the same wherever reading began."""

_encode = msgspec.json.Encoder().encode


class ToldEntry(NamedTuple):
    """An entry: the positions of its first and its last event, and JSON as it is shown."""

    position: int
    last_position: int
    entry: bytes


def stretch_of(version: int) -> int:
    """The first version of the stretch that a version lies in."""
    return version // STRETCH_VERSIONS * STRETCH_VERSIONS


class EntryTeller:
    """Takes a user's events one after another, from the oldest on or from the newest back.

    Entries are whole where the first event is at an end of a stretch or of the stream.
    """

    def __init__(self, *, descending: bool = False) -> None:
        self._descending = descending
        self._key: object = None
        self._events: list[tuple[int, UserEvent]] = []

    def take(self, version: int, position: int, event: UserEvent) -> ToldEntry | None:
        """One event more -> the entry that ended before it, if one did."""
        key: object = version
        if changes_nothing(event):
            observed = cast(WebhookObserved, event)
            key = stretch_of(version), observed.verdict, observed.source
        done = None
        if key != self._key:
            done, self._key = self.rest(), key
        self._events.append((position, event))
        return done

    def rest(self) -> ToldEntry | None:
        """The entry of the last events, where no more of them are to come."""
        events, self._events = self._events, []
        if not events:
            return None
        if self._descending:
            events.reverse()
        (first, event), (last, _) = events[0], events[-1]
        if not changes_nothing(event):
            return ToldEntry(first, last, _encode(entry_for(first, event)))
        fold = begun(first, cast(WebhookObserved, event))
        for position, each in events[1:]:
            fold.extend(position, cast(WebhookObserved, each))
        return ToldEntry(first, last, _encode(fold.repeats))

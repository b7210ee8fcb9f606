"""New places for a slice's events: positions above a ledger's head, sources of another name, and what refers to them.

The one list of the positions that events carry: `moved`.
"""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ledger.domain.alert_events import AlertBegan
from ledger.domain.event_types import Event
from ledger.domain.events import WebhookObserved
from ledger.domain.imported import PresenceImported, SourceImported
from ledger.domain.presence import Flip
from ledger.domain.reconciliation_events import Corrected, PollObserved, Swept

_replace = msgspec.structs.replace


class SamePositions:
    """From the positions of a slice to those of a ledger: as they are."""

    def add(self, position: int, source: str | None) -> int:
        """The next line's new position; `source` is the one whose state it is, if it is a source's state."""
        del source
        return position

    def has(self, position: int) -> bool:
        """Whether it stands in the slice, not before it."""
        del position
        return True

    def new_position(self, position: int) -> int:
        """The new position of the last line up to there."""
        return position

    def new_evidence(self, position: int, source: str) -> int:
        """The new position of an event of the source; of its state where the event stands before the slice."""
        del source
        return position


class ShiftedPositions(SamePositions):
    """Positions that follow a head without a gap. It keeps eight bytes a line."""

    def __init__(self, head: int, began: int) -> None:
        self._head = head
        self._began = began
        """The last position before the slice."""
        self._old = array("q")
        self._states: dict[str, tuple[int, int]] = {}
        """The position of each source's state, and where it went: what stands before it, the state stands for."""

    def add(self, position: int, source: str | None) -> int:
        self._old.append(position)
        new = self._head + len(self._old)
        if source is not None:
            self._states[source] = position, new
        return new

    def has(self, position: int) -> bool:
        return position > self._began

    def new_position(self, position: int) -> int:
        return self._head + bisect_right(self._old, position)

    def new_evidence(self, position: int, source: str) -> int:
        stood, stands = self._states.get(source, (0, 0))
        if position <= stood:
            return stands
        return self._head if position <= self._began else self.new_position(position)


class Renumbering(NamedTuple):
    """How an import changes what events say."""

    numbering: SamePositions
    sources: Mapping[str, str]
    """New names by old ones."""

    @property
    def keeps_positions(self) -> bool:
        """Whether the slice's positions are the ledger's."""
        return not isinstance(self.numbering, ShiftedPositions)

    @property
    def changes_nothing(self) -> bool:
        """Whether events stay as they are, to the byte."""
        return self.keeps_positions and not self.sources

    def source(self, name: str) -> str:
        """A source's name in the ledger."""
        return self.sources.get(name, name)

    def event(self, event: Event, place: int) -> Event:
        """An event at its new place."""
        match event:
            case WebhookObserved() | Corrected():
                return _replace(event, source=self.source(event.source))
            case Swept():
                evidence = self.numbering.new_evidence(event.evidence, event.source)
                return _replace(event, source=self.source(event.source), evidence=evidence)
            case PollObserved():
                return _replace(event, head=self.numbering.new_position(event.head))
            case AlertBegan(rests_on=positions):
                told = [self.numbering.new_position(each) for each in positions if self.numbering.has(each)]
                return _replace(event, rests_on=tuple(told))
            case PresenceImported():
                return self._presence(event, place)
            case SourceImported():
                return self._source_state(event, place)
            case _:
                return event

    def _presence(self, event: PresenceImported, place: int) -> PresenceImported:
        presence = event.presence
        devices = tuple(_replace(device, source=self.source(device.source)) for device in presence.devices)
        if self.keeps_positions:
            return _replace(event, presence=_replace(presence, devices=devices))
        # What made the user so stands before the slice: the state stands for it.
        flip, before = (self._flip(each, place) for each in (presence.flip, presence.before))
        word = presence.override
        moved = _replace(
            presence,
            devices=devices,
            flip=flip,
            before=before,
            position=place,
            override=None if word is None else _replace(word, position=place),
            evident=None,
        )
        return _replace(event, presence=moved)

    @staticmethod
    def _flip(flip: Flip | None, place: int) -> Flip | None:
        return None if flip is None else _replace(flip, cause=_replace(flip.cause, position=place))

    def _source_state(self, event: SourceImported, place: int) -> SourceImported:
        if self.keeps_positions:
            return event
        nodes = {
            name: _replace(node, boot_position=place) if node.boot_position else node
            for name, node in event.nodes.items()
        }
        return _replace(event, nodes=nodes, retired=dict.fromkeys(event.retired, place))

"""As of: what is known of a user at an instant, including what later events say of that instant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from ledger.domain.event_types import UserEvent
from ledger.domain.events import Status
from ledger.domain.evolve import evolve
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Corrected, Swept
from ledger.domain.source import SourceState
from ledger.domain.status import Shown, derive


class Later(NamedTuple):
    """An event that was recorded after the instant in question."""

    position: int
    event: UserEvent


class Uncertain(NamedTuple):
    """The instant lies between two looks: the change to `could_be` came about at some time between these two."""

    earliest: Instant
    latest: Instant
    could_be: Status


class Belief(NamedTuple):
    """What is known of a user at an instant."""

    presence: Presence
    shown: Shown
    uncertain: Uncertain | None = None


def believe(presence: Presence, later: Iterable[Later], sources: Mapping[str, SourceState], at: Instant) -> Belief:
    """What is known of `at` once `later` is known too; `presence` is what had been recorded by then.

    Later events are in the order of their positions; those whose bounds begin after `at` may be left out.
    """
    known = presence
    uncertain: tuple[Instant, Instant, UserEvent, int] | None = None
    for position, event in later:
        bounds = _bounds(event)
        if bounds is None:
            continue
        earliest, latest = bounds
        if latest <= at:
            known = _applied_early(known, event, position, latest)
        elif earliest is not None and earliest < at and uncertain is None:
            uncertain = (earliest, latest, event, position)
    shown = derive(known, sources, at)
    if uncertain is None:
        return Belief(known, shown)
    earliest, latest, event, position = uncertain
    could_be = derive(_applied_early(known, event, position, at), sources, at).status
    if could_be == shown.status:
        return Belief(known, shown)
    return Belief(known, shown, Uncertain(earliest, latest, could_be))


def arrived(later: Sequence[Later], at: Instant) -> int:
    """How many of the first events had arrived by an instant and were only recorded after it."""
    number, latest = 0, 0
    for _, event in later:
        latest = max(latest, event.received_at)
        if latest > at:
            break
        number += 1
    return number


def _bounds(event: UserEvent) -> tuple[Instant | None, Instant] | None:
    """-> (after which instant what the event tells came about, None: not known; by which); None: looks told none"""
    match event:
        case Corrected(agreed_at=agreed_at, disagreed_at=int(disagreed_at)):
            return agreed_at, disagreed_at
        case Swept(earliest=earliest, latest=int(latest)):
            return earliest, latest
        case _:
            return None


def _applied_early(presence: Presence, event: UserEvent, position: int, at: Instant) -> Presence:
    """The presence as if the event had been judged at that instant: its status is that of the sessions left then.

    An operator's word that was shown then gives way when the evidence is there, not when what it tells came about.
    """
    early = replace(event, received_at=at)
    after = evolve(presence, replace(early, status_before=presence.status, status_after=presence.status), position)
    left: Status = "online" if any(device.sessions for device in after.devices) else "offline"
    early = replace(early, status_before=presence.status, status_after=left)
    return replace(evolve(presence, early, position), override=presence.override)

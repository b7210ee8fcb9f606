"""Rescheduling: when, once an event is on record, its user is to be looked at in a source.

The live follower, a replay and the laws' model all call this, so that what holds of one holds of all.
"""

from typing import NamedTuple

from msgspec.structs import replace

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.look import Watch, due_after, made_urgent, soonest_due
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import TierSet
from ledger.domain.source import SourceState


class Reschedule(NamedTuple):
    """What the agenda needs of an event; `source` None: it concerns the user in every source."""

    at: Instant
    source: str | None = None
    suspect: str | None = None


def reschedule_from(event: UserEvent) -> Reschedule | None:
    """What the agenda needs of an event. None: the watch is that of the look, or of the sweep, that it comes from."""
    match event:
        case WebhookObserved():
            return Reschedule(event.received_at, event.source, event.suspect)
        case TierSet():
            return Reschedule(event.received_at)
        case _:
            return None


def rescheduled(watch: Watch | None, event: Reschedule, presence: Presence, source: SourceState) -> Watch:
    """The user's watch in a source after an event of theirs; None: they were not on its agenda.

    `presence` is as of the event or later, since those who follow the ledger are behind it.
    """
    if watch is None:
        watch = Watch(event.at)
    doubt = watch.doubt
    if (
        event.source is not None
        and doubt is not None
        and watch.looked_at is not None
        and presence.evident_position > doubt.head
    ):
        # The doubt is void, and its second look with it: what was doubted has changed.
        watch = replace(watch, due_at=due_after(presence, source, watch.looked_at), urgent=None)
    if event.suspect is not None:
        return made_urgent(watch, event.at, event.suspect)
    due = due_after(presence, source, event.at)
    return replace(watch, due_at=due) if watch.due_at > due else watch


def is_steady(watch: Watch, presence: Presence, source: SourceState, since: Instant) -> bool:
    """Whether no webhook that was received then or later changes the watch, but for one that makes a suspect.

    It stays so while nothing but webhooks changes the watch, the tier that somebody chose, the policy or the profile:
    a suspect's watch is due no later than before, and no webhook asks for a look sooner than `soonest_due`.
    """
    return watch.doubt is None and watch.due_at <= soonest_due(presence, source, since)

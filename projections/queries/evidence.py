"""Gathering the evidence for an explanation with few and bounded questions to a history."""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from ledger.domain.as_of import Belief, Later, arrived
from ledger.domain.event_types import UserEvent
from ledger.domain.events import DeliveryReceived, WebhookObserved
from ledger.domain.evidence import Evidence, Gap, Placed
from ledger.domain.gaps import gaps
from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import Corrected, Swept
from projections.queries import evidence_ends

MAX_EARLIER_EVENTS = 200
"""Of a user, before the instant and after what made the status, are looked at."""
MAX_LATER_EVENTS = 100
"""The same, after what was known."""
ARRIVED_PAGE_EVENTS = 1000
"""Of a user, read at once where all had arrived by the instant and were only recorded later, by an import."""
MAX_BOUNDED = 20
MAX_SIGNS = 60
MAX_SERVICES = 20
FOREVER = 2**62
MAX_REPEATS = 1000
"""A delivery that came more often than so is said to have come so often."""


class History(evidence_ends.Past, Protocol):
    """What can be asked of a ledger of one moment; all lists are in the order of the positions."""

    def head(self) -> int:
        """The last position, 0 of an empty ledger."""
        ...

    def at(self, positions: Sequence[int]) -> list[Placed]:
        """The events at these positions, those that there are."""
        ...

    def last_before(self, position: int) -> Placed | None:
        """The last event of the ledger before a position."""
        ...

    def version_at(self, uid: str, position: int) -> int:
        """Of a user's stream, as of a position; 0 before the first event."""
        ...

    def user_events(self, uid: str, after: int, up_to: int) -> list[Placed]:
        """A user's events with versions above `after`, up to `up_to`."""
        ...

    def bounded_events(self, uid: str, after: int, limit: int) -> list[Placed]:
        """The first corrections and sweeps of a user with versions above `after`."""
        ...

    def delivery(self, delivery: str) -> Placed | None:
        """The event of a delivery."""
        ...

    def repeating(self, delivery: str) -> list[Placed]:
        """The deliveries that were taken for repetitions of that one."""
        ...

    def poll(self, poll: str) -> Placed | None:
        """The event of a poll."""
        ...

    def run(self, run: str) -> Placed | None:
        """The event of a run's begin."""
        ...

    def finding(self, uid: str, at: Instant) -> list[Placed]:
        """The polls that tell of the user's drifts which may have been there at the instant."""
        ...

    def signs(self, sources: Sequence[str], position: int, limit: int) -> list[Placed]:
        """Darkness, nodes down, booted, settled, the breaker: the last up to a position, and the first after it."""
        ...

    def services(self, source: str, position: int, limit: int) -> list[Placed]:
        """Starts and stops of instances: the last so many up to a position, and the first after."""
        ...

    def runs_after(self, source: str, position: int) -> list[Placed]:
        """The first few runs of a source that began after a position."""
        ...


def gather(history: History, uid: str, at: Instant, position: int, known_at: Instant | None = None) -> Evidence:
    """The evidence on a user at an instant from the ledger up to a position, which was the head at `known_at`."""
    head = history.head()
    # Positions have gaps where a slice was imported; what is cited must be there.
    last = history.last_before(position + 1)
    position = 0 if last is None else last.position
    belief, rules = history.believed(uid, at, position)
    now = belief if position == head else history.believed(uid, at, head)[0]
    presence = belief.presence
    version = history.version_at(uid, position)
    base = min(position, history.position_at(at))
    begun = _arrived(history, uid, at, base, position)
    # The state that a slice began with may go back to positions that here are of something else.
    cited = {placed.position: placed for placed in history.at(_causes(belief)) if placed.uid == uid}
    flip = presence.flip
    reported = None if flip is None else cited.get(flip.cause.position)
    event = None if reported is None else reported.event
    following = (
        [] if reported is None else history.user_events(uid, reported.version, reported.version + MAX_EARLIER_EVENTS)
    )
    names = sorted({device.source for device in presence.devices}) or list(rules.sources)
    if isinstance(event, Swept):
        cited |= {placed.position: placed for placed in history.at([event.evidence])}
    delivery = history.delivery(event.delivery) if isinstance(event, WebhookObserved) else None
    found = Evidence(
        uid=uid,
        at=at,
        position=position,
        known_at=known_at,
        recorded=base,
        head=head,
        presence=presence,
        sources=rules.sources,
        shown=belief.shown,
        now=now.shown,
        uncertain=now.uncertain,
        before=history.user_events(uid, max(0, begun - MAX_EARLIER_EVENTS), begun),
        later=history.user_events(uid, begun, begun + MAX_LATER_EVENTS),
        after=history.user_events(uid, version, version + MAX_LATER_EVENTS),
        bounded=history.bounded_events(uid, begun, MAX_BOUNDED),
        following=following,
        following_cut=len(following) == MAX_EARLIER_EVENTS,
        cited=cited,
        delivery=delivery,
        repeats=_repeats(history, delivery),
        polls=_polls(history, uid, at, event),
        run=history.run(event.run) if isinstance(event, Corrected | Swept) else None,
        signs=history.signs(names, base, MAX_SIGNS),
        gaps=_gaps(history, names, base),
    )
    ended_by = evidence_ends.ended_by(history, found, _looked_at(found))
    return replace(found, ended_by=ended_by, grace_end=evidence_ends.grace_end(history, found))


def _looked_at(found: Evidence) -> int:
    """Up to which position nothing but outages can have changed what was shown: beyond the events that were read."""
    if (change := found.next_change()) is not None:
        return change.position
    return found.later[-1].position if len(found.later) == MAX_LATER_EVENTS else FOREVER


def _arrived(history: History, uid: str, at: Instant, base: int, position: int) -> int:
    """The version of the last event that had been recorded by the instant, or had arrived by then and is known."""
    version, page = history.version_at(uid, base), MAX_LATER_EVENTS
    while base < position:
        events = [
            Later(each.position, each.event)
            for each in history.user_events(uid, version, version + page)
            if each.position <= position and isinstance(each.event, UserEvent)
        ]
        number = arrived(events, at)
        version += number
        if number < page:
            break
        page = ARRIVED_PAGE_EVENTS
    return version


def _causes(belief: Belief) -> list[int]:
    """The positions that the status goes back to: what is shown, and what the evidence said last."""
    flip, shown = belief.presence.flip, belief.shown
    causes = (shown.cause, None if flip is None else flip.cause)
    return list(dict.fromkeys(cause.position for cause in causes if cause is not None))


def _repeats(history: History, delivery: Placed | None) -> list[Placed]:
    """The other deliveries with the body of this one: each repeats the one before it."""
    if delivery is None or not isinstance(delivery.event, DeliveryReceived):
        return []
    found: list[Placed] = []
    earlier: Placed | None = delivery
    while earlier is not None and len(found) < MAX_REPEATS:
        repeats = earlier.event.repeats if isinstance(earlier.event, DeliveryReceived) else None
        earlier = None if repeats is None else history.delivery(repeats)
        found += [] if earlier is None else [earlier]
    last = [delivery]
    while last and len(found) < MAX_REPEATS:
        event = last[-1].event
        last = history.repeating(event.delivery) if isinstance(event, DeliveryReceived) else []
        found += last
    return sorted(found, key=lambda placed: placed.position)


def _polls(history: History, uid: str, at: Instant, event: object) -> list[Placed]:
    """The poll of a correction, and those that found drifts."""
    found = {placed.position: placed for placed in history.finding(uid, at)}
    own = history.poll(event.poll) if isinstance(event, Corrected) else None
    if own is not None:
        found[own.position] = own
    return [found[place] for place in sorted(found)]


def _gaps(history: History, sources: Sequence[str], position: int) -> list[Gap]:
    """The times without us around a position: a source that came later, or was given up, has not all starts."""

    def runs_after(place: int) -> list[Placed]:
        return [placed for source in sources for placed in history.runs_after(source, place)]

    services = [placed for source in sources for placed in history.services(source, position, MAX_SERVICES)]
    return list(gaps(sorted(services, key=lambda placed: placed.position), history.last_before, runs_after))

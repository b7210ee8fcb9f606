"""Evidence: what the ledger holds of a user around an instant, gathered for an explanation."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile, zip_longest
from typing import NamedTuple

import msgspec

from ledger.domain.as_of import Uncertain
from ledger.domain.event_types import Event
from ledger.domain.events import DeliveryReceived, WebhookObserved
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import Instant
from ledger.domain.presence import Cause, Presence
from ledger.domain.reconciliation_events import Finding, NodeBooted, NodeDown, PollObserved, SourceDark
from ledger.domain.source import SourceState
from ledger.domain.status import Shown, grace_seconds, is_overridden


class Placed(NamedTuple):
    """An event at its place, in the stream of a source or of a user; the name of the other is empty."""

    position: int
    version: int
    recorded_at: Instant
    source: str
    uid: str
    event: Event

    @property
    def changes(self) -> bool:
        """Whether the event changed its user's status on record; an imported state begins that record."""
        if isinstance(self.event, PresenceImported):
            return True
        return getattr(self.event, "status_after", None) != getattr(self.event, "status_before", None)


class Gap(NamedTuple):
    """A time in which no instance of ours was running.

    `since` is a stop in order, or else the last thing recorded before; `until` the start after it.
    """

    since: Instant
    until: Instant
    positions: tuple[int, int]
    in_order: bool


class GraceEnd(NamedTuple):
    """When an offline, that of the event at a position, was shown after the grace period of then."""

    position: int
    shows_at: Instant
    seconds: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was gathered; all events in the order of their positions."""

    uid: str
    at: Instant
    position: int
    """The last one of which the answer knew."""
    known_at: Instant | None = None
    """As of which instant it is told, where one was asked for."""
    recorded: int = 0
    """The last one that had been recorded by the instant, as far as the answer knew."""
    head: int
    presence: Presence
    """As of that position, as are the sources and what was shown."""
    sources: Mapping[str, SourceState]
    shown: Shown
    now: Shown
    """What is said of that instant today."""
    uncertain: Uncertain | None
    before: Sequence[Placed] = ()
    """The user's last events that had been recorded by the instant, or had arrived by then and are known."""
    later: Sequence[Placed] = ()
    """The user's first events after those, known or not."""
    after: Sequence[Placed] = ()
    """The user's first events after the position."""
    bounded: Sequence[Placed] = ()
    """The first corrections and sweeps recorded after the instant, or after the position if that is earlier."""
    following: Sequence[Placed] = ()
    """The user's first events after the one that made the status."""
    following_cut: bool = False
    """There are more of them."""
    cited: Mapping[int, Placed] = {}
    """By position: what the status goes back to, and the proof of a sweep."""
    delivery: Placed | None = None
    repeats: Sequence[Placed] = ()
    """Other deliveries with the same body, before it and after it."""
    polls: Sequence[Placed] = ()
    """The poll of a correction, and those that found a drift of the user that may have been there at the instant."""
    run: Placed | None = None
    signs: Sequence[Placed] = ()
    """Of the user's sources: nodes down, booted and settled, darkness, the breaker."""
    gaps: Sequence[Gap] = ()
    ended_by: Placed | None = None
    """The event that put a source of the user in doubt: they were shown as unknown before their status changed."""
    grace_end: GraceEnd | None = None
    """Where the status shown was online, and the offline after it had to wait."""

    @property
    def searched(self) -> tuple[int, ...]:
        """How far the ledger went by the instant, to be cited for what is not in it; nowhere if it was empty."""
        return (self.recorded,) if self.recorded else ()

    def event_for(self, cause: Cause | None) -> Placed | None:
        """The event that a status goes back to."""
        return None if cause is None else self.cited.get(cause.position)

    @property
    def reported(self) -> Placed | None:
        """The event that made the status by evidence, the grace period aside."""
        return None if self.presence.flip is None else self.event_for(self.presence.flip.cause)

    @property
    def in_grace(self) -> bool:
        """Whether an offline had been reported that was not shown yet."""
        flip = self.presence.flip
        is_held_back = flip is not None and flip.status == "offline" and self.shown.status == "online"
        return is_held_back and not self.is_overridden

    @property
    def is_overridden(self) -> bool:
        """Whether an operator's word was shown."""
        return is_overridden(self.shown)

    @property
    def grace_seconds(self) -> float:
        """The grace period of the user's offline."""
        return grace_seconds(self.presence, self.sources)

    @property
    def dark_seconds(self) -> float | None:
        """How long the source may be silent whose darkness is the reason of what was shown."""
        sources = (self.sources.get(device.source) for device in self.presence.devices)
        return next(
            (each.policy.dark_seconds for each in sources if each is not None and each.dark_since is not None), None
        )

    def doubt(self) -> Placed | None:
        """The event that put what was known of the user in doubt, where they were shown as unknown."""
        found = None
        for placed in self.signs:
            match placed.event:
                case SourceDark(since=since) if self.shown.reason == "source_dark" and since == self.shown.since:
                    found = placed
                case NodeDown(since=since) | NodeBooted(earliest=since):
                    if self.shown.reason == "node_down" and since == self.shown.since:
                        found = placed
        return found

    @property
    def evident_at(self) -> Instant:
        """When the user was last heard of, by what was known."""
        flip = self.presence.flip
        since = self.at if flip is None else flip.since
        return max(since, self.presence.last_seen_at or since)

    def told_at(self, placed: Placed) -> Instant:
        """When a later event came to be: where it had arrived by the instant and was not on record, its recording."""
        received_at: Instant = getattr(placed.event, "received_at", placed.recorded_at)
        return received_at if received_at > self.at else placed.recorded_at

    def unchanged(self) -> Iterator[Placed]:
        """The user's events after the instant up to the first that changed the status, itself left out."""
        return takewhile(lambda placed: not placed.changes, self.later)

    def change(self) -> Placed | None:
        """The first event after the instant that changed the status on record."""
        return next((placed for placed in self.later if placed.changes), None)

    def next_change(self) -> Placed | None:
        """The first of them that says another status than was shown, or takes back an offline not shown yet.

        An offline that was taken back within the grace period never showed.
        """
        changes = [placed for placed in self.later if placed.changes]
        for placed, following in zip_longest(changes, changes[1:]):
            if self.in_grace and placed == self.reported and self._is_taken_back(following):
                # Recorded later, of a time before the instant: it is the offline that is not shown yet.
                continue
            if self.in_grace or not (self._says_the_same(placed) or self._is_taken_back(following)):
                return placed
        return None

    def _is_taken_back(self, following: Placed | None) -> bool:
        resumes = following is not None and getattr(following.event, "resumes", None) is not None
        return resumes and self.shown.status == "online"

    def _says_the_same(self, placed: Placed) -> bool:
        return getattr(placed.event, "status_after", None) == self.shown.status

    def around(self) -> Iterator[tuple[int, WebhookObserved]]:
        """The items that name the user, before the instant and after it until the status changed."""
        for placed in (*self.before, *self.unchanged()):
            if isinstance(placed.event, WebhookObserved):
                yield placed.position, placed.event

    def findings(self) -> Iterator[tuple[Placed, PollObserved, Finding]]:
        """What polls found of the user."""
        for placed in self.polls:
            if isinstance(placed.event, PollObserved):
                for finding in placed.event.findings:
                    if finding.uid == self.uid:
                        yield placed, placed.event, finding

    def poll(self, name: str) -> tuple[Placed, PollObserved] | None:
        """A poll by its id."""
        for placed in self.polls:
            if isinstance(placed.event, PollObserved) and placed.event.poll == name:
                return placed, placed.event
        return None

    def deliveries(self) -> list[tuple[int, DeliveryReceived]]:
        """Every delivery that brought the same body as the cause's, itself included."""
        own = [] if self.delivery is None else [self.delivery]
        placed = sorted((*own, *self.repeats), key=lambda each: each.position)
        return [(each.position, each.event) for each in placed if isinstance(each.event, DeliveryReceived)]

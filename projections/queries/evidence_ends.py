"""How what was shown ended without an event of the user's: a doubt began, or a grace period was over.

Each is found by asking what was shown then, which may follow from more than is gathered, such as a policy of later.
"""

from typing import Protocol

from ledger.domain.as_of import Belief
from ledger.domain.evidence import Evidence, GraceEnd, Placed
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, SourceDark
from ledger.domain.status import Shown, grace_seconds, longest_grace
from projections.models.shown import Rules

OUTAGE_REASONS = frozenset({"node_down", "source_dark"})
MAX_OUTAGES = 8
"""So many of the doubts that began next are asked about."""


class Past(Protocol):
    """What is asked here of a history."""

    def position_at(self, at: Instant) -> int:
        """The last position recorded up to an instant."""
        ...

    def believed(self, uid: str, at: Instant, position: int) -> tuple[Belief, Rules]:
        """What is known of a user at an instant from the ledger up to a position, and the rules of that."""
        ...


def ended_by(past: Past, evidence: Evidence, up_to: int) -> Placed | None:
    """The event before a position with which a source or a node came into doubt, and the user was shown as unknown."""
    if evidence.shown.reason is not None or evidence.is_overridden:
        return None
    shows_at = _shows_at(evidence)
    begun = [placed for placed in evidence.signs if placed.position < up_to and _begins_later(evidence, placed)]
    for placed in begun[:MAX_OUTAGES]:
        if shows_at is not None and placed.recorded_at >= shows_at:
            return None
        if _shown(past, evidence, placed.recorded_at, placed.position).reason in OUTAGE_REASONS:
            return placed
    return None


def grace_end(past: Past, evidence: Evidence) -> GraceEnd | None:
    """When the offline that ended what was shown, or was reported already, shows; None where it need not wait."""
    if evidence.shown.status != "online" or evidence.is_overridden or longest_grace(evidence.sources) == 0:
        return None
    if evidence.in_grace:
        placed, presence, seconds = evidence.reported, evidence.presence, evidence.grace_seconds
    elif (placed := evidence.next_change()) is not None:
        belief, rules = past.believed(evidence.uid, placed.recorded_at, placed.position)
        presence, seconds = belief.presence, grace_seconds(belief.presence, rules.sources)
    else:
        return None
    flip = presence.flip
    if placed is None or flip is None or flip.cause.position != placed.position or seconds == 0:
        return None
    shows_at = flip.since + round(seconds * SECOND)
    before, after = (_shown(past, evidence, at, past.position_at(at)) for at in (shows_at - 1, shows_at))
    # Else the user had come back by then, or was in doubt, or the grace period was changed meanwhile.
    is_it = after.cause is not None and after.cause.position == placed.position
    shown = (before.status, after.status) == ("online", "offline") and is_it
    return GraceEnd(placed.position, shows_at, seconds) if shown else None


def _shown(past: Past, evidence: Evidence, at: Instant, position: int) -> Shown:
    """What was shown at an instant, when a position was known; or what is said of it from a later one."""
    return past.believed(evidence.uid, at, max(position, evidence.position))[0].shown


def _begins_later(evidence: Evidence, placed: Placed) -> bool:
    """Whether an event begins a doubt of which was not known, by what was known, that it had begun by the instant."""
    match placed.event:
        case SourceDark(at=at) | NodeDown(at=at) | NodeBooted(at=at, first=False):
            known = placed.position <= evidence.position and at <= evidence.at
            return placed.position > evidence.recorded and not known
        case _:
            return False


def _shows_at(evidence: Evidence) -> Instant | None:
    """When an offline that had been reported by the instant is shown."""
    flip = evidence.presence.flip
    if flip is None or not evidence.in_grace:
        return None
    return flip.since + round(evidence.grace_seconds * SECOND)

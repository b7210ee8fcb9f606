"""The status shown: derived from presence, the states of its sources, the policy and the instant."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ledger.domain.events import Status
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Cause, Device, Flip, Presence, Session
from ledger.domain.source import SourceState

Reason = Literal["never_observed", "node_down", "source_dark"]


class Shown(msgspec.Struct, frozen=True):
    """What is said of a user at an instant; `reason` where the status is unknown."""

    status: Status
    since: Instant | None
    cause: Cause | None
    reason: Reason | None = None


NEVER_OBSERVED = Shown("unknown", None, None, "never_observed")


def derive(presence: Presence, sources: Mapping[str, SourceState], policy: Policy, now: Instant) -> Shown:
    """Online if online in any source, else unknown if unknown in any, else offline after the grace period."""
    flip = presence.flip
    if flip is None:
        return NEVER_OBSERVED
    doubt: Shown | None = None
    for device in presence.devices:
        shown = _doubtful(device, sources.get(device.source))
        if shown is None and device.sessions:
            return Shown("online", flip.since, flip.cause)
        doubt = doubt or shown
    return doubt or _after_grace(flip, presence.before, policy, now)


def derive_device(parts: Sequence[Device], source: SourceState | None) -> Status:
    """The status of one device flag, whose parts are those of the nodes where the source counts node by node."""
    doubts = [_doubtful(part, source) for part in parts]
    if any(part.sessions and doubt is None for part, doubt in zip(parts, doubts, strict=True)):
        return "online"
    return "unknown" if any(doubts) else "offline"


def _doubtful(device: Device, source: SourceState | None) -> Shown | None:
    """Why a device's state is not to be trusted now, if it is not."""
    if source is None:
        return None
    if source.dark_since is not None:
        return Shown("unknown", source.dark_since, None, "source_dark")
    if not device.sessions or all(node.down_since is None for node in source.nodes.values()):
        return None
    since = [_doubted_since(device, session, source) for session in device.sessions]
    doubted = [at for at in since if at is not None]
    return Shown("unknown", max(doubted), None, "node_down") if len(doubted) == len(since) else None


def _doubted_since(device: Device, session: Session, source: SourceState) -> Instant | None:
    """Since when the node that holds a session, or may hold it, has been down without further word of the session."""
    holder = source.holder(device, session)
    nodes = source.nodes if holder is None else {holder: source.nodes[holder]} if holder in source.nodes else {}
    down = [n.down_since for n in nodes.values() if n.down_since is not None and session.seen_at <= n.down_since]
    return max(down, default=None)


def _after_grace(flip: Flip, before: Flip | None, policy: Policy, now: Instant) -> Shown:
    """An offline shows once the grace period is over; until then the online period before it does."""
    shows_at = flip.since + round(policy.grace_seconds * SECOND)
    # Without a grace period the clock of another instance may still be ahead of ours.
    if before is not None and policy.grace_seconds > 0 and now < shows_at:
        return Shown("online", before.since, before.cause)
    return Shown("offline", shows_at if before is not None else flip.since, flip.cause)


def next_change_at(presence: Presence, policy: Policy, now: Instant) -> Instant | None:
    """When the status shown changes by itself, without another event: the end of a grace period."""
    flip = presence.flip
    if flip is None or flip.status == "online" or presence.before is None:
        return None
    shows_at = flip.since + round(policy.grace_seconds * SECOND)
    return shows_at if shows_at > now else None

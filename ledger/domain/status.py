"""The status shown: derived from presence, the states of its sources, their policies among them, and the instant.

An operator's word is shown in the place of whatever the evidence says, as long as it holds.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from ledger.domain.events import Status
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Cause, Device, Flip, Presence, Session
from ledger.domain.source import SourceState

Outage = Literal["node_down", "source_dark"]
Reason = Literal["never_observed", "node_down", "source_dark"]


class Shown(msgspec.Struct, frozen=True):
    """What is said of a user at an instant; `reason` where the status is unknown."""

    status: Status
    since: Instant | None
    cause: Cause | None
    reason: Reason | None = None


NEVER_OBSERVED = Shown("unknown", None, None, "never_observed")

OVERRIDE = "override"
"""The kind of cause that an operator's word is."""


def derive(presence: Presence, sources: Mapping[str, SourceState], now: Instant) -> Shown:
    """What is shown: an operator's word while one holds, else what the evidence says."""
    word = presence.override
    if word is not None and word.holds(now):
        return Shown(word.status, word.since, Cause(OVERRIDE, word.since, word.position))
    return derive_by_evidence(presence, sources, now)


def is_overridden(shown: Shown) -> bool:
    """Whether an operator's word is what is shown."""
    return shown.cause is not None and shown.cause.kind == OVERRIDE


def derive_by_evidence(presence: Presence, sources: Mapping[str, SourceState], now: Instant) -> Shown:
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
    return doubt or _after_grace(presence, flip, sources, now)


def shows_presence_alone(source: SourceState) -> bool:
    """Whether what its evidence says of users follows from their presence alone: no grace period, nothing in doubt."""
    return (
        source.policy.grace_seconds == 0
        and source.dark_since is None
        and all(node.down_since is None for node in source.nodes.values())
    )


def shown_alone(presence: Presence, sources: Mapping[str, SourceState]) -> bool:
    """Whether what is shown of a user follows from their presence alone, at any instant, as most often."""
    if presence.override is not None:
        return False
    for device in presence.devices:
        source = sources.get(device.source)
        if source is not None and not shows_presence_alone(source):
            return False
    return bool(presence.devices) or longest_grace(sources) == 0


def derive_device(parts: Sequence[Device], source: SourceState | None) -> Status:
    """The status of one device flag, whose parts are those of the nodes where the source counts node by node."""
    doubts = [_doubtful(part, source) for part in parts]
    if any(part.sessions and doubt is None for part, doubt in zip(parts, doubts, strict=True)):
        return "online"
    return "unknown" if any(doubts) else "offline"


def session_doubt(device: Device, session: Session, source: SourceState | None) -> Outage | None:
    """Why one of a device's sessions is not to be trusted now, if it is not."""
    if source is None:
        return None
    if source.dark_since is not None:
        return "source_dark"
    return None if _doubted_since(device, session, source) is None else "node_down"


def device_doubt(device: Device, source: SourceState | None) -> Outage | None:
    """Why a device's state is not to be trusted now, if it is not."""
    if source is None or _doubtful(device, source) is None:
        return None
    return "node_down" if source.dark_since is None else "source_dark"


def _doubtful(device: Device, source: SourceState | None) -> Shown | None:
    """The same, as it is shown."""
    if source is None:
        return None
    if source.dark_since is not None:
        return Shown("unknown", source.dark_since, None, "source_dark")
    if all(node.down_since is None for node in source.nodes.values()):
        return None
    if not device.sessions:
        return _doubted_offline(device, source)
    since = [_doubted_since(device, session, source) for session in device.sessions]
    doubted = [at for at in since if at is not None]
    return Shown("unknown", max(doubted), None, "node_down") if len(doubted) == len(since) else None


def _doubted_offline(device: Device, source: SourceState) -> Shown | None:
    """Whether an offline may be wrong: after a boot the leaders of a cluster that counts together say connections
    offline that live, until `/connz` of all nodes has settled who is connected."""
    if source.holders_known:
        return None
    unsettled = [node for node in source.nodes.values() if node.down_since is not None and not node.swept]
    since = [node.down_since for node in unsettled if node.boot is not None and device.since > node.boot[0]]
    # What the boot itself has ended is proven; its connIds are forgotten with it.
    told = any(closed.at == device.since for closed in device.closed)
    return Shown("unknown", max(filter(None, since)), None, "node_down") if since and told else None


def _doubted_since(device: Device, session: Session, source: SourceState) -> Instant | None:
    """Since when the node that holds a session, or may hold it, has been down without further word of the session."""
    holder = source.holder(device, session)
    nodes = source.nodes if holder is None else {holder: source.nodes[holder]} if holder in source.nodes else {}
    down = [n.down_since for n in nodes.values() if n.down_since is not None and session.seen_at <= n.down_since]
    return max(down, default=None)


def _after_grace(presence: Presence, flip: Flip, sources: Mapping[str, SourceState], now: Instant) -> Shown:
    """An offline shows once the grace period is over; until then the online period before it does."""
    before = presence.before
    if before is None:
        return Shown("offline", flip.since, flip.cause)
    grace = grace_seconds(presence, sources)
    shows_at = flip.since + round(grace * SECOND)
    # Without a grace period the clock of another instance may still be ahead of ours.
    if grace > 0 and now < shows_at:
        return Shown("online", before.since, before.cause)
    return Shown("offline", shows_at, flip.cause)


def grace_seconds(presence: Presence, sources: Mapping[str, SourceState]) -> float:
    """The grace period of a user's offline: that of the source which told of it, where a device went offline last.

    All sources of a service have the same; one that was imported, or that the settings no longer name, has its own.
    """
    if not presence.devices:
        # Of sessions without a device flag nothing is left that names their source.
        return longest_grace(sources)
    source = sources.get(max(presence.devices, key=lambda device: device.since).source)
    return DEFAULT_POLICY.grace_seconds if source is None else source.policy.grace_seconds


def longest_grace(sources: Mapping[str, SourceState]) -> float:
    """The longest grace period of all sources: a user who went offline longer ago is shown offline."""
    return max([source.policy.grace_seconds for source in sources.values()], default=DEFAULT_POLICY.grace_seconds)


def next_change_at(presence: Presence, sources: Mapping[str, SourceState], now: Instant) -> Instant | None:
    """When the status shown changes next by itself, without another event: an override or a grace period ends.

    What comes after the end of an override is to be asked for then.
    """
    word = presence.override
    if word is not None and word.holds(now):
        return word.expires_at
    flip = presence.flip
    if flip is None or flip.status == "online" or presence.before is None:
        return None
    shows_at = flip.since + round(grace_seconds(presence, sources) * SECOND)
    return shows_at if shows_at > now else None

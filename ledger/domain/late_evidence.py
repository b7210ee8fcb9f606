"""Late evidence: what a spool held back is heard for what it adds, and overrules nothing that is newer."""

from msgspec.structs import replace

from ledger.domain.counts import Judgement, Situation
from ledger.domain.observation import Instant
from ledger.domain.presence import Device, alike

SUSPECT = "spooled_late"

ONLINE_LATE = Judgement("stale", "online_spooled_late", use_counts=False, suspect=SUSPECT)
OFFLINE_LATE = Judgement("late", "offline_spooled_late", use_counts=False, suspect=SUSPECT)


def without_overruling(situation: Situation, judgement: Judgement) -> Judgement:
    """The judgement of what was spooled: where the source has told of the user since, its counts are out of date, it
    opens nothing on what went offline since, and closes nothing that was seen since; the user is looked at."""
    at = situation.observation.received_at
    if not _is_newer_known(situation, at):
        return judgement
    if judgement.verdict == "opened" and _gone_since(situation, at):
        return ONLINE_LATE
    if judgement.verdict == "closed" and _seen_since(situation, judgement, at):
        return OFFLINE_LATE
    suspect = judgement.suspect if judgement.verdict == "duplicate" else SUSPECT
    return replace(judgement, use_counts=False, suspect=suspect)


# Asked of every item that was spooled: generators all through would take as long again.
def _is_newer_known(situation: Situation, at: Instant) -> bool:
    """Whether anything that is known of the user in the source is newer."""
    presence, source = situation.presence, situation.observation.source
    if presence.flip is not None and presence.flip.cause.at > at:
        return True
    for device in presence.devices:  # noqa: SIM110
        if device.source == source and _is_told_after(device, at):
            return True
    return False


def _is_told_after(device: Device, at: Instant) -> bool:
    if device.since > at:
        return True
    if any(session.seen_at > at for session in device.sessions):
        return True
    for closed in device.closed:  # noqa: SIM110
        if closed.at > at:
            return True
    return False


def _gone_since(situation: Situation, at: Instant) -> bool:
    """Whether the user, or the device, has been found to be offline since."""
    flip, device = situation.presence.flip, situation.device
    if flip is not None and flip.status == "offline" and flip.cause.at > at:
        return True
    if device is not None and not device.sessions and device.since > at:
        return True
    return any(each.emptied is not None and each.emptied.at > at for each in situation.in_scope())


def _seen_since(situation: Situation, judgement: Judgement, at: Instant) -> bool:
    """Whether the connection that it would close, which is there, has been heard of since."""
    device, conn_id = situation.device, situation.observation.claim.conn_id
    assert device is not None
    return alike(device.sessions, None if judgement.named else conn_id)[0].seen_at > at

"""Reach: whether a user is to be sent a push notification now, since no connection of theirs surely takes the message.

A notification too many costs a glance, one that is missing costs a message: whatever is not sure means that it is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from ledger.domain.drift import is_silenced
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.reach_policy import DEFAULT_REACH, ReachPolicy
from ledger.domain.source import SourceState
from ledger.domain.status import Shown, derive, derive_by_evidence, device_doubt, is_overridden, session_doubt

APP, SYSTEM = 0, 99
"""Device flags: of the user's phone, which push notifications go to; and of an account of the server's own."""


Because: TypeAlias = Literal[
    "online",
    "unverified",
    "never_told_offline",
    "suspect",
    "doubted",
    "device_unknown",
    "node_down",
    "source_dark",
    "in_grace",
    "other_device",
    "offline",
    "never_observed",
    "override",
]
"""Why: the connection was heard of lately; not for long; the server's version never reports this user offline and no
look has found them since; something on record speaks against it, and no look has told yet; a look did not find it; only
a total tells of it; the node, the source does not answer; an offline was told that is not shown yet; they are online,
but not on the app; offline; nothing is on record; an operator's word is shown, which witnesses no connection."""

_ORDER: Mapping[Because, int] = {
    "online": 0,
    "unverified": 1,
    "never_told_offline": 2,
    "suspect": 3,
    "doubted": 4,
    "device_unknown": 5,
    "node_down": 6,
    "source_dark": 7,
    "in_grace": 8,
    "offline": 9,
}
"""What is said of several connections: the first of these that holds of one."""


class Mark(NamedTuple):
    """What looks have left of a user in a source."""

    verified_at: Instant | None = None
    """The last look that agreed."""
    doubted: bool = False
    """A look disagreed, and another one is to decide."""
    suspect: bool = False
    """Something on record has them looked at out of turn."""


UNMARKED = Mark()


class PushAdvice(NamedTuple):
    """Whether to send, why, and whether that is sure: that none is needed always is."""

    push: bool
    because: Because
    certain: bool


class DeviceReach(NamedTuple):
    """The answer for one device flag of the user in one source."""

    source: str
    device_flag: int | None
    answer: PushAdvice


class Reach(NamedTuple):
    """The answer for a user, and for each of their devices."""

    uid: str
    answer: PushAdvice
    devices: tuple[DeviceReach, ...]


def mark_from(watch: Watch) -> Mark:
    """What a watch on the agenda leaves."""
    # A look that was overtaken says nothing, for or against.
    return Mark(watch.verified_at, watch.doubt is not None, watch.urgent not in (None, "overtaken"))


def reach(
    presence: Presence,
    sources: Mapping[str, SourceState],
    marks: Mapping[str, Mark],
    at: Instant,
    policy: ReachPolicy = DEFAULT_REACH,
) -> Reach:
    """Whether to notify the user at an instant. `marks` are by source.

    An operator's word that the user is offline calls for a notification; that they are online spares none.
    """
    shown = derive_by_evidence(presence, sources, at)
    in_grace = presence.status == "offline" and shown.status == "online"
    together: dict[tuple[str, int | None], list[Device]] = {}
    for device in presence.devices:
        together.setdefault((device.source, device.device_flag), []).append(device)
    devices = tuple(
        DeviceReach(
            source,
            flag,
            _of_device(parts, sources.get(source), _Heard(presence.uid, marks.get(source, UNMARKED), at, policy))
            if any(part.sessions for part in parts)
            else _without_session(parts, sources.get(source), marks.get(source, UNMARKED), in_grace),
        )
        for (source, flag), parts in together.items()
    )
    answer = _of_user(presence, shown, devices, policy, in_grace=in_grace)
    said = derive(presence, sources, at)
    if is_overridden(said) and (said.status == "offline" or answer.push):
        answer = PushAdvice(True, "override", False)
    return Reach(presence.uid, answer, devices)


def _of_user(
    presence: Presence, shown: Shown, devices: Sequence[DeviceReach], policy: ReachPolicy, *, in_grace: bool
) -> PushAdvice:
    if presence.flip is None:
        return PushAdvice(True, "never_observed", False)
    counted = [_counted(each, policy) for each in devices if _counts(each.device_flag, policy)]
    first = min(counted, key=lambda answer: _ORDER[answer.because], default=None)
    if first is not None and (not first.push or not first.certain):
        return first
    if shown.reason is not None:
        return PushAdvice(True, shown.reason, False)
    if in_grace:
        return PushAdvice(True, "in_grace", False)
    if any(not each.answer.push for each in devices):
        return PushAdvice(True, "other_device", True)
    unsure = [each.answer for each in devices if not each.answer.certain]
    return PushAdvice(True, "offline", not unsure)


def _counts(flag: int | None, policy: ReachPolicy) -> bool:
    """Whether a device may take the message: one of which only a total tells may be the app."""
    return flag in (APP, None) or (policy.reach_any_device and flag != SYSTEM)


def _counted(device: DeviceReach, policy: ReachPolicy) -> PushAdvice:
    if device.device_flag is None and not policy.reach_any_device and not device.answer.push:
        return PushAdvice(True, "device_unknown", False)
    return device.answer


class _Heard(NamedTuple):
    """By what a session of the user's in a source is relied upon."""

    uid: str
    mark: Mark
    at: Instant
    policy: ReachPolicy


def _of_device(parts: Sequence[Device], source: SourceState | None, heard: _Heard) -> PushAdvice:
    """Of a device that has sessions: the best of what is said of them."""
    said = [_of_session(part, session, source, heard) for part in parts for session in part.sessions]
    because = min(said, key=lambda each: _ORDER[each])
    return PushAdvice(because != "online", because, because == "online")


def _of_session(device: Device, session: Session, source: SourceState | None, heard: _Heard) -> Because:
    doubt = session_doubt(device, session, source)
    if doubt is not None:
        return doubt
    if heard.mark.doubted:
        return "doubted"
    if heard.mark.suspect:
        return "suspect"
    verified_at = heard.mark.verified_at
    looked = verified_at is not None and verified_at >= session.opened_at
    if not looked and source is not None and _is_silenced(heard.uid, source):
        return "never_told_offline"
    last = max(session.seen_at, verified_at) if verified_at is not None and looked else session.seen_at
    bound = round(heard.policy.reach_verified_seconds * SECOND)
    return "online" if heard.at - last <= bound else "unverified"


def _is_silenced(uid: str, source: SourceState) -> bool:
    """Whether an offline of the user may never be told: then only a look says that they are still there."""
    return any(is_silenced(uid, profile) for profile in {source.profile, *source.node_profiles.values()})


def _without_session(parts: Sequence[Device], source: SourceState | None, mark: Mark, in_grace: bool) -> PushAdvice:
    for part in parts:
        doubt = device_doubt(part, source)
        if doubt is not None:
            return PushAdvice(True, doubt, False)
    if in_grace:
        return PushAdvice(True, "in_grace", False)
    return PushAdvice(True, "offline", not (mark.doubted or mark.suspect))

"""A presence as the API shows it: JSON text, made when it changes rather than when it is asked for."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ledger.domain.as_of import Uncertain
from ledger.domain.device_names import DEVICE_NAMES
from ledger.domain.events import Status
from ledger.domain.instants import to_text
from ledger.domain.observation import Instant
from ledger.domain.presence import Cause, Device, Presence
from ledger.domain.source import SourceState
from ledger.domain.status import NEVER_OBSERVED, Shown, derive, shown_alone, shows_presence_alone
from ledger.domain.visible import shown_devices

_quote = msgspec.json.Encoder().encode


class AnswerPoint(NamedTuple):
    """The instant and the ledger's head that an answer was made at: it is the same for ever for these two.

    The instant is not before the one at which the head was recorded, whatever our clock says.
    """

    at: Instant
    position: int


class Rules(NamedTuple):
    """What a status is derived from besides the presence itself: the sources' states, as of a position."""

    position: int
    sources: Mapping[str, SourceState]

    @property
    def derived(self) -> list[str]:
        """The sources of whose users what is shown does not follow from the presence alone."""
        return [name for name, source in self.sources.items() if not shows_presence_alone(source)]


def rules_from(position: int, sources: Mapping[str, SourceState]) -> Rules:
    """The rules of these sources, as of the position of the last event that changed them."""
    return Rules(position, dict(sorted(sources.items())))


def plain_body(presence: Presence) -> bytes:
    """The body of a presence whose sources are plain: what `body` says then, at half its cost."""
    flip = presence.flip
    if flip is None:
        return body(presence, NEVER_OBSERVED, {})
    devices = presence.devices
    if len({(device.source, device.device_flag) for device in devices}) == len(devices):
        shown = ",".join([_plain_device(device) for device in devices])
    else:
        shown = _devices(devices, {})
    return _body(presence, flip.status, flip.since, flip.cause, "null", shown)


def body(presence: Presence, shown: Shown, sources: Mapping[str, SourceState]) -> bytes:
    """The JSON object of a presence but for its end, which `verified` and `as_of` add."""
    reason = "null" if shown.reason is None else f'"{shown.reason}"'
    devices = _devices(presence.devices, sources)
    return _body(presence, shown.status, shown.since, shown.cause, reason, devices)


def shown_body(presence: Presence, rules: Rules, at: Instant) -> bytes:
    """The same of a presence as it is shown at an instant under these rules."""
    if shown_alone(presence, rules.sources):
        return plain_body(presence)
    return body(presence, derive(presence, rules.sources, at), rules.sources)


def verified(verified_at: Instant | None, version: int) -> bytes:
    """What follows the body: the last look that agreed, which is no part of the presence, and its version."""
    return f',"verified_at":{_instant(verified_at)},"version":{version}'.encode()


def hedged(uncertain: Uncertain) -> bytes:
    """What is added where the truth lies between two looks."""
    bounds = f'"from":"{to_text(uncertain.earliest)}","to":"{to_text(uncertain.latest)}"'
    return f',"uncertain":{{{bounds},"could_be":"{uncertain.could_be}"}}'.encode()


def stale_since(at: Instant) -> bytes:
    """What is added to an answer from memory: it holds what the ledger knew at this instant, and nothing since."""
    return f',"stale_since":"{to_text(at)}"'.encode()


def not_remembered(uid: str) -> bytes:
    """The body of a user of whom an answer from memory can say nothing, its version included."""
    return _body(Presence(uid), "unknown", None, None, '"store_unavailable"', "") + NEVER_SEEN


def as_of(made: AnswerPoint) -> bytes:
    """The end of a presence's JSON."""
    return f',"as_of":{{"at":"{to_text(made.at)}","position":{made.position}}}}}'.encode()


def _body(
    presence: Presence, status: Status, since: Instant | None, cause: Cause | None, reason: str, devices: str
) -> bytes:
    caused = (
        "null" if cause is None else f'{{"kind":"{cause.kind}","at":"{to_text(cause.at)}","position":{cause.position}}}'
    )
    return (
        f'{{"uid":{_quote(presence.uid).decode()},"status":"{status}","since":{_instant(since)},'
        f'"last_seen_at":{_instant(presence.last_seen_at)},"devices":[{devices}],'
        f'"cause":{caused},"reason":{reason}'
    ).encode()


def _instant(instant: Instant | None) -> str:
    return "null" if instant is None else f'"{to_text(instant)}"'


def _devices(devices: tuple[Device, ...], sources: Mapping[str, SourceState]) -> str:
    return ",".join(
        [
            _device(each.source, each.device_flag, each.status, each.since, each.sessions)
            for each in shown_devices(devices, sources)
        ]
    )


def _plain_device(device: Device) -> str:
    status: Status = "online" if device.sessions else "offline"
    return _device(device.source, device.device_flag, status, device.since, len(device.sessions))


def _device(source: str, flag: int | None, status: Status, since: Instant, sessions: int) -> str:
    return (
        f'{{"source":"{source}","device_flag":{"null" if flag is None else flag},'
        f'"device":"{DEVICE_NAMES.get(flag, "custom")}","status":"{status}","since":"{to_text(since)}",'
        f'"sessions":{sessions}}}'
    )


NEVER_SEEN = verified(None, 0)
"""What follows the body of a user who was never observed."""

"""What WuKongIM's clients are to be told of a user: which commands, and what was told last, so that it is told once.

While a user is unknown nothing is told, since the command has no word for it; what it ends in is told where it is
something else than what was told last.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from ledger.domain.instants import to_text
from ledger.sinks.kind import ToldChange, ToldDevice, ToldPresence
from ledger.sources.wukongim.command import Command, main_device, payload

UNNAMED_DEVICE = 0
"""A session whose device is not known counts as the app's, which is what clients look for first."""


class Message(NamedTuple):
    """One command and who is to be told it: the user's watchers, or the user's own other devices."""

    to: Literal["watchers", "own"]
    payload: bytes


class SentDevice(msgspec.Struct, frozen=True, array_like=True):
    """What was told last of a device."""

    is_online: bool
    since: str


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """What was told last of a user, and since when it was so: who flickered in between is told of once more.

    An app may have asked in the middle of it, and would be left with what it was answered.
    """

    is_online: bool
    since: str | None
    devices: dict[int, SentDevice]

    @property
    def flags(self) -> list[int]:
        """The devices that are online."""
        return [flag for flag, device in self.devices.items() if device.is_online] if self.is_online else []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sent).decode


def messages(told: ToldChange, before: bytes | None) -> tuple[list[Message], bytes | None]:
    """-> (what is to be sent now, in this order; what is to be remembered of it)

    `before` is what was remembered when the user was told of last.
    """
    presence = told.presence
    if presence.status == "unknown":
        return [], before
    last = None if before is None else _decode(before)
    now = _now(presence, last)
    changed = _changed(now, last)
    main = main_device(now.flags)
    more: dict[str, Any] = {
        "at": to_text(told.order.at),
        "position": told.order.position,
        "epoch": told.order.epoch,
        "version": presence.version,
    }
    found = []
    if _watchers_are_told(presence, now, last):
        flag = changed[0] if changed else _latest(presence)
        command = Command(told.uid, now.is_online, flag, flag if main is None else main, not now.is_online)
        found.append(Message("watchers", payload(command, more)))
    for flag in changed:
        # Nobody reads it where no other device is online.
        if main is not None and set(now.flags) - {flag}:
            command = Command(told.uid, flag in now.flags, flag, main, all_offline=False)
            found.append(Message("own", payload(command, more)))
    return found, _encode(now)


def _now(presence: ToldPresence, last: Sent | None) -> Sent:
    """What is shown now; of a device of which nothing is known, what was told last."""
    by_flag: dict[int, list[ToldDevice]] = {}
    for device in presence.devices:
        by_flag.setdefault(_flag(device.device_flag), []).append(device)
    devices = {}
    for flag, found in by_flag.items():
        statuses = {each.status for each in found}
        if "online" not in statuses and "unknown" in statuses:
            if last is not None and flag in last.devices:
                devices[flag] = last.devices[flag]
            continue
        devices[flag] = SentDevice("online" in statuses, max(each.since for each in found))
    return Sent(presence.status == "online", presence.since, devices)


def _watchers_are_told(presence: ToldPresence, now: Sent, last: Sent | None) -> bool:
    """Whether their dot becomes another, or may."""
    if last is not None:
        told = now.is_online, now.since, main_device(now.flags)
        return told != (last.is_online, last.since, main_device(last.flags))
    before = presence.previous
    # They may have been told of what was in between, by who was killed before it could be remembered.
    return before is None or now.is_online or (before.status, before.since) != (presence.status, presence.since)


def _changed(now: Sent, last: Sent | None) -> list[int]:
    """The devices that have come or gone since, or may have, the latest first."""
    known = {} if last is None else last.devices
    moved = [(device.since, flag) for flag, device in now.devices.items() if device != known.get(flag)]
    return [flag for _, flag in sorted(moved, reverse=True)]


def _latest(presence: ToldPresence) -> int:
    """The device that changed last."""
    latest = max(presence.devices, key=lambda device: device.since, default=None)
    return UNNAMED_DEVICE if latest is None else _flag(latest.device_flag)


def _flag(flag: int | None) -> int:
    return UNNAMED_DEVICE if flag is None else flag

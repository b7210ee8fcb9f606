"""What WuKongIM's clients are to be told of a user: which commands, and what was told last, so that it is told once.

While a user is unknown nothing is told, since the command has no word for it; what it ends in is told where it is
something else than what was told last.
"""

from typing import Any, Literal, NamedTuple

import msgspec

from ledger.domain.instants import to_text
from ledger.sinks.kind import Told, ToldPresence
from ledger.sources.wukongim.command import Command, main_device, payload

UNNAMED_DEVICE = 0
"""A session whose device is not known counts as the app's, which is what clients look for first."""


class Message(NamedTuple):
    """One command and who is to be told it: the user's watchers, or the user's own other devices."""

    to: Literal["watchers", "own"]
    payload: bytes


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """What was told last of a user: whether online, and by which devices."""

    is_online: bool
    flags: list[int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sent).decode


def messages(told: Told, before: bytes | None) -> tuple[list[Message], bytes | None]:
    """-> (what is to be sent now, in this order; what is to be remembered of it)

    `before` is what was remembered when the user was told of last.
    """
    presence = told.presence
    if presence.status == "unknown":
        return [], before
    last = None if before is None else _decode(before)
    now = _now(presence, last)
    changed = _changed(presence, now, last)
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
        if now.is_online and main is not None and set(now.flags) - {flag}:
            command = Command(told.uid, flag in now.flags, flag, main, all_offline=False)
            found.append(Message("own", payload(command, more)))
    return found, _encode(now)


def _now(presence: ToldPresence, last: Sent | None) -> Sent:
    """What is shown now; of a device of which nothing is known, what was told last."""
    states: dict[int, set[str]] = {}
    for device in presence.devices:
        states.setdefault(_flag(device.device_flag), set()).add(device.status)
    online = {flag for flag, found in states.items() if "online" in found}
    if last is not None and presence.status == "online":
        online |= {flag for flag in last.flags if "unknown" in states.get(flag, ())}
    return Sent(presence.status == "online", sorted(online) if presence.status == "online" else [])


def _watchers_are_told(presence: ToldPresence, now: Sent, last: Sent | None) -> bool:
    """Whether their dot becomes another, or may."""
    if last is not None:
        return (now.is_online, main_device(now.flags)) != (last.is_online, main_device(last.flags))
    return presence.previous is None or now.is_online or presence.previous.status != presence.status


def _changed(presence: ToldPresence, now: Sent, last: Sent | None) -> list[int]:
    """The devices that have come or gone since, the latest first."""
    if last is None:
        return [_latest(presence)] if presence.devices else []
    moved = set(now.flags) ^ set(last.flags)
    since = {_flag(device.device_flag): device.since for device in presence.devices}
    return sorted(moved, key=lambda flag: (since.get(flag, ""), flag), reverse=True)


def _latest(presence: ToldPresence) -> int:
    """The device that changed last."""
    latest = max(presence.devices, key=lambda device: device.since, default=None)
    return UNNAMED_DEVICE if latest is None else _flag(latest.device_flag)


def _flag(flag: int | None) -> int:
    return UNNAMED_DEVICE if flag is None else flag

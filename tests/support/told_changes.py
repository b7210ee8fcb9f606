"""Changes as the follower of sinks hands them to a kind, made up."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND
from ledger.sinks.kind import ChangeOrder, ToldChange

EPOCH = "5b1a8a0e-0000-4000-8000-000000000001"
BEGAN_AT = 1_800_000_000 * SECOND
NAMES = {0: "app", 1: "web", 2: "desktop"}

DeviceStates = Mapping[int | None, str]


def order(position: int, epoch: str = EPOCH) -> ChangeOrder:
    return ChangeOrder(epoch, position, BEGAN_AT + position * SECOND)


def told(
    uid: str,
    devices: DeviceStates,
    position: int,
    *,
    previous: str | None = None,
    status: str | None = None,
    since: Mapping[int | None, int] | None = None,
    status_since: int | None = None,
    previous_since: int | None = None,
    epoch: str = EPOCH,
) -> ToldChange:
    """A user with these devices as of a position; `since` are the positions since which each device is as it is, and
    `status_since` that of the user."""
    found = list(devices.values())
    shown = status or ("online" if "online" in found else "unknown" if "unknown" in found else "offline")
    at = order(position, epoch)
    body: dict[str, Any] = {
        "uid": uid,
        "status": shown,
        "since": to_text(order(position if status_since is None else status_since).at),
        "last_seen_at": to_text(at.at),
        "devices": _devices(devices, since or {}, position),
        "cause": {"kind": "webhook", "at": to_text(at.at), "position": position},
        "reason": "source_dark" if shown == "unknown" else None,
        "verified_at": None,
        "version": position,
    }
    if previous is not None:
        before = None if previous_since is None else to_text(order(previous_since).at)
        body["previous"] = {"status": previous, "since": before}
    body["as_of"] = {"at": to_text(at.at), "position": at.position, "epoch": at.epoch}
    return ToldChange(uid, msgspec.json.encode(body), at)


def _devices(devices: DeviceStates, since: Mapping[int | None, int], position: int) -> Sequence[dict[str, Any]]:
    return [
        {
            "source": "main",
            "device_flag": flag,
            "device": "unknown" if flag is None else NAMES.get(flag, "custom"),
            "status": status,
            "since": to_text(order(since.get(flag, position)).at),
            "sessions": int(status == "online"),
        }
        for flag, status in devices.items()
    ]

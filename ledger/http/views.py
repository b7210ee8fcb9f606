"""Domain values as the API shows them: a presence, an event."""

from collections.abc import Mapping
from typing import Any

import msgspec

from ledger.domain.events import Event, WebhookObserved
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence
from ledger.domain.source import SourceState
from ledger.domain.status import derive, derive_device
from ledger.http.instants import of_datetime, optional, to_text
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX
from ledger.store.recorder import StoredRow

DEVICE_NAMES: Mapping[int | None, str] = {0: "app", 1: "web", 2: "desktop", 99: "system", None: "unknown"}


class CauseView(msgspec.Struct):
    kind: str
    at: str
    position: int


class DeviceView(msgspec.Struct):
    source: str
    device_flag: int | None
    device: str
    status: str
    since: str
    sessions: int


class AsOf(msgspec.Struct):
    at: str
    position: int


class PresenceView(msgspec.Struct):
    uid: str
    status: str
    since: str | None
    last_seen_at: str | None
    devices: list[DeviceView]
    cause: CauseView | None
    reason: str | None
    verified_at: str | None
    version: int
    as_of: AsOf | None = None


def presence_view(presence: Presence, sources: Mapping[str, SourceState], policy: Policy, now: Instant) -> PresenceView:
    """What is said of a user at `now`; `as_of` is left for the caller, since many share one."""
    shown = derive(presence, sources, policy, now)
    cause = shown.cause
    return PresenceView(
        presence.uid,
        shown.status,
        optional(shown.since),
        optional(presence.last_seen_at),
        _devices(presence.devices, sources),
        None if cause is None else CauseView(cause.kind, to_text(cause.at), cause.position),
        shown.reason,
        None,
        presence.version,
    )


def _devices(devices: tuple[Device, ...], sources: Mapping[str, SourceState]) -> list[DeviceView]:
    """One entry for each source and device flag; where a source counts node by node, its nodes are put together."""
    if len(devices) == 1:
        return [_device(devices, sources)]
    together: dict[tuple[str, int | None], tuple[Device, ...]] = {}
    for device in devices:
        key = (device.source, device.device_flag)
        together[key] = (*together.get(key, ()), device)
    return [_device(parts, sources) for parts in together.values()]


def _device(parts: tuple[Device, ...], sources: Mapping[str, SourceState]) -> DeviceView:
    first = parts[0]
    online = [device for device in parts if device.sessions]
    since = min(device.since for device in online) if online else max(device.since for device in parts)
    return DeviceView(
        first.source,
        first.device_flag,
        DEVICE_NAMES.get(first.device_flag, "custom"),
        derive_device(parts, sources.get(first.source)),
        to_text(since),
        sum(len(device.sessions) for device in online),
    )


def event_view(row: StoredRow, event: Event) -> dict[str, Any]:
    """A stored event with its place; the fields are those of its kind, instants as text, defaults included."""
    place: dict[str, Any] = {"position": row.position}
    if row.stream.startswith(USER_PREFIX):
        place["uid"] = row.stream.removeprefix(USER_PREFIX)
    else:
        place["source"] = row.stream.removeprefix(SOURCE_PREFIX)
    place["version"] = row.version
    place["kind"] = row.kind.partition(".")[0]
    place["recorded_at"] = to_text(of_datetime(row.recorded_at))
    fields = msgspec.structs.asdict(event)
    for name, value in fields.items():
        if name.endswith("_at") or name in ("at", "resumes"):
            fields[name] = optional(value)
    if isinstance(event, WebhookObserved):
        fields["swept"] = [
            {"node": session.scope or None, "device_flag": session.device_flag, "conn_id": session.conn_id}
            for session in event.swept
        ]
    return place | {name: value for name, value in fields.items() if name not in place}

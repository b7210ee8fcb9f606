"""What is visible of a user: the part of an answer whose change is told to those who watch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ledger.domain.events import Status
from ledger.domain.observation import Instant
from ledger.domain.presence import Device, Presence
from ledger.domain.source import SourceState
from ledger.domain.status import Reason, Shown, derive, derive_device, shown_alone


class ShownDevice(NamedTuple):
    """One device flag of a user in one source, whatever number of nodes it is put together of."""

    source: str
    device_flag: int | None
    status: Status
    since: Instant
    sessions: int


class Visible(NamedTuple):
    """Two answers in which this is the same are the same to those who watch, whatever else was learnt in between."""

    status: Status
    since: Instant | None
    reason: Reason | None
    devices: tuple[tuple[str, int | None, Status, int], ...] = ()
    """Source, device flag, status and number of sessions."""


def shown_devices(devices: Sequence[Device], sources: Mapping[str, SourceState]) -> Iterator[ShownDevice]:
    """One entry for each source and device flag; where a source counts node by node, its nodes are put together."""
    together: dict[tuple[str, int | None], list[Device]] = {}
    for device in devices:
        together.setdefault((device.source, device.device_flag), []).append(device)
    for (source, flag), parts in together.items():
        online = [part for part in parts if part.sessions]
        since = min([part.since for part in online]) if online else max([part.since for part in parts])
        sessions = sum([len(part.sessions) for part in online])
        yield ShownDevice(source, flag, derive_device(parts, sources.get(source)), since, sessions)


def visible(presence: Presence, shown: Shown, sources: Mapping[str, SourceState]) -> Visible:
    """What is visible of a presence that is shown so."""
    devices = shown_devices(presence.devices, sources)
    told = tuple((each.source, each.device_flag, each.status, each.sessions) for each in devices)
    return Visible(shown.status, shown.since, shown.reason, told)


def visible_at(presence: Presence, sources: Mapping[str, SourceState], at: Instant) -> Visible:
    """What is visible of a presence at an instant."""
    if shown_alone(presence, sources):
        return _visible_alone(presence)
    return visible(presence, derive(presence, sources, at), sources)


def shown_by(source: SourceState) -> tuple[object, ...]:
    """What of a source's state, apart from darkness, decides how users are shown: while it is the same, so are they."""
    down = {name: node for name, node in source.nodes.items() if node.down_since is not None}
    # While it is down, a boot and what settles it decide which of its users' offlines are believed.
    nodes = tuple((name, node.down_since, node.boot, node.swept) for name, node in sorted(down.items()))
    holders = tuple(sorted(source.node_profiles.items())) if nodes else ()
    return source.policy.grace_seconds, nodes, holders


def _visible_alone(presence: Presence) -> Visible:
    """The same of a presence that is shown alone, at a quarter of the cost."""
    flip = presence.flip
    if flip is None:
        return Visible("unknown", None, "never_observed")
    devices = presence.devices
    if len({(each.source, each.device_flag) for each in devices}) == len(devices):
        told = tuple([_alone(each) for each in devices])
    else:
        together = shown_devices(devices, {})
        told = tuple([(each.source, each.device_flag, each.status, each.sessions) for each in together])
    return Visible(flip.status, flip.since, None, told)


def _alone(device: Device) -> tuple[str, int | None, Status, int]:
    sessions = len(device.sessions)
    return device.source, device.device_flag, "online" if sessions else "offline", sessions

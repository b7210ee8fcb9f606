"""Folding what reconciliation did to a user: corrections, sweeps, a tier."""

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from ledger.domain.events import SessionId
from ledger.domain.grace import flipped
from ledger.domain.observation import Instant
from ledger.domain.override import after_evidence
from ledger.domain.presence import Cause, Closed, Device, Presence, Session, alike
from ledger.domain.reconciliation_events import Corrected, Located, Swept, UserReconciled
from ledger.domain.sessions import ended_first, remember, replaced, with_more, without


def after_reconciled(presence: Presence, event: UserReconciled, position: int) -> Presence:
    """The presence after an event of reconciliation, stored at that position of the ledger."""
    if isinstance(event, Corrected):
        kind, devices = "correction", _corrected(presence.devices, event)
    elif isinstance(event, Swept):
        kind, devices = "sweep", _swept(presence.devices, event)
    else:
        evident = presence.evident_position
        return replace(presence, version=presence.version + 1, position=position, tier=event.tier, evident=evident)
    at = event.received_at
    resumed = event.resumes if isinstance(event, Corrected) else None
    flip, before = flipped(presence, event.status_after, Cause(kind, at, position), resumed)
    saw = isinstance(event, Corrected) and (event.opened or any(located.seen for located in event.located))
    seen = at if saw else None
    return Presence(
        presence.uid,
        presence.version + 1,
        flip,
        before,
        tuple(device for device in devices if device.sessions or device.device_flag is not None),
        presence.last_seen_at if seen is None else max(seen, presence.last_seen_at or seen),
        position,
        presence.tier,
        after_evidence(presence.override, event),
    )


def _corrected(devices: tuple[Device, ...], event: Corrected) -> tuple[Device, ...]:
    at = event.received_at
    changed = list(devices)
    for gone in event.closed:
        _change(changed, event.source, gone, at, partial(_close, gone=gone, at=at))
    for located in event.located:
        _change(changed, event.source, located.session, at, partial(_locate, located=located, at=at))
    for opened in event.opened:
        place = SessionId(opened.scope, opened.device_flag, opened.conn_id)
        session = Session(opened.conn_id, opened.node, at, at, opened.held_by)
        _change(changed, event.source, place, at, partial(_open, session=session))
    return tuple(changed)


def _change(
    devices: list[Device], source: str, place: SessionId, at: Instant, change: Callable[[Device], Device]
) -> None:
    """Change the device where that session is; one that is not there yet is made."""
    for number, device in enumerate(devices):
        if (device.source, device.scope, device.device_flag) == (source, place.scope, place.device_flag):
            after = change(device)
            since = at if bool(after.sessions) != bool(device.sessions) else device.since
            devices[number] = replace(after, since=since)
            return
    devices.append(change(Device(source, place.scope, place.device_flag, at)))


def _close(device: Device, gone: SessionId, at: Instant) -> Device:
    """Without that session; what is still said of its connection will be recognised."""
    sessions = without(device.sessions, gone.conn_id, 1)
    if gone.conn_id is None:
        return replace(device, sessions=sessions)
    closed, forgotten = remember(device.closed, device.forgotten, gone.conn_id, at, inferred=True)
    return replace(device, sessions=sessions, closed=closed, forgotten=forgotten)


def _open(device: Device, session: Session) -> Device:
    return replace(device, sessions=with_more(device.sessions, (session,)))


def _locate(device: Device, located: Located, at: Instant) -> Device:
    for session in alike(device.sessions, located.session.conn_id):
        if session.held_by != located.held_by:
            there = replace(session, held_by=located.held_by, seen_at=at if located.seen else session.seen_at)
            return replace(device, sessions=replaced(device.sessions, session, there))
    return device


def _end(device: Device, gone: SessionId, node: str) -> Device:
    ended = ended_first(device.sessions, gone.conn_id, node)
    if ended is None:
        return device
    return replace(device, sessions=replaced(device.sessions, ended))


def _swept(devices: tuple[Device, ...], event: Swept) -> tuple[Device, ...]:
    changed = list(devices)
    for gone in event.ended:
        _change(changed, event.source, gone, event.received_at, partial(_end, gone=gone, node=event.node))
    # connIds start over with a boot: what was said of those before it says nothing of these.
    nothing: tuple[Closed, ...] = ()
    return tuple(
        replace(d, closed=nothing, forgotten=None, emptied=None)
        if d.source == event.source and d.scope in ("", event.node)
        else d
        for d in changed
    )

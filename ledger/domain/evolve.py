"""Folding: a user's presence after one more event of their stream. It never judges: events carry their effects."""

from msgspec.structs import replace

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.evolve_corrections import after_reconciled
from ledger.domain.grace import flipped
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import Instant
from ledger.domain.override import Override, after_evidence
from ledger.domain.override_events import OverrideEnded, OverrideSet
from ledger.domain.presence import Cause, Closed, Device, Presence, Session, alike
from ledger.domain.sessions import remember, replaced, with_more, without, without_each


def evolve(presence: Presence, event: UserEvent, position: int) -> Presence:
    """The presence after one more event of its stream, stored at that position of the ledger."""
    if isinstance(event, WebhookObserved):
        return _after_webhook(presence, event, position)
    if isinstance(event, PresenceImported):
        return event.presence
    if isinstance(event, OverrideSet | OverrideEnded):
        return _after_override(presence, event, position)
    return after_reconciled(presence, event, position)


def _after_override(presence: Presence, event: OverrideSet | OverrideEnded, position: int) -> Presence:
    said = None
    if isinstance(event, OverrideSet):
        said = Override(event.status, event.received_at, event.expires_at, event.until_evidence, position)
    return replace(
        presence,
        version=presence.version + 1,
        position=position,
        override=said,
        evident=presence.evident_position,
    )


def _after_webhook(presence: Presence, event: WebhookObserved, position: int) -> Presence:
    at = event.received_at
    device = presence.device(event.source, event.scope, event.device_flag)
    if device is None:
        new = _own_device(Device(event.source, event.scope, event.device_flag, at), event)
        devices = (*presence.devices, new)
    else:
        changed = _own_device(device, event)
        devices = tuple([changed if d is device else d for d in presence.devices])
    if event.swept or event.implied_elsewhere or event.withdrawn_elsewhere:
        devices = _other_devices(devices, event)
    if event.placed:
        devices = tuple(_placed(d) if _is_unplaced(d, event) else d for d in devices)
    seen_at = presence.last_seen_at
    if event.verdict in ("opened", "closed") or (event.verdict == "duplicate" and event.online):
        seen_at = at if seen_at is None or at > seen_at else seen_at
    flip, before = presence.flip, presence.before
    if flip is None or event.status_after != flip.status:
        flip, before = flipped(presence, event.status_after, Cause("webhook", at, position), event.resumes)
    return Presence(
        presence.uid,
        presence.version + 1,
        flip,
        before,
        devices,
        seen_at,
        position,
        presence.tier,
        after_evidence(presence.override, event),
    )


def _is_unplaced(device: Device, event: WebhookObserved) -> bool:
    return device.scope == "" and device.device_flag == event.device_flag and device.source == event.source


def _placed(device: Device) -> Device:
    """One session fewer that a poll told of without its node: it has been named."""
    sessions = without(device.sessions, None, 1)
    return replace(device, sessions=sessions)


def _own_device(device: Device, event: WebhookObserved) -> Device:
    """The device that the item names, after its own connection's part of the event."""
    at, conn_id = event.received_at, event.conn_id
    sessions, closed, forgotten = device.sessions, device.closed, device.forgotten
    if event.verdict == "opened":
        if event.named:
            sessions = without(sessions, None, 1)
        sessions = with_more(sessions, (Session(conn_id, event.node, at, at),))
    elif event.verdict == "closed":
        sessions = without(sessions, None if event.named else conn_id, 1)
    elif event.verdict == "duplicate" and event.online:
        for seen in alike(sessions, conn_id):
            again = Session(conn_id, seen.node, seen.opened_at, max(at, seen.seen_at), seen.held_by)
            sessions = replaced(sessions, seen, again)
    if _is_over(device, event):
        closed, forgotten = remember(closed, forgotten, conn_id, at)
    if event.withdrawn:
        sessions = without(sessions, None, event.withdrawn)
    if event.implied:
        sessions = with_more(sessions, (Session(None, event.node, at, at),) * event.implied)
    emptied = Closed(conn_id, at) if event.emptied else device.emptied
    since = at if bool(sessions) != bool(device.sessions) else device.since
    return Device(device.source, device.scope, device.device_flag, since, sessions, closed, forgotten, emptied)


def _is_over(device: Device, event: WebhookObserved) -> bool:
    """Whether the event says that its connection is gone, as of now."""
    if event.verdict == "stale":
        # Nothing that is said of it again may open it.
        return device.closing(event.conn_id) is None
    if event.verdict == "duplicate":
        # The same number may be another connection, after a boot, whose offline overtook its online.
        return not event.online and not event.repeated
    return event.verdict in ("closed", "late")


def _other_devices(devices: tuple[Device, ...], event: WebhookObserved) -> tuple[Device, ...]:
    """The devices after what the event's counts did to other connections than its own."""
    at = event.received_at
    swept: dict[tuple[str, int | None], list[int | None]] = {}
    for session in event.swept:
        swept.setdefault((session.scope, session.device_flag), []).append(session.conn_id)
    changed = []
    for device in devices:
        gone = swept.get((device.scope, device.device_flag)) if device.source == event.source else None
        changed.append(device if gone is None else _sweep(device, gone, at))
    if not (event.implied_elsewhere or event.withdrawn_elsewhere):
        return tuple(d for d in changed if d.sessions or d.device_flag is not None)
    rest = [d for d in changed if (d.source, d.scope, d.device_flag) != (event.source, event.scope, None)]
    before = next((d for d in changed if d not in rest), None)
    sessions = without(() if before is None else before.sessions, None, event.withdrawn_elsewhere)
    sessions = with_more(sessions, (Session(None, event.node, at, at),) * event.implied_elsewhere)
    if sessions:
        since = before.since if before is not None else at
        rest.append(Device(event.source, event.scope, None, since, sessions))
    return tuple(rest)


def _sweep(device: Device, gone: list[int | None], at: Instant) -> Device:
    closed, forgotten = device.closed, device.forgotten
    sessions = without_each(device.sessions, gone)
    for conn_id in gone:
        if conn_id is not None:
            # Another's offline leaves no room for it, and may be late: a node that lists it knows better.
            closed, forgotten = remember(closed, forgotten, conn_id, at, inferred=True)
    since = device.since if sessions else at
    return Device(device.source, device.scope, device.device_flag, since, sessions, closed, forgotten, device.emptied)

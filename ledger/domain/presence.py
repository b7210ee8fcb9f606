"""Presence: one user's state, folded from the events of his stream."""

import msgspec

from ledger.domain.events import SessionId, Status, UserEvent, WebhookObserved
from ledger.domain.observation import Instant

REMEMBERED_CLOSED = 8


class Session(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One live connection; `conn_id` is None while only a count tells of it."""

    conn_id: int | None
    node: str
    """The node whose webhook told of it first."""
    opened_at: Instant
    seen_at: Instant
    """The last evidence of it."""


class Closed(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A connection that was said to be gone, so that what is still said of it is recognised."""

    conn_id: int
    at: Instant


class Device(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One device flag of a user in one source, and in one node of it where the source counts node by node.

    `device_flag` is None for sessions that a total alone proves.
    """

    source: str
    scope: str
    device_flag: int | None
    since: Instant
    """When it last came online or went offline."""
    sessions: tuple[Session, ...] = ()
    closed: tuple[Closed, ...] = ()
    """The last few, oldest first."""
    forgotten: Closed | None = None
    """The highest connId that fell out of `closed`, and when the last one did."""
    emptied: Closed | None = None
    """The last offline here whose total was zero."""

    def session(self, conn_id: int) -> Session | None:
        """The open session of that connId."""
        for session in self.sessions:
            if session.conn_id == conn_id:
                return session
        return None

    def closing(self, conn_id: int) -> Closed | None:
        """When that connId was last said to be gone, if that is remembered."""
        for closed in reversed(self.closed):
            if closed.conn_id == conn_id:
                return closed
        return None

    def unnamed(self) -> int:
        """How many of its sessions are known from a count alone."""
        return sum(session.conn_id is None for session in self.sessions)


class Cause(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The event that made the status what it is."""

    kind: str
    at: Instant
    position: int


class Flip(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A status with the instant it began and its cause."""

    status: Status
    since: Instant
    cause: Cause


class Presence(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the ledger knows of one user. Version 0 is a user never observed."""

    uid: str
    version: int = 0
    flip: Flip | None = None
    """The status by evidence, grace aside."""
    before: Flip | None = None
    """The online period before this offline, since grace may still show it."""
    devices: tuple[Device, ...] = ()
    last_seen_at: Instant | None = None
    """The last instant at which evidence had him connected."""
    position: int = 0
    """Of his last event."""

    @property
    def status(self) -> Status:
        return "unknown" if self.flip is None else self.flip.status

    def device(self, source: str, scope: str, device_flag: int | None) -> Device | None:
        for device in self.devices:
            if device.device_flag == device_flag and device.source == source and device.scope == scope:
                return device
        return None


def evolve(presence: Presence, event: UserEvent, position: int) -> Presence:
    """The presence after one more event of its stream, stored at that position of the ledger."""
    at = event.received_at
    device = presence.device(event.source, event.scope, event.device_flag)
    changed = _own_device(device or Device(event.source, event.scope, event.device_flag, at), event)
    devices = tuple(changed if d is device else d for d in presence.devices)
    if device is None:
        devices += (changed,)
    if event.swept or event.implied_elsewhere or event.withdrawn_elsewhere:
        devices = _other_devices(devices, event)
    seen = event.verdict in ("opened", "closed") or (event.verdict == "duplicate" and event.online)
    flip, before = presence.flip, presence.before
    if flip is None or event.status_after != flip.status:
        cause = Cause("webhook", at, position)
        if event.resumes is not None and before is not None:
            flip, before = before, None
        else:
            before = flip if flip is not None and flip.status == "online" else None
            flip = Flip(event.status_after, at, cause)
    return Presence(
        presence.uid,
        presence.version + 1,
        flip,
        before,
        devices,
        max(at, presence.last_seen_at or at) if seen else presence.last_seen_at,
        position,
    )


def _own_device(device: Device, event: WebhookObserved) -> Device:
    """The device that the item names, after its own connection's part of the event."""
    at, conn_id = event.received_at, event.conn_id
    sessions, closed, forgotten = device.sessions, device.closed, device.forgotten
    if event.verdict == "opened":
        if event.named:
            sessions = _without(sessions, None, 1)
        sessions += (Session(conn_id, event.node, at, at),)
    elif event.verdict == "closed":
        sessions = _without(sessions, None if event.named else conn_id, 1)
    elif event.verdict == "duplicate" and event.online:
        sessions = tuple(Session(s.conn_id, s.node, s.opened_at, at) if s.conn_id == conn_id else s for s in sessions)
    if _is_over(device, event):
        closed, forgotten = _remember(closed, forgotten, conn_id, at)
    if event.withdrawn:
        sessions = _without(sessions, None, event.withdrawn)
    if event.implied:
        sessions += (Session(None, event.node, at, at),) * event.implied
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
    """The devices after what the event's counts did beside its own connection."""
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
    sessions = _without(() if before is None else before.sessions, None, event.withdrawn_elsewhere)
    sessions += (Session(None, event.node, at, at),) * event.implied_elsewhere
    if sessions:
        since = before.since if before is not None else at
        rest.append(Device(event.source, event.scope, None, since, sessions))
    return tuple(rest)


def _sweep(device: Device, gone: list[int | None], at: Instant) -> Device:
    sessions, closed, forgotten = device.sessions, device.closed, device.forgotten
    for conn_id in gone:
        sessions = _without(sessions, conn_id, 1)
        if conn_id is not None:
            closed, forgotten = _remember(closed, forgotten, conn_id, at)
    since = device.since if sessions else at
    return Device(device.source, device.scope, device.device_flag, since, sessions, closed, forgotten, device.emptied)


def _without(sessions: tuple[Session, ...], conn_id: int | None, number: int) -> tuple[Session, ...]:
    kept = []
    for session in sessions:
        if number and session.conn_id == conn_id:
            number -= 1
        else:
            kept.append(session)
    return tuple(kept)


def _remember(
    closed: tuple[Closed, ...], forgotten: Closed | None, conn_id: int, at: Instant
) -> tuple[tuple[Closed, ...], Closed | None]:
    """Remember a closed connId, the newest last, and the highest of those forgotten for it."""
    kept = (*(c for c in closed if c.conn_id != conn_id), Closed(conn_id, at))
    if len(kept) <= REMEMBERED_CLOSED:
        return kept, forgotten
    oldest = kept[0]
    highest = max(oldest.conn_id, forgotten.conn_id) if forgotten is not None else oldest.conn_id
    return kept[1:], Closed(highest, oldest.at)


def session_ids(device: Device) -> tuple[SessionId, ...]:
    """The device's open sessions, as an event names them."""
    return tuple(SessionId(device.scope, device.device_flag, session.conn_id) for session in device.sessions)

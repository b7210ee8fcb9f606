"""Presence: one user's state. `evolve` folds it from the events of their stream."""

from collections.abc import Sequence

import msgspec

from ledger.domain.crowd import FEW, Crowd, Edit
from ledger.domain.events import SessionId, Status
from ledger.domain.observation import Instant
from ledger.domain.override import Override
from ledger.domain.reconciliation_events import Tier


class Session(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One live connection; `conn_id` is None while only a count or a poll without one tells of it."""

    conn_id: int | None
    node: str
    """The node whose webhook or poll told of it first."""
    opened_at: Instant
    seen_at: Instant
    """The last evidence of it."""
    held_by: str | None = None
    """The node that was seen to hold its socket; None while that is not known or is the only possible one."""


class Closed(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A connection that was said to be gone, so that what is still said of it is recognised."""

    conn_id: int
    at: Instant
    inferred: bool = False
    """No offline has named it: a look did not find it, or the count of another's left no room for it."""


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
    """In the order of their arrival; more than a few are a `Crowd`, however the device was made."""
    closed: tuple[Closed, ...] = ()
    """The last few, oldest first."""
    forgotten: Closed | None = None
    """The highest connId that fell out of `closed`, and when the last one did."""
    emptied: Closed | None = None
    """The last offline here whose total was zero."""

    def __post_init__(self) -> None:
        if len(self.sessions) > FEW and not isinstance(self.sessions, Crowd):
            msgspec.structs.force_setattr(self, "sessions", Edit(self.sessions).done())

    def session(self, conn_id: int) -> Session | None:
        """The open session of that connId."""
        if len(self.sessions) > FEW:
            return next(iter(alike(self.sessions, conn_id)), None)
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
        """How many of its sessions are known from a count or a poll alone."""
        sessions: object = self.sessions
        if isinstance(sessions, Crowd):
            return sessions.unnamed
        return sum([session.conn_id is None for session in self.sessions])


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
    """The last instant at which evidence had the user connected."""
    position: int = 0
    """Of the user's last event."""
    tier: Tier | None = None
    """Chosen by API, if it was."""
    override: Override | None = None
    """An operator's word, from when it was said until its end is known."""
    evident: int | None = None
    """The position of the last event but for those of overrides and tiers, where one of these is the last."""

    @property
    def status(self) -> Status:
        return "unknown" if self.flip is None else self.flip.status

    @property
    def evident_position(self) -> int:
        """Up to where the ledger tells how the user is: an operator's word or tier overtakes no question."""
        return self.position if self.evident is None else self.evident

    def device(self, source: str, scope: str, device_flag: int | None) -> Device | None:
        for device in self.devices:
            if device.device_flag == device_flag and device.source == source and device.scope == scope:
                return device
        return None


def alike(sessions: Sequence[Session], conn_id: int | None) -> Sequence[Session]:
    """Those of a connId, or those without one."""
    if isinstance(sessions, Crowd) and conn_id is not None:
        return sessions.of(conn_id)
    return [session for session in sessions if session.conn_id == conn_id]


def session_ids(device: Device) -> tuple[SessionId, ...]:
    """The device's open sessions, as an event names them."""
    return tuple(SessionId(device.scope, device.device_flag, session.conn_id) for session in device.sessions)

"""The events: facts as they are stored, each with its effects, so that folding them never judges again.

A stored event is one of these structs under its kind; stream, version, position and `recorded_at` are its columns.
A field's default is left out of the stored form. Instants are microseconds since the epoch.
"""

from typing import Literal, TypeAlias

import msgspec

from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile

Status: TypeAlias = Literal["online", "offline", "unknown"]

Verdict: TypeAlias = Literal["opened", "closed", "duplicate", "late", "stale"]


class SessionId(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One session of a user within a source.

    `scope` is the node for a source that counts node by node, else empty; `device_flag` is None where only a total
    told of the session; `conn_id` is None where only a count did.
    """

    scope: str
    device_flag: int | None
    conn_id: int | None


class WebhookObserved(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A webhook's item that names the user, the verdict on it, and what it did to their sessions.

    There is none that there is more of, so its stored form is the values in this order, without the defaults at the
    end: a field that is added goes to the end.
    """

    source: str
    node: str
    delivery: str
    item: int
    raw: str
    received_at: Instant
    verdict: Verdict
    rule: str
    status_before: Status
    status_after: Status
    device_flag: int
    online: bool
    conn_id: int
    emptied: bool = False
    """Its total was zero: nothing older of this scope is still open."""
    repeated: bool = False
    """Its delivery may be one that came before, sent again."""
    scope: str = ""
    """The node, where the source counts node by node."""
    suspect: str | None = None
    """Why the user should be looked at out of turn, where the evidence is ambiguous."""
    swept: tuple[SessionId, ...] = ()
    """Sessions that its count of zero ended as well as its own."""
    implied: int = 0
    """Sessions of its device flag that its count proves beyond those known."""
    named: bool = False
    """The session it opened or closed was known before, without its connId."""
    resumes: Instant | None = None
    """Online again within the grace period: shown online since then, as if never gone."""
    placed: bool = False
    """The session it opened was known from a poll, which did not tell its node."""
    implied_elsewhere: int = 0
    """Sessions of device flags not named that its total proves beyond those known."""
    withdrawn: int = 0
    """Sessions known from counts alone, on its device flag, that its count no longer has room for."""
    withdrawn_elsewhere: int = 0
    unbelieved: int = 0
    """Sessions that its counts claim beyond those known and those `implied`: more than are believed without a name."""

    @property
    def changes_own_alone(self) -> bool:
        """Whether it changes no other session than its own, known by its connId, if any at all."""
        return not (
            self.swept
            or self.implied
            or self.named
            or self.placed
            or self.implied_elsewhere
            or self.withdrawn
            or self.withdrawn_elsewhere
        )


class DeliveryReceived(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One webhook POST; the events of its items follow it by position."""

    delivery: str
    node: str
    received_at: Instant
    digest: str
    """SHA-256 of the body, hexadecimal."""
    size: int
    """Bytes of the body."""
    items: int
    rejected: int = 0
    following: int = 0
    """Rejected elements that have no event of their own, but stand in that of another one."""
    repeats: str | None = None
    """The last delivery of its node that had the same body, within the dedupe window."""
    first_received_at: Instant | None = None
    """When that one came."""
    lowest_conn_id: int = 0
    """The lowest connId its onlines name."""
    highest_conn_id: int = 0
    """The highest connId its onlines name."""
    anew: bool = False
    """The same bytes, but not that POST sent again: its node, or what it speaks of, has moved on since."""
    spooled: bool = False
    """It waited in a spool while the store was away, so that it is recorded long after it came."""


class ItemRejected(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """An element of a delivery's array that is not a claim, kept raw: its JSON text, cut at the bound."""

    delivery: str
    node: str
    item: int
    received_at: Instant
    reason: str
    raw: str
    size: int
    """Bytes of the whole JSON text; more than `raw` where that was cut."""
    digest: str | None = None
    """SHA-256 of the whole text, where it was cut."""
    following: tuple[str, ...] = ()
    """The JSON texts of the elements right after it that are not claims for the same reason, where there are many."""


class BodyRejected(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A webhook body that is not a JSON array, kept raw: base64, cut at the bound."""

    delivery: str
    node: str
    received_at: Instant
    reason: str
    raw_base64: str
    size: int
    digest: str
    """SHA-256 of the whole body, hexadecimal."""


class Configured(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The configuration that the rules read, from here on, for every instance."""

    at: Instant
    instance: str
    policy: Policy
    profile: Profile
    nodes: dict[str, Profile]
    """Each node with the profile that holds for it."""
    rules_version: int
    """Of the rules that judge from here on."""


class ServiceStarted(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An instance of the service began to take this source's webhooks."""

    at: Instant
    instance: str
    software_version: str


class ServiceStopped(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An instance of the service stopped in order; one that was killed leaves none of these."""

    at: Instant
    instance: str

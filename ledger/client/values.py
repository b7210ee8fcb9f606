"""What the service says, as values: presences with their parts, and what streams tell beside them."""

from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, field

Status: TypeAlias = Literal["online", "offline", "unknown"]

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class AsOf(Struct, frozen=True):
    """The instant and the ledger position that something was said at; `epoch` in streams alone."""

    position: int
    at: datetime
    epoch: str | None = None

    @property
    def order(self) -> tuple[int, datetime]:
        """What is later within an epoch is greater."""
        return self.position, self.at


class Device(Struct, frozen=True):
    """One device flag of a user in one source; `device_flag` is None where only a total reports a session."""

    source: str
    device_flag: int | None
    device: str
    status: Status
    since: datetime
    sessions: int


class Cause(Struct, frozen=True):
    """The event that made the status what it is."""

    kind: str
    at: datetime
    position: int


class Previous(Struct, frozen=True):
    """What was shown before a change."""

    status: Status
    since: datetime | None


class Uncertain(Struct, frozen=True):
    """The instant asked about lies between two looks: the change to `could_be` came about between these instants."""

    could_be: Status
    from_: datetime = field(name="from")
    to: datetime


class Presence(Struct, frozen=True, kw_only=True):
    """What is said of one user. Instants are aware and in UTC.

    `reason` says why an `unknown` is one: `never_observed`, `node_down`, `source_dark`, `store_unavailable`. `previous`
    is there where a stream told of a change. `stale`: it was right once, and since then the stream has been away, or,
    as `stale_since` tells, the service's PostgreSQL. Of a question about some `fields` the others are as they are here.
    """

    uid: str
    status: Status = "unknown"
    since: datetime | None = None
    last_seen_at: datetime | None = None
    devices: tuple[Device, ...] = ()
    cause: Cause | None = None
    reason: str | None = None
    verified_at: datetime | None = None
    version: int = 0
    uncertain: Uncertain | None = None
    previous: Previous | None = None
    as_of: AsOf
    stale_since: datetime | None = None
    stale: bool = False

    def __post_init__(self) -> None:
        if self.stale_since is not None:
            msgspec.structs.force_setattr(self, "stale", True)

    def as_stale(self, stale: bool = True) -> "Presence":
        """The same, marked."""
        return self if stale is self.stale else msgspec.structs.replace(self, stale=stale)


class Resumed(Struct, frozen=True):
    """A stream has begun. `recovered`: what was missed since the cursor follows; else all may be otherwise.

    `reason` says why not: `fresh`, `retention`, `epoch`, `too_many`.
    """

    recovered: bool
    reason: str | None
    as_of: AsOf


class Ready(Struct, frozen=True):
    """All has been told up to `as_of`."""

    as_of: AsOf


class Heartbeat(Struct, frozen=True):
    """The same, every 15 s."""

    as_of: AsOf


class Gone(Struct, frozen=True):
    """A user who is no longer on the list that is followed."""

    uid: str


class SourceChange(Struct, frozen=True):
    """To those who follow everybody: a whole source went `dark`, or is `lit` again.

    Whoever has a device in one that is dark is unknown, but for those whose `cause.kind` is `override`, and those who
    have a device that is online in a source that is not dark.
    """

    source: str
    status: Literal["dark", "lit"]
    since: datetime


class Disconnected(Struct, frozen=True):
    """The stream has ended, and is opened again after `seconds`; what was told before may be out of date until then."""

    error: Exception | None
    seconds: float


Said: TypeAlias = Presence | Resumed | Ready | Heartbeat | Gone | SourceChange | Disconnected


class Told(Struct, frozen=True):
    """Something that a stream said; `cursor`: from where on to follow again by whoever has dealt with it."""

    said: Said
    cursor: str | None

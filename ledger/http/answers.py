"""What the API answers: structs, which are encoded and from which the description is made."""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field
from starlette.responses import Response

from ledger.domain.events import Status
from ledger.domain.instants import Timestamp, to_text
from ledger.domain.observation import Instant
from ledger.domain.reach import Because
from ledger.domain.status import Reason

encode = msgspec.json.Encoder().encode


def as_json(body: Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The response that is this body."""
    return Response(encode(body), status, headers, "application/json")


class FieldError(Struct, frozen=True):
    """A field at fault, and what is wrong with it."""

    field: str
    detail: str


class ProblemBody(Struct, kw_only=True):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | UnsetType = UNSET


class CauseBody(Struct):
    """The event that made the status what it is."""

    kind: str
    at: Timestamp
    position: int


class DeviceBody(Struct):
    """One device flag of the user in one source; `device_flag` is null where only a total reports a session."""

    source: str
    device_flag: int | None
    device: str
    status: Status
    since: Timestamp
    sessions: int


class AsOfBody(Struct):
    """The instant and the ledger position that the answer was made at."""

    at: Timestamp
    position: int


def as_of_body(at: Instant, position: int) -> AsOfBody:
    """What an answer was made at."""
    return AsOfBody(to_text(at), position)


class UncertainBody(Struct):
    """The instant asked about lies between two looks: the change to `could_be` came about between these instants."""

    from_: Timestamp = field(name="from")
    to: Timestamp
    could_be: Status


ShownReason = Reason | Literal["store_unavailable"]
"""The last one in answers from memory alone: of this user it holds nothing."""


class PresenceBody(Struct, kw_only=True):
    """What is said of one user; `uncertain` is there in answers about the past alone, where the truth is not known,
    `stale_since` in those from memory alone."""

    # For speed it is written by projections.models.shown, field by field.
    uid: str
    status: Status
    since: Timestamp | None
    last_seen_at: Timestamp | None
    devices: list[DeviceBody]
    cause: CauseBody | None
    reason: ShownReason | None
    verified_at: Timestamp | None
    version: int
    uncertain: UncertainBody | UnsetType = UNSET
    stale_since: Timestamp | UnsetType = UNSET
    as_of: AsOfBody


class PresenceItems(Struct):
    """In the order asked."""

    items: list[PresenceBody]


class PresencePart(Struct, kw_only=True):
    """What `fields` asked for of a presence."""

    uid: str
    status: Status | UnsetType = UNSET
    since: Timestamp | UnsetType | None = UNSET
    last_seen_at: Timestamp | UnsetType | None = UNSET
    devices: list[DeviceBody] | UnsetType = UNSET
    cause: CauseBody | UnsetType | None = UNSET
    reason: ShownReason | UnsetType | None = UNSET
    verified_at: Timestamp | UnsetType | None = UNSET
    version: int | UnsetType = UNSET
    uncertain: UncertainBody | UnsetType = UNSET
    stale_since: Timestamp | UnsetType = UNSET
    as_of: AsOfBody


class PresenceParts(Struct):
    """In the order asked."""

    items: list[PresencePart]


class PresencePage(PresenceItems):
    """In the order of their uids."""

    next: str | None


class UserCounts(Struct):
    """Users by status."""

    online: int
    offline: int
    unknown: int


class FlagCount(Struct):
    """Devices online of one flag of a source."""

    source: str
    device_flag: int | None
    devices: int


class NodeCount(Struct):
    """Devices online that a node reported."""

    source: str
    node: str
    devices: int


class SummaryBody(Struct):
    """Users by status; devices online, none of them in doubt, by device flag and by the node that reported them."""

    users: UserCounts
    devices_online: list[FlagCount]
    nodes: list[NodeCount]
    as_of: AsOfBody


class DeviceReachBody(Struct):
    """The same for one device flag of the user in one source: whether it takes the message itself."""

    source: str
    device_flag: int | None
    device: str
    push: bool
    because: Because
    certain: bool


class ReachBody(Struct):
    """Whether to send the user a push notification now, and why; that none is needed is said only where it is sure."""

    uid: str
    push: bool
    because: Because
    certain: bool
    devices: list[DeviceReachBody]
    as_of: AsOfBody


class ReachItems(Struct):
    """In the order asked."""

    items: list[ReachBody]

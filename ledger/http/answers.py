"""What the API answers: structs, which are encoded and from which the description is made."""

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field
from starlette.responses import Response

from ledger.domain.codes import About
from ledger.domain.events import Status
from ledger.domain.instants import Timestamp, to_text
from ledger.domain.observation import Instant
from ledger.domain.override_events import Word
from ledger.domain.reach import Because
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, Tier
from ledger.domain.statement import Level, Param
from ledger.domain.status import Reason
from ledger.http.responses import reference
from ledger.languages import Language
from ledger.working_state.runs import RunBody
from projections.queries.drift_summary import DriftGroup

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


class PresenceBody(Struct, kw_only=True):
    """What is said of one user; `uncertain` is there in answers about the past alone, where the truth is not known."""

    # For speed it is written by projections.models.shown, field by field.
    uid: str
    status: Status
    since: Timestamp | None
    last_seen_at: Timestamp | None
    devices: list[DeviceBody]
    cause: CauseBody | None
    reason: Reason | None
    verified_at: Timestamp | None
    version: int
    uncertain: UncertainBody | UnsetType = UNSET
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
    reason: Reason | UnsetType | None = UNSET
    verified_at: Timestamp | UnsetType | None = UNSET
    version: int | UnsetType = UNSET
    uncertain: UncertainBody | UnsetType = UNSET
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


class EventBody(Struct, kw_only=True):
    """A stored event: its place, and the fields of its kind."""

    position: int
    uid: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    version: int
    kind: str
    recorded_at: Timestamp


Event: TypeAlias = Annotated[dict[str, Any], Meta(extra_json_schema=reference("EventBody"))]
"""An `EventBody` with what is known of its kind alone."""


class EventPage(Struct):
    """Events in their order."""

    items: list[Event]
    next: str | None


class DeliveryBody(Struct):
    """One webhook POST, and a page of what became of its items, in their order."""

    delivery: Event
    items: list[Event]
    next: str | None


class RunPage(Struct):
    """Runs in the order of their begin."""

    items: list[RunBody]
    next: str | None


class DriftBody(Struct):
    """A difference between presence and polls: it began after `agreed_at` and before `disagreed_at`.

    `position` is of the event that first reported it, `last_position` of the last one.
    """

    uid: str
    source: str
    position: int
    kind: DriftKind
    state: Outcome
    agreed_at: Timestamp | None
    disagreed_at: Timestamp
    ended_at: Timestamp | None
    attributed_to: Attribution | None
    run: str
    node: str
    last_position: int


class DriftPage(Struct):
    """Drifts in the order in which they were first reported."""

    items: list[DriftBody]
    next: str | None


class DriftSummary(Struct):
    """Groups in the order of their keys; `from` is since when they are counted."""

    items: list[DriftGroup]
    next: str | None
    from_: Timestamp = field(name="from")
    as_of: AsOfBody


class TierBody(Struct):
    """A user's tier, and the position of the event that says so."""

    uid: str
    tier: Tier | None
    position: int


class OverrideBody(Struct):
    """What an operator said of a user, by which API key, and the position of the event that says so."""

    uid: str
    status: Word
    reason: str
    by: str
    since: Timestamp
    expires_at: Timestamp
    until_evidence: bool
    position: int


class OverrideEndBody(Struct):
    """The position of the event that says that it ended."""

    uid: str
    position: int


class BackupBody(Struct):
    """A backup, and how old it is."""

    made_at: Timestamp
    age_seconds: float


class ErasureBody(Struct):
    """An erasure on record, and what of it is still to be done.

    `events` were the user's own and are gone; of `redacted` others, which name others as well, their part is.
    """

    uid: str
    position: int
    at: Timestamp
    by: str
    reason: str
    events: int
    redacted: int
    erased_before: bool
    complete: bool
    waiting: list[str]
    backup: BackupBody | None


class ReadBody(Struct):
    """That somebody asked about the user: by which API key, over which route, how often between two instants."""

    key: str
    route: str
    first_at: Timestamp
    last_at: Timestamp
    number: int


class ReadPage(Struct):
    """A page of them, the oldest first."""

    items: list[ReadBody]
    next: str | None


class StatementBody(Struct):
    """One statement: `params` are its facts, `positions` the events that bear it out, `text` the sentence."""

    code: str
    about: About
    text: str
    params: dict[str, Param]
    positions: tuple[int, ...]


class ExplanationBody(Struct):
    """Why a user was shown so: the first statement is the answer, the next says how sure it is."""

    uid: str
    status: Status
    since: Timestamp | None
    cause: CauseBody | None
    reason: Reason | None
    confidence: Level
    language: Language
    statements: list[StatementBody]
    as_of: AsOfBody

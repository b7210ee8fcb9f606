"""What the API answers of the record: events, deliveries, runs, drifts; what was chosen, said and erased; and why."""

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from ledger.domain.codes import About
from ledger.domain.events import Status
from ledger.domain.instants import Timestamp
from ledger.domain.override_events import Word
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, Tier
from ledger.domain.statement import Level, Param
from ledger.domain.status import Reason
from ledger.http.answers import AsOfBody, CauseBody
from ledger.http.responses import reference
from ledger.languages import Language
from ledger.working_state.runs import RunBody
from projections.queries.drift_summary import DriftGroup


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


class UserTierBody(Struct):
    """The tier that was set for a user; null: the rules choose."""

    uid: str
    tier: Tier | None


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


class SpoolLeftBody(Struct):
    """Webhooks beside the ledger that nobody drains: a file, or the folder of an instance that is gone."""

    host: str
    path: str
    last_at: Timestamp
    age_seconds: float


class ArchiveBody(Struct):
    """What has been archived, and how this instance's archiving fares."""

    events_days: float
    before: int
    files: int
    events: int
    size_bytes: int
    running: bool
    finished_at: Timestamp | None
    archived: int
    failed: str | None


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
    spools: list[SpoolLeftBody]


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

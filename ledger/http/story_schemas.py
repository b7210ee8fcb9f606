"""The shapes of a user's story in the API's answers, for its documentation: entries of the timeline, and sessions."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from ledger.domain.events import Verdict
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, Tier
from ledger.http.schemas import AsOfBody, StatusName
from projections.models.session_bounds import Sure


class SessionName(BaseModel):
    """A session; `node` is null where the source counts its nodes as one."""

    node: str | None
    device_flag: int | None
    conn_id: int | None
    held_by: str | None = None


class _OfEvent(BaseModel):
    """An entry of one event."""

    position: int
    at: str
    status_before: StatusName
    status_after: StatusName


class ChangeEntry(_OfEvent):
    """A webhook's item that flipped the status, or changed sessions and not the status; what it lacks is none."""

    kind: Literal["transition", "sessions"]
    source: str
    node: str
    verdict: Verdict
    rule: str
    device_flag: int
    conn_id: int
    delivery: str
    item: int
    raw: str
    named: bool = False
    repeated: bool = False
    swept: list[SessionName] = []
    implied: int = 0
    implied_elsewhere: int = 0
    withdrawn: int = 0
    withdrawn_elsewhere: int = 0
    resumes: str | None = None
    suspect: str | None = None
    unbelieved: int = 0


class CorrectionEntry(_OfEvent):
    """What a poll changed; the drift began after `agreed_at` and before `disagreed_at`."""

    kind: Literal["correction"]
    source: str
    node: str
    rule: str
    drift: DriftKind | None
    agreed_at: str | None
    disagreed_at: str | None
    asked_at: str
    looks: int
    attributed_to: Attribution | None
    poll: str
    run: str
    opened: list[SessionName] = []
    closed: list[SessionName] = []
    located: list[SessionName] = []
    resumes: str | None = None


class SweepEntry(_OfEvent):
    """Sessions that ended with their node, after `earliest` and before `latest`; `evidence` is a position."""

    kind: Literal["sweep"]
    source: str
    node: str
    rule: Literal["restart", "node_retired"]
    ended: list[SessionName]
    earliest: str | None
    latest: str | None
    evidence: int
    run: str


class TierEntry(_OfEvent):
    """How soon the user is looked at, from here on."""

    kind: Literal["tier"]
    tier: Tier | None
    by: str


class BeginningEntry(_OfEvent):
    """The record begins here: the state that he had, imported from another ledger, where it had that version."""

    kind: Literal["imported"]
    version: int
    sessions: list[SessionName]


class RepeatsEntry(_OfEvent):
    """Events in a row that changed nothing, from `at` to `until`, by node and by rule.

    `deliveries` brought them; `repeated_items` of them came in the `repeated_deliveries` that repeat an earlier one
    whole.
    """

    kind: Literal["duplicate", "late", "stale"]
    last_position: int
    number: int
    until: str
    source: str
    nodes: dict[str, int]
    rules: dict[str, int]
    deliveries: int
    repeated_items: int
    repeated_deliveries: int
    first_raw: str
    last_raw: str
    last_delivery: str


class DriftEntry(BaseModel):
    """A drift: it began after `agreed_at` and before `disagreed_at`, which is its `at`; `until` null: it goes on."""

    kind: Literal["drift"]
    position: int
    last_position: int
    at: str
    until: str | None
    source: str
    node: str
    drift: DriftKind
    state: Outcome
    agreed_at: str | None
    disagreed_at: str
    attributed_to: Attribution | None
    run: str


class DoubtEntry(BaseModel):
    """A source that was dark or a node that was down, which may have held a session of his; `until` null: it still is.

    `ended_by` is `webhook` or `poll`, what was heard again; `answers`, the node does as before; `swept`, what its boot
    ended has been; `retired`, the configuration no longer names it.
    """

    kind: Literal["source_dark", "node_down"]
    position: int
    last_position: int
    at: str
    until: str | None
    source: str
    node: str | None
    reason: str
    ended_by: str | None


Entry = Annotated[
    ChangeEntry | CorrectionEntry | SweepEntry | TierEntry | BeginningEntry | RepeatsEntry | DriftEntry | DoubtEntry,
    Field(discriminator="kind"),
]


class _Followed(BaseModel):
    """`as_of` is how far the projection had followed the ledger; `lag`, the events recorded since."""

    next: str | None
    as_of: AsOfBody
    lag: int


class TimelinePage(_Followed):
    items: list[Entry]


class EdgeBody(BaseModel):
    """Where a session began or ended: by `at`, and after `after` where that is known; `position` is the event's.

    How `sure`: `exact`, its own webhook says so, which takes up to 2 s, longer where it was sent again; `bounded`, a
    look, a count of zero or a boot does; `implied`, a count does and nothing else; `unknown`, nobody said.
    """

    at: str
    after: str | None
    sure: Sure
    rule: str
    position: int


class SessionBody(BaseModel):
    """A connection. `seen_at` is the last evidence of it; `duration_seconds`, from `began.at` to `ended.at`.

    `concurrent`: the user's sessions that were open once it had begun, itself included; `flaps`: sessions of the same
    device that had ended within the minute before.
    """

    source: str
    device_flag: int | None
    device: str
    conn_id: int | None
    told_by: str
    held_by: str | None
    began: EdgeBody
    seen_at: str
    ended: EdgeBody | None
    duration_seconds: float | None
    concurrent: int
    flaps: int


class SessionPage(_Followed):
    items: list[SessionBody]

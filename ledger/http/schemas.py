"""The shapes of the API's answers, for its documentation; for speed, the answers are encoded without them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, RunScope, Tier

StatusName = Literal["online", "offline", "unknown"]
Health = Literal["good", "degraded", "dark", "unreconciled"]


class FieldError(BaseModel):
    field: str
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def problem(description: str) -> dict[str, Any]:
    """A response of OpenAPI that is a problem."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def refused(*cases: str) -> dict[int | str, dict[str, Any]]:
    """The 422 of a route that also refuses what no schema can say."""
    return {422: problem(f"A field is invalid, `errors` names it: {'; '.join((*cases, 'an unknown parameter'))}")}


CURSOR = "`after` is not a cursor of this list"
BACKWARDS = "`to` is before `from`"
UID = "a uid is empty, over 1,024 bytes, or holds NUL or half a character"
MOMENT = (
    "`known_at` or `position` without `at`, or both of them; an instant in the future, or `known_at` before `at`; a "
    "`position` beyond the head"
)

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: problem("No API key, or an unknown or revoked one"),
    403: problem("The key lacks the scope"),
    422: problem("A field is invalid, `errors` names it: an unknown parameter"),
    503: problem("PostgreSQL does not answer"),
}


class CauseBody(BaseModel):
    """The event that made the status what it is."""

    kind: str
    at: str
    position: int


class DeviceBody(BaseModel):
    """One device flag of the user in one source; `device_flag` is null where only a total tells of a session."""

    source: str
    device_flag: int | None
    device: str
    status: StatusName
    since: str
    sessions: int


class AsOfBody(BaseModel):
    """The instant and the ledger position that the answer was made at."""

    at: str
    position: int


class UncertainBody(BaseModel):
    """The instant asked about lies between two looks: the change to `could_be` came about between these instants."""

    from_: Annotated[str, Field(alias="from")]
    to: str
    could_be: StatusName


class Presence(BaseModel):
    """What is said of one user; `uncertain` is there in answers about the past alone, where the truth is not known."""

    uid: str
    status: StatusName
    since: str | None
    last_seen_at: str | None
    devices: list[DeviceBody]
    cause: CauseBody | None
    reason: Literal["never_observed", "node_down", "source_dark"] | None
    verified_at: str | None
    version: int
    uncertain: UncertainBody | None = None
    as_of: AsOfBody


class PresenceItems(BaseModel):
    items: list[Presence]


class PresencePage(PresenceItems):
    next: str | None


class UserCounts(BaseModel):
    online: int
    offline: int
    unknown: int


class FlagCount(BaseModel):
    source: str
    device_flag: int | None
    devices: int


class NodeCount(BaseModel):
    source: str
    node: str
    devices: int


class Summary(BaseModel):
    """Users by status; devices online by device flag and by the node that told of them."""

    users: UserCounts
    devices_online: list[FlagCount]
    nodes: list[NodeCount]
    as_of: AsOfBody


class EventBody(BaseModel):
    """A stored event: its place, and the fields of its kind."""

    model_config = ConfigDict(extra="allow")

    position: int
    version: int
    kind: str
    recorded_at: str
    uid: str | None = None
    source: str | None = None


class EventPage(BaseModel):
    items: list[EventBody]
    next: str | None


class DeliveryBody(BaseModel):
    """One webhook POST, and a page of what became of its items, in their order."""

    delivery: EventBody
    items: list[EventBody]
    next: str | None


class BootBody(BaseModel):
    """The interval in which a node last booted."""

    earliest: str
    latest: str


class ApiHealth(BaseModel):
    """How a node's query API fares, as the leading instance last knew it; reasons in words, probes apart."""

    last_good_at: str | None
    last_failure_at: str | None
    failures_in_a_row: int
    last_reason: str | None
    breaker: Literal["closed", "open", "half_open"]
    breaker_open_until: str | None
    last_good_probe_at: str | None
    probe_reason: str | None
    calls: int
    users_asked: int


class ApiBody(BaseModel):
    """Whether a node has an `api_url`, and how its query API fares; null until it has been asked."""

    configured: bool
    health: ApiHealth | None


class NodeBody(BaseModel):
    name: str
    profile: str
    last_webhook_at: str | None
    highest_conn_id: int
    down_since: str | None
    boot: BootBody | None
    api: ApiBody
    since_start: dict[str, int]


class BreakerBody(BaseModel):
    """While it is open, corrections to offline are held."""

    open: bool
    until: str | None


class OpenRunBody(BaseModel):
    """A run that has not ended; `users` are those that were named."""

    run: str
    scope: RunScope
    node: str | None
    started_at: str
    users: int | None


class AllConnectionsBody(BaseModel):
    """The last look at all connections of all nodes: `calls` of `budget_calls`, one a node; `connections` found.

    `contradicted` are those that nodes list though an offline has closed them. `seconds` is what the nodes took.
    """

    at_least_every_seconds: float
    asked_at: str | None
    calls: int
    connections: int
    contradicted: int
    seconds: float


class LooksBody(BaseModel):
    """How users are looked at now: `route` null while nothing would be believed; `because` in words.

    `all_connections` is null where not all nodes can be asked for theirs.
    """

    route: Literal["POST /user/onlinestatus", "GET /connz"] | None
    because: str
    all_connections: AllConnectionsBody | None


class SourceBody(BaseModel):
    """A source as the ledger has it; `since_start` is what this instance counted.

    `health` has its `reasons`. `rhythm_seconds` is the usual time between two webhooks, `webhooks_silent` the alarm
    that they have stopped while queries answer.
    """

    name: str
    profile: str
    version: int
    health: Health
    reasons: list[str]
    last_webhook_at: str | None
    rhythm_seconds: float | None
    webhooks_silent: bool
    last_good_poll_at: str | None
    leader: str | None
    looks: LooksBody | None
    dark_since: str | None
    breaker: BreakerBody
    open_runs: list[OpenRunBody]
    retired_nodes: list[str]
    nodes: list[NodeBody]


class SourceItems(BaseModel):
    items: list[SourceBody]
    forbidden_since_start: int


class RunCountsBody(BaseModel):
    """Users, but for the polls."""

    polls: int
    failed_polls: int
    looked: int
    agreed: int
    drifted: int
    corrected: int
    cleared: int
    in_flight: int
    held: int
    swept: int
    failed: int
    overdue: int


class RunBody(BaseModel):
    """A reconciliation run; `users` are those to be looked at, where that is known, `failures` the last one by node."""

    run: str
    source: str
    position: int
    scope: RunScope
    node: str | None
    state: Literal["running", "completed", "interrupted"]
    instance: str
    started_at: str
    ended_at: str | None
    duration_seconds: float | None
    users: int | None
    counts: RunCountsBody
    failures: dict[str, str]


class RunPage(BaseModel):
    items: list[RunBody]
    next: str | None


class DriftBody(BaseModel):
    """A difference between presence and polls: it began after `agreed_at` and before `disagreed_at`.

    `position` is of the event that first told of it, `last_position` of the last one.
    """

    uid: str
    source: str
    position: int
    kind: DriftKind
    state: Outcome
    agreed_at: str | None
    disagreed_at: str
    ended_at: str | None
    attributed_to: Attribution | None
    run: str
    node: str
    last_position: int


class DriftPage(BaseModel):
    items: list[DriftBody]
    next: str | None


class TierBody(BaseModel):
    """A user's tier, and the position of the event that says so."""

    uid: str
    tier: Tier | None
    position: int

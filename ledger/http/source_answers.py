"""The sources, their nodes and the instance's own health as the API answers them."""

from typing import Literal

from msgspec import Struct, field

from ledger.domain.instants import Timestamp
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import RunScope
from ledger.working_state.canaries import Outcome

Health = Literal["good", "degraded", "dark", "unreconciled"]


class BootBody(Struct):
    """The interval in which a node last booted."""

    earliest: Timestamp
    latest: Timestamp


class ApiHealth(Struct):
    """How a node's query API fares, as the leading instance last knew it; reasons in words, probes apart.

    `clock_offset_seconds`: by how much the node's clock is ahead of the service's, at least; null where it is not told.
    """

    last_good_at: Timestamp | None
    last_failure_at: Timestamp | None
    failures_in_a_row: int
    last_reason: str | None
    breaker: Literal["closed", "open", "half_open"]
    breaker_open_until: Timestamp | None
    last_good_probe_at: Timestamp | None
    probe_reason: str | None
    calls: int
    users_asked: int
    clock_offset_seconds: float | None


class ApiBody(Struct):
    """Whether a node has an `api_url`, and how its query API fares; null until it has been asked."""

    configured: bool
    health: ApiHealth | None


class CanaryLatency(Struct):
    """Seconds from the opening of the socket until the online's webhook was here, committed, told of by a stream.

    `stream` is null where there is no front, or it has not told of it in time.
    """

    webhook: float
    commit: float
    stream: float | None


class CanaryBody(Struct):
    """The user of our own who comes to a node and goes, as the leading instance last knew it.

    `last_visit_at` is when the last visit had ended, `outcome` what it came to; `lost` counts webhooks that have not
    come, `failing_since` is null while the last visit succeeded. `last_error` says why one did not: of a refusal it has
    WuKongIM's reason.
    """

    every_seconds: float
    visits: int
    lost: int
    outcome: Outcome | None
    last_visit_at: Timestamp | None
    last_success_at: Timestamp | None
    last_latency_seconds: CanaryLatency | None
    failing_since: Timestamp | None
    last_error_at: Timestamp | None
    last_error: str | None


class WebhookCounts(Struct):
    """Webhooks of a node since the instance started: taken, of other events and where these went, refused by reason."""

    accepted: int
    other_events: int
    forwarded: int
    not_forwarded: int
    refused_store_unavailable: int
    refused_source_unreadable: int
    refused_too_large: int
    refused_encoding: int
    refused_no_event: int


class NodeBody(Struct):
    """A node; `canary` is null where it has none, `since_start` is what this instance counted of its webhooks."""

    name: str
    profile: Profile
    last_webhook_at: Timestamp | None
    highest_conn_id: int
    down_since: Timestamp | None
    boot: BootBody | None
    api: ApiBody
    canary: CanaryBody | None
    since_start: WebhookCounts


class BreakerBody(Struct):
    """While it is open, corrections to offline are held."""

    open: bool
    until: Timestamp | None


class OpenRunBody(Struct):
    """A run that has not ended; `users` are those that were named."""

    run: str
    scope: RunScope
    node: str | None
    started_at: Timestamp
    users: int | None


class AllConnectionsBody(Struct):
    """The last look at all connections of all nodes: its `calls`, the `connections` found; null, 0 before the first.

    `contradicted` are those that nodes list though an offline has closed them. `seconds` is what the nodes took.
    """

    at_least_every_seconds: float
    asked_at: Timestamp | None
    calls: int
    connections: int
    contradicted: int
    seconds: float


class LooksBody(Struct):
    """How users are looked at now: `route` null while nothing would be believed; `because` in words.

    `all_connections` is null where not all nodes can be asked for theirs.
    """

    route: Literal["POST /user/onlinestatus", "GET /connz"] | None
    because: str
    all_connections: AllConnectionsBody | None


class SourceBody(Struct, kw_only=True):
    """A source as the ledger has it; `since_start` is what this instance counted.

    `health` has its `reasons`. `rhythm_seconds` is the usual time between two webhooks, `webhooks_silent` the alarm
    that they have stopped while queries answer.
    """

    name: str
    profile: Profile
    version: int
    health: Health
    reasons: list[str]
    last_webhook_at: Timestamp | None
    rhythm_seconds: float | None
    webhooks_silent: bool
    last_good_poll_at: Timestamp | None
    leader: str | None
    looks: LooksBody | None
    dark_since: Timestamp | None
    breaker: BreakerBody
    open_runs: list[OpenRunBody]
    retired_nodes: list[str]
    nodes: list[NodeBody]


class SourceItems(Struct):
    """The sources of the settings; `forbidden_since_start` are the webhooks that this instance refused."""

    items: list[SourceBody]
    forbidden_since_start: int


class LiveBody(Struct):
    """`ledger` is the one that the instance serves, for another that is to share its port."""

    status: Literal["live"]
    instance: str
    ledger: str


class ProjectionBody(Struct):
    """How far a projection has come; `lag` in positions."""

    state: str
    lag: int


class WentBackBody(Struct):
    """When the database was found to lack commits that had been known, and between which positions."""

    at: Timestamp
    from_: int | None = field(name="from")
    to: int | None
    being_checked: bool


class LedgerBody(Struct):
    """Which ledger this is; `went_back` is null unless its database once lacked commits that had been known."""

    id: str
    epoch: str
    went_back: WentBackBody | None


class SpoolBody(Struct):
    """What waits in the spool; `since` null while webhooks no longer go there. `oldest_received_at` is about right."""

    since: Timestamp | None
    deliveries: int
    bytes: int
    max_bytes: int
    oldest_received_at: Timestamp | None


class ReadyBody(Struct, kw_only=True):
    """`head` is the ledger's last position; `database_clock_offset_seconds`, how far the database's clock is ahead.

    `status` is `spooling` while webhooks are taken into the spool. What PostgreSQL says is null while it is away.
    `spooling` is null while the spool is empty.
    """

    status: Literal["ready", "spooling"]
    instance: str
    head: int | None
    projections: dict[str, ProjectionBody]
    ledger: LedgerBody | None
    database_clock_offset_seconds: float | None
    spooling: SpoolBody | None
    warnings: list[str]

"""What the file and the environment may say: the tables, with the bounds and the default of every setting."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.reach_policy import DEFAULT_REACH
from ledger.settings.alert_tables import AlertsTable, NotifyTable
from ledger.settings.canaries import canary_uid
from ledger.settings.model import LogFormat, LogLevel, MetricsScope
from ledger.settings.sinks import SinkKind, webhook_signing_secret
from ledger.settings.table import Table
from ledger.settings.values import (
    YEAR_SECONDS,
    Address,
    ApiKey,
    ApiUrl,
    ArchiveFolder,
    DatabaseUrl,
    Days,
    FilePath,
    Folder,
    ForwardUrl,
    HeaderValue,
    Interval,
    Name,
    NotEmpty,
    OneOrMore,
    OptionalAddress,
    ProfileName,
    Scope,
    SealKeyText,
    Seconds,
    SinkName,
    WebhookSecret,
    WebOrigin,
)

MAX_LIST_NAME_CHARACTERS = 256
MAX_TOKEN_CHARACTERS = 4096
MIB = 1_048_576
DEFAULT_SOURCE = "main"
DEFAULT_NODE = "n1"

DATABASE_URLS = ("database_url", "database_session_url")

SECRET_KEYS = frozenset({*DATABASE_URLS, "forward_url", "webhook_secret", "token", "key", "seal_keys", "url", "secret"})
"""No message and no listing shows the value of one of these."""


class NodeTable(Table):
    name: Name
    api_url: ApiUrl | None = None
    token: HeaderValue | None = None
    api_ca_file: FilePath | None = None
    profile: ProfileName | None = None


class CanaryTable(Table):
    node: Name
    address: Address
    uid: Annotated[str, AfterValidator(canary_uid)]
    token: Annotated[str, Field(max_length=MAX_TOKEN_CHARACTERS)] = ""
    device_flag: Annotated[int, Field(ge=0, le=255)] = 0
    every_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    wait_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0


class SourceTable(Table):
    name: Name
    profile: ProfileName = "v2.2"
    webhook_secret: OneOrMore[WebhookSecret] = Field(default=[])
    forward_url: ForwardUrl | None = None
    forward_presence: bool = False
    api_ca_file: FilePath | None = None
    nodes: NotEmpty[NodeTable] = Field(default=[NodeTable(name=DEFAULT_NODE)])
    canary: list[CanaryTable] = Field(default=[])


class PolicyTable(Table):
    """The fields are those of `ledger.domain.policy.Policy`, which holds the defaults."""

    grace_seconds: Seconds = DEFAULT_POLICY.grace_seconds
    reorder_seconds: Seconds = DEFAULT_POLICY.reorder_seconds
    dedupe_seconds: Seconds = DEFAULT_POLICY.dedupe_seconds
    dark_seconds: Seconds = DEFAULT_POLICY.dark_seconds
    tier_vip_seconds: Interval = DEFAULT_POLICY.tier_vip_seconds
    tier_normal_seconds: Interval = DEFAULT_POLICY.tier_normal_seconds
    tier_cold_seconds: Interval = DEFAULT_POLICY.tier_cold_seconds
    confirm_seconds: Seconds = DEFAULT_POLICY.confirm_seconds
    confirmations: Annotated[int, Field(ge=1, le=100)] = DEFAULT_POLICY.confirmations
    breaker_share: Annotated[float, Field(ge=0, le=1)] = DEFAULT_POLICY.breaker_share
    breaker_minimum: Annotated[int, Field(ge=1, le=1_000_000_000)] = DEFAULT_POLICY.breaker_minimum
    breaker_seconds: Interval = DEFAULT_POLICY.breaker_seconds
    breaker_hold_seconds: Seconds = DEFAULT_POLICY.breaker_hold_seconds
    budget_calls: Annotated[float, Field(gt=0, le=1_000_000)] = DEFAULT_POLICY.budget_calls
    budget_users: Annotated[float, Field(ge=1, le=1_000_000_000)] = DEFAULT_POLICY.budget_users


class PolicySection(PolicyTable):
    """All of `[policy]`: the numbers of the rules, and those of `ledger.domain.reach.ReachPolicy`."""

    reach_verified_seconds: Seconds = DEFAULT_REACH.reach_verified_seconds
    reach_any_device: bool = DEFAULT_REACH.reach_any_device


class ApiKeyTable(Table):
    key: ApiKey
    scopes: NotEmpty[Scope]


class SinkTable(Table):
    """All that sinks of any kind may say; `sink_kinds` knows which kind may say what."""

    name: SinkName
    kind: SinkKind
    url: str = ""
    secret: OneOrMore[Annotated[str, AfterValidator(webhook_signing_secret)]] = Field(default=[])
    list: Annotated[str, Field(max_length=MAX_LIST_NAME_CHARACTERS)] = ""
    coalesce_seconds: Annotated[float, Field(ge=0, le=3600)] = 1.0
    every: bool = False
    batch: Annotated[int, Field(ge=1, le=10_000)] = 500
    source: str = ""
    from_uid: Annotated[str, Field(max_length=1024)] = ""
    sends_per_second: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    prefix: Annotated[str, Field(max_length=256)] = ""
    hot_seconds: Annotated[float, Field(ge=1, le=YEAR_SECONDS)] = 300.0


class AuditTable(Table):
    """All of `[audit]`: the log of who asked about whom."""

    reads: bool = False
    reads_days: Annotated[float, Field(gt=0, le=36_500)] = 90.0


class RetentionTable(Table):
    """All of `[retention]`: what leaves the database, and where it goes."""

    events_days: Days = 0.0
    archive_dir: ArchiveFolder = ""


class SettingsTable(Table):
    """The whole file."""

    data_dir: Folder = "./presence-ledger-data"
    database_url: DatabaseUrl = ""
    database_session_url: DatabaseUrl = ""
    database_wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    seal_keys: OneOrMore[SealKeyText] = Field(default=[])
    listen: Address = "127.0.0.1:8640"
    front_listen: OptionalAddress = "127.0.0.1:8641"
    front_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    front_origins: list[WebOrigin] = Field(default=[])
    metrics_scope: MetricsScope = "read"
    max_connections: Annotated[int, Field(ge=64, le=1_000_000)] = 4096
    max_body_bytes: Annotated[int, Field(ge=1024, le=1024 * MIB)] = 64 * MIB
    rejected_bytes: Annotated[int, Field(ge=0, le=MIB)] = 65_536
    store_wait_seconds: Annotated[float, Field(ge=0, le=60)] = 4.0
    queue_items: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    queue_bytes: Annotated[int, Field(ge=1024, le=65_536 * MIB)] = 64 * MIB
    group_items: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    spool_bytes: Annotated[int, Field(ge=0, le=1_048_576 * MIB)] = 1024 * MIB
    stale_seconds: Annotated[float, Field(ge=0, le=604_800)] = 900.0
    stale_users: Annotated[int, Field(ge=0, le=100_000_000)] = 100_000
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    sources: NotEmpty[SourceTable] = Field(default=[SourceTable(name=DEFAULT_SOURCE)])
    policy: PolicySection = PolicySection()
    api_keys: dict[Name, ApiKeyTable] = Field(default={})
    sinks: list[SinkTable] = Field(default=[])
    notify: list[NotifyTable] = Field(default=[])
    alerts: AlertsTable = AlertsTable()
    audit: AuditTable = AuditTable()
    retention: RetentionTable = RetentionTable()

"""What the file and the environment may say: the shape, the bounds and the default of every setting."""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from ledger import database_url
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.reach_policy import DEFAULT_REACH
from ledger.settings.alert_tables import AlertsTable, NotifyTable
from ledger.settings.canaries import canary_uid
from ledger.settings.model import Listen, LogFormat, LogLevel, MetricsScope
from ledger.settings.sinks import SinkKind, webhook_signing_secret
from ledger.settings.table import Table

MIN_SECRET_CHARACTERS = 8
MAX_SECRET_CHARACTERS = 256
MAX_LIST_NAME_CHARACTERS = 256
MAX_TOKEN_CHARACTERS = 4096
MIN_SEAL_KEY_CHARACTERS = 32
YEAR_SECONDS = 31_536_000
MIB = 1_048_576
DEFAULT_SOURCE = "main"
DEFAULT_NODE = "n1"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_PATH_SAFE = re.compile(r"[A-Za-z0-9._~-]+")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


T = TypeVar("T")


DATABASE_URLS = ("database_url", "database_session_url")

SECRET_KEYS = frozenset({*DATABASE_URLS, "forward_url", "webhook_secret", "token", "key", "seal_keys", "url", "secret"})
"""No message and no listing shows the value of one of these."""


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be 1 to 64 ASCII letters, digits or . _ ~ -, starting with a letter or digit: "
            "it is part of the webhook's path"
        )
    return value


def _sink_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 ASCII letters, digits or . _ ~ -, starting with a letter or digit")
    return value


def _long_enough(value: str) -> None:
    _check_length(value, MIN_SECRET_CHARACTERS, "anyone who guesses it is let in")


def _check_length(value: str, least: int, reason: str) -> None:
    if not least <= len(value) <= MAX_SECRET_CHARACTERS:
        raise ValueError(f"must have {least} to {MAX_SECRET_CHARACTERS} characters, not {len(value)}: {reason}")


def _webhook_secret(value: str) -> str:
    _long_enough(value)
    if not _PATH_SAFE.fullmatch(value):
        raise ValueError("may contain only ASCII letters, digits and . _ ~ -: it is part of the webhook's path")
    return value


def _api_key(value: str) -> str:
    _long_enough(value)
    return _header_value(value)


def _seal_key(value: str) -> str:
    _check_length(value, MIN_SEAL_KEY_CHARACTERS, "anyone who guesses it can rewrite the ledger unseen")
    if not _VISIBLE.fullmatch(value) or "," in value:
        raise ValueError("may contain only visible ASCII characters, without blanks and commas")
    return value


def _header_value(value: str) -> str:
    if not _VISIBLE.fullmatch(value):
        raise ValueError("may contain only visible ASCII characters, without blanks: it is sent in a header")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _not_empty(value: list[T]) -> list[T]:
    if not value:
        raise ValueError("is an empty list; leave the key out, or give at least one")
    return value


def _api_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like http://127.0.0.1:5001")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be only an address; the managerToken goes into `token`")
    return value.rstrip("/")


def _forward_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like http://app:8090/v1/webhook")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query: the event's name comes in the one that WuKongIM sends")
    return value


def _database_url(value: str) -> str:
    if _BAD_PERCENT.search(value):
        raise ValueError("contains a % that does not begin an escape: write %25 for a percent sign")
    if value:
        database_url.read(value)
    return value


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    return parts


def _path(value: str) -> str:
    return _expanded(value, "a folder")


def _optional_path(value: str) -> str:
    return _path(value) if value else value


def _days(value: float) -> float:
    # Streams and sinks are promised the changes of a day.
    if 0 < value < 1:
        raise ValueError("must be 0, for never, or at least 1")
    return value


def _file_path(value: str) -> str:
    return _expanded(value, "a file")


def _expanded(value: str, what: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError(f"must be the path of {what}")
    try:
        return str(Path(value).expanduser())
    except RuntimeError as error:
        raise ValueError("names the home of a user who does not exist") from error


def _listen(value: str) -> str:
    parse_listen(value)
    return value


def _front_listen(value: str) -> str:
    return _listen(value) if value else value


def _origin(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("must be a web origin like https://app.example, without a path")
    return value


def parse_listen(value: str) -> Listen:
    """Reads `host:port`, an IPv6 host in brackets. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or any(blank in host for blank in " \t/"):
        raise ValueError("must be host:port like 127.0.0.1:8640 or [::1]:8640")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("must end in a port from 1 to 65535")
    return Listen(host.strip("[]"), int(port))


Name = Annotated[str, AfterValidator(_name)]
ProfileName = Literal["v1", "v2.1", "v2.2", "v3"]
Scope = Literal["read", "watch", "audit", "admin"]
Seconds = Annotated[float, Field(ge=0, le=YEAR_SECONDS)]
Interval = Annotated[float, Field(ge=0.1, le=YEAR_SECONDS)]


class NodeTable(Table):
    name: Name
    api_url: Annotated[str, AfterValidator(_api_url)] | None = None
    token: Annotated[str, AfterValidator(_header_value)] | None = None
    api_ca_file: Annotated[str, AfterValidator(_file_path)] | None = None
    profile: ProfileName | None = None


class CanaryTable(Table):
    node: Name
    address: Annotated[str, AfterValidator(_listen)]
    uid: Annotated[str, AfterValidator(canary_uid)]
    token: Annotated[str, Field(max_length=MAX_TOKEN_CHARACTERS)] = ""
    device_flag: Annotated[int, Field(ge=0, le=255)] = 0
    every_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    wait_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0


class SourceTable(Table):
    name: Name
    profile: ProfileName = "v2.2"
    webhook_secret: Annotated[
        list[Annotated[str, AfterValidator(_webhook_secret)]],
        AfterValidator(_not_empty),
        BeforeValidator(_as_list),
    ] = Field(default=[])
    forward_url: Annotated[str, AfterValidator(_forward_url)] | None = None
    forward_presence: bool = False
    api_ca_file: Annotated[str, AfterValidator(_file_path)] | None = None
    nodes: Annotated[list[NodeTable], AfterValidator(_not_empty)] = Field(default=[NodeTable(name=DEFAULT_NODE)])
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
    key: Annotated[str, AfterValidator(_api_key)]
    scopes: Annotated[list[Scope], AfterValidator(_not_empty)]


class SinkTable(Table):
    """All that sinks of any kind may say; `sink_kinds` knows which kind may say what."""

    name: Annotated[str, AfterValidator(_sink_name)]
    kind: SinkKind
    url: str = ""
    secret: Annotated[
        list[Annotated[str, AfterValidator(webhook_signing_secret)]],
        AfterValidator(_not_empty),
        BeforeValidator(_as_list),
    ] = Field(default=[])
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

    events_days: Annotated[float, Field(ge=0, le=36_500), AfterValidator(_days)] = 0.0
    archive_dir: Annotated[str, AfterValidator(_optional_path)] = ""


class SettingsTable(Table):
    """The whole file."""

    data_dir: Annotated[str, AfterValidator(_path)] = "./presence-ledger-data"
    database_url: Annotated[str, AfterValidator(_database_url)] = ""
    database_session_url: Annotated[str, AfterValidator(_database_url)] = ""
    database_wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    seal_keys: Annotated[
        list[Annotated[str, AfterValidator(_seal_key)]],
        AfterValidator(_not_empty),
        BeforeValidator(_as_list),
    ] = Field(default=[])
    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8640"
    front_listen: Annotated[str, AfterValidator(_front_listen)] = "127.0.0.1:8641"
    front_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    front_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(default=[])
    metrics_scope: MetricsScope = "read"
    max_connections: Annotated[int, Field(ge=64, le=1_000_000)] = 4096
    max_body_bytes: Annotated[int, Field(ge=1024, le=1024 * MIB)] = 64 * MIB
    rejected_bytes: Annotated[int, Field(ge=0, le=MIB)] = 65_536
    store_wait_seconds: Annotated[float, Field(ge=0, le=60)] = 4.0
    queue_items: Annotated[int, Field(ge=1, le=100_000_000)] = 200_000
    queue_bytes: Annotated[int, Field(ge=1024, le=65_536 * MIB)] = 64 * MIB
    group_items: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    spool_bytes: Annotated[int, Field(ge=0, le=1_048_576 * MIB)] = 1024 * MIB
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    sources: Annotated[list[SourceTable], AfterValidator(_not_empty)] = Field(
        default=[SourceTable(name=DEFAULT_SOURCE)]
    )
    policy: PolicySection = PolicySection()
    api_keys: dict[Name, ApiKeyTable] = Field(default={})
    sinks: list[SinkTable] = Field(default=[])
    notify: list[NotifyTable] = Field(default=[])
    alerts: AlertsTable = AlertsTable()
    audit: AuditTable = AuditTable()
    retention: RetentionTable = RetentionTable()

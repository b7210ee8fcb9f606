"""The settings as the rest of the product sees them: frozen values, each with where it came from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from ledger.alerts.thresholds import Thresholds
from ledger.archive_folder import Folder
from ledger.database_url import SettingUrl
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reach_policy import ReachPolicy
from ledger.settings.canaries import CanarySettings
from ledger.settings.notices import NotifySettings
from ledger.settings.sinks import RedisSettings, SinkSettings

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]
MetricsScope = Literal["none", "read", "audit", "admin"]


@dataclass(frozen=True)
class Origin:
    """Where a value came from; `where` is `file:line`, the variable's name, or empty for a default."""

    kind: Literal["default", "file", "environment"]
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


SCOPES = ("read", "watch", "audit", "admin")
"""What an API key may do."""

_INCLUDED: Mapping[str, frozenset[str]] = {
    "read": frozenset({"read"}),
    "watch": frozenset({"read", "watch"}),
    "audit": frozenset({"read", "audit"}),
    "admin": frozenset(SCOPES),
}


def with_implied(scopes: Iterable[str]) -> frozenset[str]:
    """Returns the scopes with all that they include. Raises KeyError for one that does not exist."""
    return frozenset[str]().union(*(_INCLUDED[scope] for scope in scopes))


_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared with, not listened on)


class Listen(NamedTuple):
    """The address that the service listens on; an IPv6 host stands without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local_url(self) -> str:
        """The address by which this machine reaches the service."""
        return f"http://{self._replace(host=_REACHED_AT.get(self.host, self.host))}"


@dataclass(frozen=True)
class NodeSettings:
    """One server of a source. Without `api_url` nothing is reconciled through it."""

    name: str
    api_url: str | None = None
    token: str | None = field(default=None, repr=False)
    profile: Profile | None = None
    """The node's own profile, where it differs from its source's."""
    api_ca_file: Path | None = None
    """The certificate authority that alone is trusted, absolute: its own or its source's. None: the well-known ones."""


@dataclass(frozen=True)
class SourceSettings:
    """One IM cluster. Without `webhook_secrets` the secret is made and kept in the data folder."""

    name: str
    profile: Profile
    nodes: tuple[NodeSettings, ...]
    dark_seconds: float
    """The policy's number, or 0 (never) where it was not set and no node has an `api_url`."""
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Newest first; each of them is accepted."""
    forward_url: str | None = field(default=None, repr=False)
    """Where the webhooks of other events go on to; None: nowhere, they are acknowledged."""
    forward_presence: bool = False
    """Whether presence goes there, too, after its commit."""
    canaries: tuple[CanarySettings, ...] = ()

    def profile_for(self, node: NodeSettings) -> Profile:
        return node.profile or self.profile


@dataclass(frozen=True)
class ApiKeySettings:
    """A fixed API key; `scopes` holds the included ones as well."""

    name: str
    scopes: frozenset[str]
    key: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, valid and complete. Secrets are left out of `repr`."""

    file: Path | None
    """The file that was read; None where there is none."""
    data_dir: Path
    """Absolute."""
    database_url: str = field(repr=False)
    """`postgresql://…`; empty for the embedded database."""
    database_session_url: str = field(repr=False)
    """The way to the same database for what holds a session, where `database_url` is a pool that lends none."""
    database_wait_seconds: float
    seal_keys: tuple[str, ...] = field(repr=False)
    """Newest first; the first one seals, all of them verify. Empty: the key is made and kept in the data folder."""
    listen: Listen
    front_listen: Listen | None
    """What apps and people connect to; None: there is no front."""
    front_connections: int
    """Streams at once."""
    front_origins: tuple[str, ...]
    """Web origins whose pages may use the front from a browser."""
    sources: tuple[SourceSettings, ...]
    policy: Policy
    reach: ReachPolicy
    """What of `[policy]` decides nothing on record: when a push notification is to be sent."""
    api_keys: tuple[ApiKeySettings, ...]
    sinks: tuple[SinkSettings, ...]
    notify: tuple[NotifySettings, ...]
    """Who is told of alerts."""
    alerts: Thresholds
    reads: bool
    """Whether it is logged who asks about whom, …"""
    reads_days: float
    """… and kept for so long."""
    events_days: float
    """Events of users that are older leave the database; 0: none does."""
    archive_dir: Folder
    """The folder of their files."""
    metrics_scope: MetricsScope
    max_connections: int
    max_body_bytes: int
    rejected_bytes: int
    store_wait_seconds: float
    queue_items: int
    queue_bytes: int
    group_items: int
    spool_bytes: int
    """What webhooks may take in `data_dir` while PostgreSQL is away; 0: they are refused."""
    stale_seconds: float
    """So long after that presences are answered from memory, marked; 0: not at all."""
    stale_users: int
    """Users who are remembered for that."""
    log_level: LogLevel
    log_format: LogFormat
    origins: Mapping[str, Origin]
    """By key as in `policy.grace_seconds` or `sources[0].nodes[0].token`; a key that is missing has its default."""

    @property
    def sessions_url(self) -> str:
        """Where a connection is a session of PostgreSQL's; empty for the embedded database."""
        if self.database_session_url:
            return SettingUrl(self.database_session_url, "database_session_url")
        return self.database_url

    @property
    def asked_again_seconds(self) -> float | None:
        """As often somebody has to hear of each user who is asked about; None where nobody keeps hot users."""
        return min([sink.hot_seconds / 2 for sink in self.sinks if isinstance(sink, RedisSettings)], default=None)

    def origin(self, key: str) -> Origin:
        return self.origins.get(key, Origin("default"))

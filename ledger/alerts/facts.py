"""What alerts are decided on: figures of the service and its sources at an instant. None: it is not known now."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from ledger.domain.mismatch import Mismatch
from ledger.domain.observation import Instant

WrongServer = Literal["strangers", "same_server", "posts_as_other"]
"""Nobody whom webhooks name is found by queries; two nodes' addresses lead to one server; a node's webhooks come from
another node's address."""


class NodeFacts(NamedTuple):
    """A node of a source's settings."""

    name: str
    profile: str = ""
    down_since: Instant | None = None
    failing: bool = False
    """Whether its query API answered neither the last question nor the last probe well."""
    failures: int = 0
    reason: str = ""
    token: Literal["good", "missing", "refused"] = "good"  # noqa: S105
    mismatch: Mismatch | None = None
    counts_tell: bool = True
    """Whether enough is known of how it counts to say that its profile is right."""
    same_server_as: str | None = None
    posts_as_other: str | None = None
    """The address that its webhooks come from, which is another node's."""
    posts_tell: bool = True
    """Whether it has posted since anybody looked."""
    forbidden: int = 0
    """Webhooks refused for their secret within the window."""
    untold_users: int = 0
    """Whose changes no webhook told of since its last one, while the other nodes went on."""
    untold_since: Instant | None = None
    last_webhook_at: Instant | None = None
    clock_offset_seconds: float | None = None
    """By how much its clock is ahead of ours, at least."""
    canary: "CanaryFacts | None" = None


class CanaryFacts(NamedTuple):
    """A user of our own who comes and goes through a node."""

    last_seen_at: Instant
    """When it was last seen all the way from its socket to the ledger; when it began, where it never was."""
    reason: str
    every_seconds: float = 0.0
    """Between two visits."""


class DriftFacts(NamedTuple):
    """Users who were found to be shown wrongly within the window, of one cause."""

    cause: Literal["restart", "node", "lost"]
    users: int
    node: str = ""
    """That booted or was down."""
    boot: int = 0
    """The position of its boot."""
    causes: Mapping[str, int] = {}
    """Of those lost, how many for each attribution."""


class LossFacts(NamedTuple):
    """Transitions within a window, and those that no webhook told of."""

    transitions: int
    lost: int

    @property
    def share(self) -> float:
        return self.lost / self.transitions if self.transitions else 0.0


class SourceFacts(NamedTuple):
    """A source of the settings."""

    name: str
    nodes: Sequence[NodeFacts] = ()
    is_led: bool = True
    """Whether an instance reconciles it now, and says how it fares."""
    dark_since: Instant | None = None
    breaker_until: Instant | None = None
    untold_users: int = 0
    """Whose changes no webhook told of, since the last one that came."""
    untold_since: Instant | None = None
    last_webhook_at: Instant | None = None
    listening_since: Instant | None = None
    """Since when it is known whether webhooks tell of changes: the leading instance has seen none before."""
    strangers: int = 0
    """Users in a row whom webhooks named as online and queries did not find, while webhooks came."""
    looks_tell: bool = True
    """Whether any such user has been looked at."""
    counting_seconds: float = float("inf")
    """Since when drifts are counted."""
    forbidden: int = 0
    """Webhooks refused within the window for a node's name that the settings do not have."""
    looked: int = 0
    """Users looked at within the window."""
    drifts: Sequence[DriftFacts] = ()
    loss: Mapping[float, LossFacts] | None = None
    """By the seconds of each window of `webhook_loss_budget`."""


class ProjectionFacts(NamedTuple):
    name: str
    lag: int
    stopped_position: int | None = None
    reason: str = ""


class SinkFacts(NamedTuple):
    name: str
    failing_since: Instant | None = None
    reason: str = ""
    is_stopped: bool = False
    """Its receiver wants no more."""


class InstanceFacts(msgspec.Struct, frozen=True):
    """What an instance alone knows. `host` is its machine."""

    host: str
    folder: str = ""
    free_bytes: int | None = None
    size_bytes: int = 0
    clock_offset_seconds: float | None = None
    """By how much the database's clock is ahead of its own, at least."""
    spool_bytes: int = 0
    """What its spool takes, and may take at most; 0: it has none."""
    spool_max_bytes: int = 0
    spooled: int = 0
    """Webhooks in it."""
    archive_failing_since: Instant | None = None
    """Since when nothing could be archived, …"""
    archive_reason: str = ""
    """… why not, …"""
    archive_waits: bool = False
    """… and whether that will pass."""


class NotifyFacts(NamedTuple):
    name: str
    failing_since: Instant | None = None
    reason: str = ""
    waiting: int = 0
    tells: bool = True
    """Whether anything has been told since it began, so that it is known to work."""


class StoreFacts(NamedTuple):
    failing_since: Instant
    reason: str
    is_spooled: bool = False
    """Webhooks are taken all the same."""


class AlertFacts(NamedTuple):
    """Everything at an instant."""

    at: Instant
    counting_seconds: float = float("inf")
    """Since when every instance counts the webhooks that it refuses."""
    forbidden: int = 0
    """Webhooks refused within the window for a source's name that the settings do not have."""
    sources: Sequence[SourceFacts] | None = None
    """Those whose state can be read."""
    unreadable: Sequence[str] = ()
    """The others."""
    projections: Sequence[ProjectionFacts] | None = None
    sinks: Sequence[SinkFacts] | None = None
    instances: Sequence[InstanceFacts] = ()
    notify: Sequence[NotifyFacts] = ()
    store: StoreFacts | None = None
    """Why PostgreSQL takes nothing; None: it does."""

"""What a source knows of each of its nodes, and of its runs under way."""

import msgspec

from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import RunScope


class NodeState(msgspec.Struct, frozen=True, gc=False):
    """What a node told of itself by its webhooks."""

    highest_conn_id: int = 0
    """The highest connId that its onlines have named since its last known boot."""
    last_webhook_at: Instant | None = None
    down_since: Instant | None = None
    """Sessions without evidence after it are in doubt, until the node is settled."""
    boot: tuple[Instant, Instant] | None = None
    """The interval in which it last booted, once that is known."""
    boot_position: int = 0
    """Of the event that proved it."""
    node_id: int | None = None
    """The number that the cluster gives it."""
    swept: bool = True
    """Whether what its last boot ended has been swept."""


class OpenRun(msgspec.Struct, frozen=True, gc=False):
    """A run that has begun and not ended."""

    started_at: Instant
    scope: RunScope
    node: str | None = None
    uids: tuple[str, ...] = ()

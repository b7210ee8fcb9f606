"""What an import brings: the states that users and sources had where a slice of another ledger begins."""

from typing import Literal

import msgspec
from msgspec.structs import replace

from ledger.domain.events import Status
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.recent import Body


class PresenceImported(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """A user's presence as of their last event before the slice, whose place in their stream it takes."""

    received_at: Instant
    """When that event had been recorded."""
    status_before: Status
    status_after: Status
    presence: Presence
    verdict: Literal["imported"] = "imported"
    rule: str = "state_before_slice"


class SourceImported(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A source's state as of its last event before the slice; the fields are those of the state."""

    version: int
    policy: Policy
    profile: Profile
    node_profiles: dict[str, Profile]
    nodes: dict[str, NodeState]
    recent: tuple[Body, ...]
    """The bodies of its dedupe window, oldest first."""
    last_webhook_at: Instant | None
    dark_since: Instant | None
    open_runs: dict[str, OpenRun]
    breaker_until: Instant | None
    lost_node_at: Instant | None
    retired: dict[str, int]
    rules_version: int
    clustered_until: Instant | None = None


def as_imported(presence: Presence, recorded_at: Instant) -> PresenceImported:
    """The event that carries a presence into another ledger."""
    status = presence.status
    return PresenceImported(received_at=recorded_at, status_before=status, status_after=status, presence=presence)


def without_doubts_after(state: SourceImported, at: Instant) -> SourceImported:
    """What an imported state tells of an instant that may lie before the slice: darkness and downs that had begun."""
    nodes = {name: replace(node, down_since=_begun_by(node.down_since, at)) for name, node in state.nodes.items()}
    return replace(state, nodes=nodes, dark_since=_begun_by(state.dark_since, at))


def _begun_by(since: Instant | None, at: Instant) -> Instant | None:
    return None if since is None or since > at else since

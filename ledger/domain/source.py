"""The state of a source: its configuration, what its nodes named last, the bodies it sent lately; its rules."""

from typing import NamedTuple

import msgspec

from ledger.domain.events import Configured, DeliveryReceived, SourceEvent
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import COUNTING, Counting, Profile
from ledger.domain.recent import NO_BODIES, RecentBodies


class NodeState(msgspec.Struct, frozen=True, gc=False):
    """What a node told of itself by its webhooks."""

    highest_conn_id: int = 0
    """The highest connId its onlines named since it was last suspected of a restart."""
    last_webhook_at: Instant | None = None
    down_since: Instant | None = None


class SourceState(msgspec.Struct, frozen=True):
    """One source, folded from its stream; version 0 is a source that never started."""

    name: str
    version: int = 0
    policy: Policy = DEFAULT_POLICY
    profile: Profile = Profile.V2_2
    node_profiles: dict[str, Profile] = {}
    nodes: dict[str, NodeState] = {}
    recent: RecentBodies = NO_BODIES
    last_webhook_at: Instant | None = None
    dark_since: Instant | None = None

    def counting(self, node: str) -> Counting:
        """How the counts of this node's webhooks are to be read."""
        return COUNTING[self.node_profiles.get(node, self.profile)]


class Delivery(NamedTuple):
    """One webhook POST with what its parsing found."""

    delivery: str
    source: str
    node: str
    received_at: Instant
    digest: str
    size: int
    items: int
    rejected: int
    conn_ids: tuple[int, int]
    """The lowest and the highest connId that its onlines name; (0, 0) where there is none."""


def decide_delivery(source: SourceState, delivery: Delivery) -> DeliveryReceived:
    """The event of a delivery: whether its node said the same body before, and whether it may have booted."""
    since = delivery.received_at - round(source.policy.dedupe_seconds * SECOND)
    first = source.recent.find(delivery.node, delivery.digest, since)
    lowest, highest = delivery.conn_ids
    known = source.nodes.get(delivery.node, NodeState()).highest_conn_id
    return DeliveryReceived(
        delivery=delivery.delivery,
        node=delivery.node,
        received_at=delivery.received_at,
        digest=delivery.digest,
        size=delivery.size,
        items=delivery.items,
        rejected=delivery.rejected,
        repeats=None if first is None else first.delivery,
        first_received_at=None if first is None else first.received_at,
        highest_conn_id=highest,
        suspects_restart=first is None and _names_its_own(source, delivery.node) and 0 < lowest <= known,
    )


def _names_its_own(source: SourceState, node: str) -> bool:
    """Whether the connIds a node sends are its own: where a cluster counts as a whole, the sender is not the holder."""
    return source.counting(node).node_local or len(source.node_profiles) <= 1


def evolve_source(source: SourceState, event: SourceEvent) -> SourceState:
    """The source after one more event of its stream."""
    version = source.version + 1
    if isinstance(event, DeliveryReceived):
        return _after_delivery(source, event, version)
    if isinstance(event, Configured):
        return msgspec.structs.replace(
            source, version=version, policy=event.policy, profile=event.profile, node_profiles=event.nodes
        )
    return msgspec.structs.replace(source, version=version)


def _after_delivery(source: SourceState, event: DeliveryReceived, version: int) -> SourceState:
    known = source.nodes.get(event.node, NodeState())
    highest = event.highest_conn_id if event.suspects_restart else max(known.highest_conn_id, event.highest_conn_id)
    at = max(event.received_at, source.last_webhook_at or event.received_at)
    keep_since = at - round(source.policy.dedupe_seconds * SECOND)
    return SourceState(
        source.name,
        version,
        source.policy,
        source.profile,
        source.node_profiles,
        {**source.nodes, event.node: NodeState(highest, event.received_at, known.down_since)},
        source.recent.remember(event.node, event.digest, event.delivery, event.received_at, keep_since),
        at,
        source.dark_since,
    )

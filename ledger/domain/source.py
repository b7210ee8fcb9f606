"""The state of a source: its configuration, what its nodes named last, the bodies it sent lately; its rules."""

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured, DeliveryReceived
from ledger.domain.imported import SourceImported
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.presence import Device, Session
from ledger.domain.profile import COUNTING, Counting, Profile
from ledger.domain.recent import NO_BODIES, Body, RecentBodies
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    NodeBooted,
    NodeDown,
    NodeSettled,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
)


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
    open_runs: dict[str, OpenRun] = {}
    breaker_until: Instant | None = None
    """While the breaker is open: until when it holds corrections to offline."""
    lost_node_at: Instant | None = None
    """When a node of the cluster was last lost, or found to have booted."""
    retired: dict[str, int] = {}
    """Nodes that the configuration no longer names and whose sessions are still to be swept, with its position."""
    rules_version: int = 0
    """Of the rules that the last configuration announced."""
    clustered_until: Instant | None = None
    """When the configuration last named several nodes that count together, and does so no longer."""

    @property
    def holders_known(self) -> bool:
        """Whether the node that tells of a session is the one that holds it: in v1/v2 clusters it is not."""
        return len(self.node_profiles) <= 1 or all(self.counting(node).node_local for node in self.node_profiles)

    @property
    def absence_tells(self) -> bool:
        """Whether who has no row of `/user/onlinestatus` is offline.

        A new slot leader of a v2 cluster never learns the connections that exist, so that it has no row of some for as
        long as they live; and so it is with the node that is left of a cluster, until it boots.
        """
        if not self.holders_known:
            return False
        if self.clustered_until is None:
            return True
        return all(
            state.boot is not None and state.boot[0] > self.clustered_until
            for state in (self.nodes.get(name, NodeState()) for name in self.node_profiles)
        )

    def holder(self, device: Device, session: Session) -> str | None:
        """The node that holds a session's socket, if that is known."""
        if session.held_by is not None or not self.holders_known:
            return session.held_by
        # In a cluster that counts node by node only a query has not told where: it speaks for all nodes.
        return session.node if device.scope or len(self.node_profiles) <= 1 else None

    def may_hold(self, device: Device, session: Session, node: str) -> bool:
        """Whether a node may hold a session's socket: not one that was down before the last word of the session."""
        holder = self.holder(device, session)
        if holder is not None:
            return holder == node
        down_since = self.nodes.get(node, NodeState()).down_since
        return down_since is None or session.seen_at <= down_since

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
    following: int = 0
    """Rejected items that stand in the event of another one."""
    spooled: bool = False
    """It waited in a spool."""


def decide_delivery(source: SourceState, delivery: Delivery) -> DeliveryReceived:
    """The event of a delivery: whether its node said the same body before, and whether that is a POST sent again."""
    since = delivery.received_at - round(source.policy.dedupe_seconds * SECOND)
    first = source.recent.find(delivery.node, delivery.digest, since)
    lowest, highest = delivery.conn_ids
    return DeliveryReceived(
        delivery=delivery.delivery,
        node=delivery.node,
        received_at=delivery.received_at,
        digest=delivery.digest,
        size=delivery.size,
        items=delivery.items,
        rejected=delivery.rejected,
        following=delivery.following,
        repeats=None if first is None else first.delivery,
        first_received_at=None if first is None else first.received_at,
        lowest_conn_id=lowest,
        highest_conn_id=highest,
        anew=first is not None and (_went_on(source, delivery, first) or _booted(source, delivery.node, first)),
        spooled=delivery.spooled,
    )


def _went_on(source: SourceState, delivery: Delivery, first: Body) -> bool:
    """Whether the node has posted something else since: one that posts in turn does not come back to what it was told
    is stored, or has dropped. Of several senders another one may have been quicker."""
    last = source.recent.last_of(delivery.node)
    if last is None or source.counting(delivery.node).may_overtake:
        return False
    return last != first and first.received_at <= last.received_at <= delivery.received_at


def _booted(source: SourceState, node: str, first: Body) -> bool:
    """Whether the connIds it names have started over since, or may have: a boot's instant is an interval."""
    boots = [state.boot for name, state in source.nodes.items() if name == node or not _names_its_own(source, node)]
    return any(boot is not None and boot[1] > first.received_at for boot in boots)


def _names_its_own(source: SourceState, node: str) -> bool:
    """Whether the connIds a node sends are its own: where a cluster counts as a whole, the sender is not the holder."""
    return source.counting(node).node_local or len(source.node_profiles) <= 1


def evolve_source(source: SourceState, event: SourceEvent, position: int) -> SourceState:
    """The source after one more event of its stream, stored at that position of the ledger."""
    version = source.version + 1
    if isinstance(event, DeliveryReceived):
        return _after_delivery(source, event, version)
    if isinstance(event, Configured):
        retired = {name: position for name in source.node_profiles if name not in event.nodes}
        kept = {name: at for name, at in source.retired.items() if name not in event.nodes}
        return replace(
            source,
            clustered_until=source.clustered_until if source.holders_known else event.at,
            version=version,
            policy=event.policy,
            profile=event.profile,
            node_profiles=event.nodes,
            nodes={name: node for name, node in source.nodes.items() if name in event.nodes},
            retired=kept | retired,
            rules_version=event.rules_version,
        )
    if isinstance(event, SourceImported):
        return _imported(source.name, event)
    return replace(_after_reconciled(source, event, position), version=version)


def as_imported(source: SourceState) -> SourceImported:
    """The event that carries a source's state into another ledger."""
    fields = {name: getattr(source, name) for name in SourceState.__struct_fields__ if name not in ("name", "recent")}
    return SourceImported(recent=tuple(source.recent), **fields)


def _imported(name: str, event: SourceImported) -> SourceState:
    recent = NO_BODIES
    for body in event.recent:
        recent = recent.remember(*body, keep_since=0)
    fields = {field: getattr(event, field) for field in SourceImported.__struct_fields__ if field != "recent"}
    return SourceState(name=name, recent=recent, **fields)


def _after_reconciled(source: SourceState, event: SourceEvent, position: int) -> SourceState:
    """What reconciliation's events change; their version is the caller's to count."""
    match event:
        case NodeDown() | NodeBooted() | NodeSettled():
            return _after_node(source, event, position)
        case RunStarted(scope="manual", users=int(), uids=()):
            # A slice has cut out all the users it named: without any it would be a run of everybody.
            return source
        case RunStarted():
            run = OpenRun(event.at, event.scope, event.node, event.uids)
            return replace(source, open_runs={**source.open_runs, event.run: run})
        case RunEnded():
            runs = {run: opened for run, opened in source.open_runs.items() if run != event.run}
            return replace(source, open_runs=runs)
        case SourceDark():
            return replace(source, dark_since=event.since)
        case SourceLit():
            return replace(source, dark_since=None)
        case BreakerOpened():
            return replace(source, breaker_until=event.until)
        case BreakerClosed():
            return replace(source, breaker_until=None)
        case _:
            return source


def _after_node(source: SourceState, event: NodeDown | NodeBooted | NodeSettled, position: int) -> SourceState:
    node = source.nodes.get(event.node, NodeState())
    lost_at = source.lost_node_at
    retired = source.retired
    match event:
        case NodeDown():
            node = replace(node, down_since=node.down_since or event.since)
            lost_at = event.since
        case NodeBooted():
            # Until what it ended has been swept, what was known of it before is in doubt.
            node = replace(
                node,
                down_since=node.down_since if event.first else node.down_since or event.earliest,
                boot=(event.earliest, event.latest),
                boot_position=position,
                node_id=event.node_id if event.node_id is not None else node.node_id,
                swept=False,
                highest_conn_id=node.highest_conn_id if event.first else 0,
            )
            # The first boot that we learn of loses a node that had been heard before, if one is lost by it.
            was_heard = node.last_webhook_at is not None and node.last_webhook_at < event.earliest
            lost_at = lost_at if event.first and not was_heard else event.latest
        case _:
            node = replace(node, down_since=None, swept=True)
            retired = {name: at for name, at in retired.items() if name != event.node}
            if event.node not in source.node_profiles:
                return replace(source, retired=retired)
    nodes = {**source.nodes, event.node: node}
    return replace(source, nodes=nodes, lost_node_at=lost_at, retired=retired)


def _after_delivery(source: SourceState, event: DeliveryReceived, version: int) -> SourceState:
    known = source.nodes.get(event.node, NodeState())
    highest = max(known.highest_conn_id, event.highest_conn_id)
    at = max(event.received_at, source.last_webhook_at or event.received_at)
    keep_since = at - round(source.policy.dedupe_seconds * SECOND)
    heard_at = max(event.received_at, known.last_webhook_at or event.received_at)
    nodes = {**source.nodes, event.node: replace(known, highest_conn_id=highest, last_webhook_at=heard_at)}
    recent = source.recent.remember(event.node, event.digest, event.delivery, event.received_at, keep_since)
    return replace(source, version=version, nodes=nodes, recent=recent, last_webhook_at=at)

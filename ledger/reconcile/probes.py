"""Probes of one node, once a second: whether it answers, and whether it is still the process that it was.

Pure: what a probe brings goes in with its instants, events of the source come out.
"""

from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled
from ledger.sources.wukongim.answers import TOKEN_REFUSED, Boot, Unanswered

PROBE_SECONDS = 1.0
REFUSED_IN_A_ROW = 2
FAILED_IN_A_ROW = 5
SAME_BOOT = round(1.5 * SECOND)
"""Two statements of one boot may be so far apart: both round, and clocks drift."""

ProbeEvent = NodeDown | NodeBooted | NodeSettled


class NodeProbe:
    """What the probes of a node have said since this instance leads."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._failing_since: Instant | None = None
        self._refused = 0
        self._failed = 0
        self._refused_at: Instant | None = None
        """The last refusal: no process listened then."""
        self._answered_at: Instant | None = None
        """The last good answer's question: the process that gave it lived then."""
        self._lived = False
        """Whether anything was answered at the address, be it a refusal of the token."""
        self._boot: Boot | None = None

    def answered(
        self, boot: Boot, asked_at: Instant, at: Instant, state: NodeState, route: str, *, stepped: bool = False
    ) -> list[ProbeEvent]:
        """A good answer. `stepped`: our clock jumped since the last one, so that instants do not compare."""
        known = (self._boot.earliest, self._boot.latest) if self._boot is not None else state.boot
        events: list[ProbeEvent] = []
        if known is None or (not stepped and self._is_new(boot, known, at)):
            events.append(self._booted(boot, at, route, first=state.boot is None))
        elif state.down_since is not None and state.swept:
            events.append(NodeSettled(node=self.node, at=at))
        self._boot = boot
        self._answered_at = asked_at
        self._failing_since, self._refused, self._failed = None, 0, 0
        return events

    def _is_new(self, boot: Boot, known: tuple[Instant, Instant], at: Instant) -> bool:
        """A later boot, that did not happen before the last answer of the process that we knew, nor in the future."""
        if boot.earliest <= known[1] + (SAME_BOOT if self._boot is None else 0) or boot.earliest > at + SAME_BOOT:
            return False
        return self._answered_at is None or boot.latest + SAME_BOOT >= self._answered_at

    def _booted(self, boot: Boot, at: Instant, route: str, *, first: bool) -> NodeBooted:
        """The boot lies after all that the old process said and after the last refusal, as far as that fits."""
        earliest, latest = boot.earliest, min(boot.latest, at)
        for bound in (self._answered_at, self._refused_at):
            if bound is not None and not first and earliest < bound <= latest:
                earliest = bound
        return NodeBooted(
            node=self.node,
            at=at,
            earliest=min(earliest, latest),
            latest=latest,
            route=route,
            node_id=boot.node_id,
            first=first,
        )

    def failed(self, unanswered: Unanswered, asked_at: Instant, at: Instant, state: NodeState) -> list[ProbeEvent]:
        """A probe that brought no boot instant; one that was answered all the same is a sign of life.

        Of a node that was down and refuses our token it is not known whether it is the process that it was, and no look
        can tell: its sessions stay in doubt.
        """
        if unanswered.answered:
            self._lived = True
            self._failing_since, self._refused, self._failed = None, 0, 0
            is_settled = state.down_since is not None and state.swept and unanswered != TOKEN_REFUSED
            return [NodeSettled(node=self.node, at=at)] if is_settled else []
        if self._failing_since is None:
            self._failing_since = asked_at
        self._failed += 1
        self._refused = self._refused + 1 if unanswered.refused else 0
        if unanswered.refused:
            self._refused_at = asked_at
        if self._refused < REFUSED_IN_A_ROW and self._failed < FAILED_IN_A_ROW:
            return []
        heard = state.last_webhook_at
        # An address at which nobody ever answered is more likely wrong than its node is down.
        ever_answered = state.boot is not None or self._answered_at is not None or self._lived
        if state.down_since is not None or not ever_answered or (heard is not None and heard > self._failing_since):
            return []
        since = self._failing_since if heard is None else max(self._failing_since, heard)
        return [NodeDown(node=self.node, at=at, since=since, reason=unanswered.reason)]

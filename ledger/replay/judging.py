"""A slice judged again, event by event, beside what is on record: the same evidence, with the same or another policy.

What brings evidence alone (configurations, boots, darkness, runs, tiers) is taken as it was recorded.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ledger.domain.decide import decide
from ledger.domain.drift import swept_by_boot, swept_by_retirement
from ledger.domain.event_types import Event, UserEvent
from ledger.domain.events import Configured, DeliveryReceived, SessionId, WebhookObserved
from ledger.domain.imported import SourceImported
from ledger.domain.observation import Claim, Observation, parse_item
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Corrected, NodeSettled, PollObserved, Swept
from ledger.domain.source import Delivery, SourceState, decide_delivery
from ledger.reconcile import plan
from ledger.replay.judged import Judged, PlacedDraft
from ledger.replay.judging_polls import Polls
from ledger.replay.placed import Placed
from ledger.working_state.sources import changes_rules

NO_DELIVERY = "its delivery is not in the slice"
NO_POLL = "its poll is not in the slice"
NO_BOOT = "what is known of the node is not in the slice"

COUNTERFACTUAL_RUN = "replay"

_replace = msgspec.structs.replace


class Step(NamedTuple):
    """What an event came to, and of whom what is shown may be another now; `everybody`: of everybody."""

    judged: list[Judged]
    uids: Collection[str]
    everybody: bool = False


class Judge:
    """Two worlds side by side: as recorded, and as judged with the policy that `change` makes of each one recorded."""

    def __init__(self, change: Callable[[Policy], Policy]) -> None:
        self.recorded, self.replayed = PlacedDraft(), PlacedDraft()
        self._change = change
        self._polls = Polls(self.replayed)
        self._deliveries: dict[str, DeliveryReceived] = {}
        """The last of each source, as judged again: its items follow it at once."""
        self._parted: set[str] = set()
        """Users who are not in both worlds the same."""

    def begin(self, state: Placed) -> None:
        """Take the state of a user or a source where the slice begins."""
        self.recorded.put(state, state.event)
        self.replayed.put(state, self._changed(state.event))

    def step(self, together: Sequence[Placed]) -> Step:
        """Judge an event again, or a poll with the corrections that follow from it."""
        at = together[0]
        match at.event:
            case WebhookObserved() as event:
                judged = [self._item(at, event)]
            case Corrected() as event:
                judged = [self._put(at, event, NO_POLL, None)]
            case Swept() as event:
                judged = [self._sweep(at, event)]
            case DeliveryReceived() as event:
                judged = [self._delivery(at, event)]
            case PollObserved() as event:
                judged = self._polls.take(at, event, together[1:])
            case NodeSettled() as event:
                judged = list(self._sweep_parted(at, event.node))
                self.replayed.put(at, event)
            case event:
                judged = []
                self.replayed.put(at, self._changed(event))
        for each in together:
            self.recorded.put(each, each.event)
        touched = {each.uid for each in together if each.uid is not None}
        touched |= {each.uid for each in judged if each.uid is not None}
        self._note_parted(touched, judged)
        return Step(judged, touched, everybody=changes_rules(at.event))

    def _changed(self, event: Event) -> Event:
        """An event of a source with the policy to be tried."""
        if isinstance(event, Configured | SourceImported):
            return _replace(event, policy=self._change(event.policy))
        return event

    def _note_parted(self, uids: Collection[str], judged: Sequence[Judged]) -> None:
        if not self._parted and all(each.recorded == each.replayed for each in judged):
            return
        for uid in uids:
            if self.recorded.presence(uid) == self.replayed.presence(uid):
                self._parted.discard(uid)
            else:
                self._parted.add(uid)

    def _put(
        self, at: Placed, event: WebhookObserved | Corrected | Swept, why_not: str | None, replayed: Event | None
    ) -> Judged:
        """Take what an event of a user is now, or as it was recorded where that cannot be known."""
        if why_not is not None:
            replayed = event
        if replayed is not None:
            self.replayed.put(at, replayed)
        assert replayed is None or isinstance(replayed, UserEvent)
        return Judged(at.position, at.uid, (event,), () if replayed is None else (replayed,), why_not)

    def _delivery(self, at: Placed, event: DeliveryReceived) -> Judged:
        replayed = decide_delivery(
            self.replayed.source(at.source),
            Delivery(
                event.delivery,
                at.source,
                event.node,
                event.received_at,
                event.digest,
                event.size,
                event.items,
                event.rejected,
                (event.lowest_conn_id, event.highest_conn_id),
                event.following,
            ),
        )
        self.replayed.put(at, replayed)
        self._deliveries[at.source] = replayed
        return Judged(at.position, None, (event,), (replayed,))

    def _item(self, at: Placed, event: WebhookObserved) -> Judged:
        assert at.uid is not None
        delivery = self._deliveries.get(event.source)
        claim = parse_item(event.raw)
        if delivery is None or delivery.delivery != event.delivery or not isinstance(claim, Claim):
            return self._put(at, event, NO_DELIVERY, None)
        observation = Observation(
            claim,
            event.source,
            event.node,
            event.delivery,
            event.item,
            event.raw,
            event.received_at,
            None if delivery.anew else delivery.first_received_at,
            delivery.anew,
        )
        source = self.replayed.source(event.source)
        presence = self.replayed.presence(at.uid)
        replayed = decide(source.counting(event.node), presence, observation, source.policy)
        return self._put(at, event, None, replayed)

    def _sweep(self, at: Placed, event: Swept) -> Judged:
        source = self.replayed.source(event.source)
        retired = event.rule == "node_retired"
        evidence = source.retired.get(event.node, 0) if retired else 0
        if not retired and event.node in source.nodes:
            evidence = source.nodes[event.node].boot_position
        if not evidence:
            return self._put(at, event, NO_BOOT, None)
        return self._put(at, event, None, self._swept(at, event, evidence))

    def _swept(self, at: Placed, event: Swept, evidence: int) -> Swept | None:
        """What ends with the event's node now, if anything does."""
        assert at.uid is not None
        source, presence = self.replayed.source(event.source), self.replayed.presence(at.uid)
        retired = event.rule == "node_retired"
        ended = _ended(presence, source, event.node, retired=retired)
        if retired and not set(event.ended) <= set(ended):
            # No look would have told who held them.
            ended, _ = swept_by_retirement(presence, source, event.node, by_sender=True)
        if not ended:
            return None
        return plan.swept(presence, source, event.node, ended, event.received_at, event.run, evidence)

    def _sweep_parted(self, at: Placed, node: str) -> Iterator[Judged]:
        """Nobody had to sweep what was not there: whoever has it in the other world loses it with the node there."""
        source = self.replayed.source(at.source)
        state = source.nodes.get(node)
        retired = source.retired.get(node)
        if not self._parted or (retired is None and (state is None or state.swept)):
            return
        evidence = retired if retired is not None else 0 if state is None else state.boot_position
        for uid in sorted(self._parted):
            presence = self.replayed.presence(uid)
            ended = _ended(presence, source, node, retired=retired is not None)
            if ended:
                event = plan.swept(presence, source, node, ended, at.recorded_at, COUNTERFACTUAL_RUN, evidence)
                self.replayed.put(at._replace(uid=uid), event)
                yield Judged(at.position, uid, (), (event,))


def _ended(presence: Presence, source: SourceState, node: str, *, retired: bool) -> tuple[SessionId, ...]:
    """The sessions that ended with a node."""
    sweep = swept_by_retirement if retired else swept_by_boot
    return sweep(presence, source, node)[0]

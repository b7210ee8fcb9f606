"""A slice judged again, event by event, next to what is on record: the same evidence, with the same or another policy.

What brings evidence alone (configurations, boots, darkness, runs, tiers) is taken as it was recorded.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ledger.domain.decide import decide
from ledger.domain.event_types import Event, UserEvent
from ledger.domain.events import Configured, DeliveryReceived, WebhookObserved
from ledger.domain.evidence import Placed
from ledger.domain.imported import SourceImported
from ledger.domain.observation import Claim, Observation, parse_item
from ledger.domain.policy import Policy
from ledger.domain.reconciliation_events import Corrected, NodeSettled, PollObserved, Swept
from ledger.domain.source import Delivery, decide_delivery
from ledger.reconcile import plan
from ledger.replay.comparison import Comparison
from ledger.replay.judging_polls import Polls
from ledger.replay.placed import PlacedDraft
from ledger.slices.share import WHOLE, Share
from ledger.working_state.sources import changes_rules

NO_DELIVERY = "its delivery is not in the slice"
NO_POLL = "its poll is not in the slice"
NO_BOOT = "what is known of the node is not in the slice"

COUNTERFACTUAL_RUN = "replay"

_replace = msgspec.structs.replace


class Outcome(NamedTuple):
    """What an event came to, and whose shown status may be different now; `everybody`: of everybody."""

    judged: list[Comparison]
    uids: Collection[str]
    everybody: bool = False


class Judge:
    """Two worlds side by side: as recorded, and as judged with the policy that `change` makes of each one recorded."""

    def __init__(self, change: Callable[[Policy], Policy], share: Share = WHOLE) -> None:
        self.recorded, self.replayed = PlacedDraft(), PlacedDraft()
        self._change = change
        self._polls = Polls(self.replayed, share)
        self._deliveries: dict[str, DeliveryReceived] = {}
        """The last of each source, as judged again: its items follow it at once."""
        self._parted: set[str] = set()
        """Users who are not in both worlds the same."""

    def begin(self, state: Placed) -> None:
        """Take the state of a user or a source where the slice begins."""
        self.recorded.put(state, state.event)
        self.replayed.put(state, self._changed(state.event))

    def step(self, together: Sequence[Placed]) -> Outcome:
        """Judge an event again, or a poll with the corrections that follow from it."""
        at = together[0]
        match at.event:
            case WebhookObserved() as event:
                replayed, why_not = self._item(at, event)
                if replayed == event and at.uid not in self._parted:
                    self._put_in_both(at, event)
                    return Outcome([Comparison(at.position, at.uid, (event,), (event,), why_not)], (at.uid,))
                judged = [self._put(at, event, why_not, replayed)]
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
        touched = {each.uid for each in together if each.uid}
        touched |= {each.uid for each in judged if each.uid}
        self._note_parted(touched, judged)
        return Outcome(judged, touched, everybody=changes_rules(at.event))

    def _changed(self, event: Event) -> Event:
        """An event of a source with the policy to be tried."""
        if isinstance(event, Configured | SourceImported):
            return _replace(event, policy=self._change(event.policy))
        return event

    def _note_parted(self, uids: Collection[str], judged: Sequence[Comparison]) -> None:
        if not self._parted and all(each.recorded == each.replayed for each in judged):
            return
        for uid in uids:
            if self.recorded.presence(uid) == self.replayed.presence(uid):
                self._parted.discard(uid)
            else:
                self._parted.add(uid)

    def _put(
        self, at: Placed, event: WebhookObserved | Corrected | Swept, why_not: str | None, replayed: Event | None
    ) -> Comparison:
        """Take what an event of a user is now, or as it was recorded where that cannot be known."""
        if why_not is not None:
            replayed = event
        if replayed is not None:
            self.replayed.put(at, replayed)
        assert replayed is None or isinstance(replayed, UserEvent)
        return Comparison(at.position, at.uid, (event,), () if replayed is None else (replayed,), why_not)

    def _delivery(self, at: Placed, event: DeliveryReceived) -> Comparison:
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
                event.spooled,
            ),
        )
        self.replayed.put(at, replayed)
        self._deliveries[at.source] = replayed
        return Comparison(at.position, None, (event,), (replayed,))

    def _put_in_both(self, at: Placed, event: WebhookObserved) -> None:
        """Take an event of a user who is in both worlds the same: so it leaves them, which is worked out once."""
        self.recorded.put(at, event)
        self.replayed.presences[at.uid] = self.recorded.presences[at.uid]

    def _item(self, at: Placed, event: WebhookObserved) -> tuple[UserEvent, str | None]:
        """-> (what the rules say of an item now, why it cannot be judged again)"""
        delivery = self._deliveries.get(event.source)
        claim = parse_item(event.raw)
        if delivery is None or delivery.delivery != event.delivery or not isinstance(claim, Claim):
            return event, NO_DELIVERY
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
            delivery.spooled,
        )
        source = self.replayed.source(event.source)
        presence = self.replayed.presence(at.uid)
        return decide(source.counting(event.node), presence, observation, source.policy), None

    def _sweep(self, at: Placed, event: Swept) -> Comparison:
        source, retired = self.replayed.source(event.source), event.rule == "node_retired"
        evidence = plan.sweep_evidence(source, event.node, retired=retired)
        if not evidence:
            return self._put(at, event, NO_BOOT, None)
        presence = self.replayed.presence(at.uid)
        ended, _ = plan.ended_with(presence, source, event.node, retired=retired)
        if retired and not set(event.ended) <= set(ended):
            # No look would have told who held them.
            ended, _ = plan.ended_with(presence, source, event.node, retired=True, by_sender=True)
        swept = plan.swept(presence, source, event.node, ended, event.received_at, event.run, evidence)
        return self._put(at, event, None, swept if ended else None)

    def _sweep_parted(self, at: Placed, node: str) -> Iterator[Comparison]:
        """Nobody had to sweep what was not there: who has it in the other world loses it with the node there."""
        source = self.replayed.source(at.source)
        retired = node in source.retired
        if not self._parted or not (retired or (node in source.nodes and not source.nodes[node].swept)):
            return
        evidence = plan.sweep_evidence(source, node, retired=retired)
        for uid in sorted(self._parted):
            presence = self.replayed.presence(uid)
            ended, _ = plan.ended_with(presence, source, node, retired=retired)
            if ended:
                event = plan.swept(presence, source, node, ended, at.recorded_at, COUNTERFACTUAL_RUN, evidence)
                self.replayed.put(at._replace(uid=uid), event)
                yield Comparison(at.position, uid, (), (event,))

"""A draft: deliveries judged one after another on states held in memory, and the events that they become.

The functions here are the whole of what ingest decides; the live writer and the replay of a recording both run them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from typing import NamedTuple

from ledger.domain.decide import decide
from ledger.domain.event_types import SourceEvent, UserEvent
from ledger.domain.events import BodyRejected, DeliveryReceived
from ledger.domain.evolve import evolve
from ledger.domain.observation import Claim, Instant, Malformed, Observation
from ledger.domain.override import Override, ended_by_evidence
from ledger.domain.override_events import OverrideEnded
from ledger.domain.presence import Presence
from ledger.domain.source import Delivery, SourceState, decide_delivery, evolve_source
from ledger.ingest.rejected import event_starts, item_rejected
from ledger.sources.wukongim.payload import Element, NotAnArray, keep_body, parse_body
from ledger.store.mapper import Recorded, source_stream, user_stream


class ParsedWebhook(NamedTuple):
    """One accepted POST of presence, parsed; `elements` says why not where the body is not an array."""

    delivery: str
    source: str
    node: str
    received_at: Instant
    digest: str
    size: int
    elements: list[Element] | NotAnArray
    kept: str = ""
    """Of a body that is not an array: its first bytes, base64."""
    spooled: bool = False
    """It comes late, from the spool."""

    @property
    def is_array(self) -> bool:
        return not isinstance(self.elements, NotAnArray)

    @property
    def items(self) -> int:
        return 0 if isinstance(self.elements, NotAnArray) else len(self.elements)

    def uids(self) -> Iterator[str]:
        """The users that its items name, as often as they name them."""
        if not isinstance(self.elements, NotAnArray):
            for element in self.elements:
                if isinstance(element.parsed, Claim):
                    yield element.parsed.uid


def read_webhook(
    delivery: str, source: str, node: str, received_at: Instant, body: bytes, rejected_bytes: int
) -> ParsedWebhook:
    """Parse a body; `rejected_bytes` bounds what is kept of one that is not an array."""
    elements = parse_body(body)
    kept = keep_body(body, rejected_bytes) if isinstance(elements, NotAnArray) else ""
    digest = hashlib.sha256(body).hexdigest()
    return ParsedWebhook(delivery, source, node, received_at, digest, len(body), elements, kept)


class Draft:
    """States as they are once the events drafted so far are stored.

    `sources` must hold every source that a webhook names; a user who is not in `presences` was never observed.
    Neither mapping is changed. The positions drafted follow `head` without a gap.
    """

    def __init__(
        self,
        sources: Mapping[str, SourceState],
        presences: Mapping[str, Presence],
        head: int,
        rejected_bytes: int = 65536,
    ) -> None:
        self._base_sources = sources
        self._base_presences = presences
        self._rejected_bytes = rejected_bytes
        self.sources: dict[str, SourceState] = {}
        self.presences: dict[str, Presence] = {}
        self.head = head
        self._given_way: dict[str, tuple[Override, Instant]] = {}
        """By user, operators' words that what was drafted has ended, and when; no event says so yet."""

    def source(self, name: str) -> SourceState:
        """The source's state after what was drafted."""
        return self.sources.get(name) or self._base_sources[name]

    def presence(self, uid: str) -> Presence:
        """The user's presence after what was drafted."""
        return self.presences.get(uid) or self._base_presences.get(uid) or Presence(uid)

    def add(self, webhook: ParsedWebhook) -> Iterator[Recorded]:
        """The events of one webhook: its delivery, those of its elements in their order, overrides that they ended."""
        elements = webhook.elements
        if isinstance(elements, NotAnArray):
            yield self.append_to_source(webhook.source, _body_rejected(webhook, elements))
            return
        delivery = _delivery(webhook, elements)
        firsts = event_starts(elements, delivery.rejected, self._rejected_bytes)
        delivery = delivery._replace(following=len(elements) - len(firsts))
        received = decide_delivery(self.source(webhook.source), delivery)
        yield self.append_to_source(webhook.source, received)
        source = self.source(webhook.source)
        counting = source.counting(webhook.node)
        for number, end in pairwise(chain(firsts, (len(elements),))):
            element = elements[number]
            if isinstance(element.parsed, Malformed):
                at, told = webhook.received_at, elements[number:end]
                rejected = item_rejected(webhook.delivery, webhook.node, at, number, told, self._rejected_bytes)
                yield self.append_to_source(webhook.source, rejected)
                continue
            presence = self.presence(element.parsed.uid)
            observation = _observation(webhook, number, element.parsed, element.raw, received)
            event = decide(counting, presence, observation, source.policy)
            self.head += 1
            word = presence.override
            presence = evolve(presence, event, self.head)
            self.presences[presence.uid] = presence
            if word is not None and presence.override is None:
                self._given_way[presence.uid] = word, event.received_at
            yield Recorded(user_stream(presence.uid), presence.version, event, presence.uid)
        yield from self.ends_of_overrides()

    def append_to_source(self, name: str, event: SourceEvent) -> Recorded:
        """An event of the source's stream; those that no webhook brings (starts, configurations) come in here."""
        self.head += 1
        source = evolve_source(self.source(name), event, self.head)
        self.sources[name] = source
        return Recorded(source_stream(name), source.version, event)

    def append_to_user(self, uid: str, event: UserEvent) -> Recorded:
        """An event of a user's stream; those that no webhook brings (corrections, sweeps, tiers) come in here."""
        self.head += 1
        before = self.presence(uid)
        presence = evolve(before, event, self.head)
        self.presences[uid] = presence
        if isinstance(event, OverrideEnded):
            self._given_way.pop(uid, None)
        elif before.override is not None and presence.override is None:
            self._given_way[uid] = before.override, event.received_at
        return Recorded(user_stream(uid), presence.version, event, uid)

    def ends_of_overrides(self) -> Iterator[Recorded]:
        """The events that put on record which operators' words gave way to what was drafted: after all of it, since
        what a delivery or a poll brought stands together."""
        for uid, (word, at) in list(self._given_way.items()):
            yield self.append_to_user(uid, ended_by_evidence(word, at, self.presence(uid).status))


def _delivery(webhook: ParsedWebhook, elements: list[Element]) -> Delivery:
    onlines = [e.parsed.conn_id for e in elements if isinstance(e.parsed, Claim) and e.parsed.online]
    return Delivery(
        webhook.delivery,
        webhook.source,
        webhook.node,
        webhook.received_at,
        webhook.digest,
        webhook.size,
        len(elements),
        sum(isinstance(e.parsed, Malformed) for e in elements),
        (min(onlines, default=0), max(onlines, default=0)),
        spooled=webhook.spooled,
    )


def _observation(
    webhook: ParsedWebhook, number: int, claim: Claim, raw: str, received: DeliveryReceived
) -> Observation:
    return Observation(
        claim,
        webhook.source,
        webhook.node,
        webhook.delivery,
        number,
        raw,
        webhook.received_at,
        None if received.anew else received.first_received_at,
        received.anew,
        webhook.spooled,
    )


def _body_rejected(webhook: ParsedWebhook, why: NotAnArray) -> BodyRejected:
    return BodyRejected(
        delivery=webhook.delivery,
        node=webhook.node,
        received_at=webhook.received_at,
        reason=why.reason,
        raw_base64=webhook.kept,
        size=webhook.size,
        digest=webhook.digest,
    )

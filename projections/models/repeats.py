"""Events in a row that changed nothing: duplicates, late and stale items, folded into one entry with their number."""

from typing import Literal, TypeAlias, cast, get_args

import msgspec

from ledger.domain.event_types import UserEvent
from ledger.domain.events import Status, WebhookObserved
from ledger.domain.instants import Timestamp, to_text
from ledger.domain.observation import Instant

Unchanged: TypeAlias = Literal["duplicate", "late", "stale"]
UNCHANGED = frozenset(get_args(Unchanged))
"""The verdicts on items that do nothing but by their counts."""


class Repeats(msgspec.Struct):
    """Events in a row with one verdict that changed nothing, from `at` to `until`, by node and by rule.

    `deliveries` brought them; `repeated_items` of them came in the `repeated_deliveries` that repeat an earlier one
    whole.
    """

    kind: Unchanged
    position: int
    last_position: int
    number: int
    at: Timestamp
    until: Timestamp
    source: str
    nodes: dict[str, int]
    status_before: Status
    status_after: Status
    rules: dict[str, int]
    deliveries: int
    repeated_items: int
    repeated_deliveries: int
    first_raw: str
    last_raw: str
    last_delivery: str


class Fold:
    """An entry of several events, with its span as instants."""

    __slots__ = ("at", "repeats", "until")

    def __init__(self, at: Instant, until: Instant, repeats: Repeats) -> None:
        self.at = at
        self.until = until
        self.repeats = repeats

    def extend(self, position: int, event: WebhookObserved) -> None:
        """One event more."""
        at, repeats = event.received_at, self.repeats
        if at < self.at:
            self.at, repeats.at = at, to_text(at)
        if at > self.until:
            self.until, repeats.until = at, to_text(at)
        repeats.last_position = position
        repeats.number += 1
        repeats.rules[event.rule] = repeats.rules.get(event.rule, 0) + 1
        repeats.nodes[event.node] = repeats.nodes.get(event.node, 0) + 1
        repeats.repeated_items += event.repeated
        # Items of one delivery follow one another.
        if event.delivery != repeats.last_delivery:
            repeats.deliveries += 1
            repeats.repeated_deliveries += event.repeated
            repeats.last_delivery = event.delivery
        repeats.last_raw = event.raw


def changes_nothing(event: UserEvent) -> bool:
    """Whether the event can be folded with others like it."""
    return (
        isinstance(event, WebhookObserved)
        and event.verdict in UNCHANGED
        and event.status_before == event.status_after
        and not (event.swept or event.implied or event.implied_elsewhere)
        and not (event.withdrawn or event.withdrawn_elsewhere)
    )


def begun(position: int, event: WebhookObserved) -> Fold:
    """What an event that changes nothing begins."""
    at = until = to_text(event.received_at)
    number = deliveries = 1
    repeated_items = repeated_deliveries = int(event.repeated)
    first_raw = last_raw = event.raw
    kind, last_position, last_delivery = cast(Unchanged, event.verdict), position, event.delivery
    nodes, rules = {event.node: 1}, {event.rule: 1}
    # By place, at half the cost of keywords: each is called like its field, which a test compares.
    repeats = Repeats(
        kind,
        position,
        last_position,
        number,
        at,
        until,
        event.source,
        nodes,
        event.status_before,
        event.status_after,
        rules,
        deliveries,
        repeated_items,
        repeated_deliveries,
        first_raw,
        last_raw,
        last_delivery,
    )
    return Fold(event.received_at, event.received_at, repeats)

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
    """An entry of several events that may still grow, with its span as instants."""

    __slots__ = ("at", "told", "until")

    def __init__(self, at: Instant, until: Instant, told: Repeats) -> None:
        self.at = at
        self.until = until
        self.told = told

    def goes_on(self, event: WebhookObserved) -> bool:
        """Whether the user's next event, which changes nothing, is one more of it."""
        return self.told.kind == event.verdict and self.told.source == event.source

    def extend(self, position: int, event: WebhookObserved) -> None:
        """One event more."""
        at, told = event.received_at, self.told
        if at < self.at:
            self.at, told.at = at, to_text(at)
        if at > self.until:
            self.until, told.until = at, to_text(at)
        told.last_position = position
        told.number += 1
        told.rules[event.rule] = told.rules.get(event.rule, 0) + 1
        told.nodes[event.node] = told.nodes.get(event.node, 0) + 1
        told.repeated_items += event.repeated
        # Items of one delivery follow one another.
        if event.delivery != told.last_delivery:
            told.deliveries += 1
            told.repeated_deliveries += event.repeated
            told.last_delivery = event.delivery
        told.last_raw = event.raw


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
    at = to_text(event.received_at)
    told = Repeats(
        cast(Unchanged, event.verdict),
        position,
        position,
        1,
        at,
        at,
        event.source,
        {event.node: 1},
        event.status_before,
        event.status_after,
        {event.rule: 1},
        1,
        int(event.repeated),
        int(event.repeated),
        event.raw,
        event.raw,
        event.delivery,
    )
    return Fold(event.received_at, event.received_at, told)

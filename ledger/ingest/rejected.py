"""Rejected items as events: each its own, but of very many those that follow each other stand in one.

Nothing is dropped. A body of a million elements that are not claims would otherwise keep the writer longer than any
other of its size, since they are shorter than any claim.
"""

from collections.abc import Sequence

from ledger.domain.events import ItemRejected
from ledger.domain.observation import Instant, Malformed
from ledger.sources.wukongim.payload import Element, keep_text

MAX_OWN_EVENTS = 100
"""So many rejected items of a delivery at most have an event each."""

MAX_FOLLOWING, MAX_FOLLOWING_CHARACTERS, MAX_ITEM_CHARACTERS = 1_000, 32_768, 256
"""Bounds of what follows the first element in one event: elements, their characters in all, those of each."""

MAX_BYTES_PER_CHARACTER = 4
"""At most, in UTF-8."""


def event_starts(elements: Sequence[Element], rejected: int, bound: int) -> Sequence[int]:
    """The indices at which events begin, where `rejected` elements are; each claim has its own event.

    What is longer than the bound in bytes is cut, so that it needs its own as well.
    """
    if rejected <= MAX_OWN_EVENTS:
        return range(len(elements))
    firsts, first, short = list[int](), 0, min(MAX_ITEM_CHARACTERS, bound // MAX_BYTES_PER_CHARACTER)
    while first < len(elements):
        firsts.append(first)
        first = _end(elements, first, short)
    return firsts


def _end(elements: Sequence[Element], first: int, short: int) -> int:
    """Where the elements end that are told with the first one."""
    why, end, characters = elements[first].parsed, first + 1, 0
    if not isinstance(why, Malformed):
        return end
    most = min(len(elements), first + 1 + MAX_FOLLOWING)
    while end < most and elements[end].parsed == why:
        size = len(elements[end].raw)
        characters += size
        if size > short or characters > MAX_FOLLOWING_CHARACTERS:
            break
        end += 1
    return end


def item_rejected(
    delivery: str, node: str, received_at: Instant, first: int, elements: Sequence[Element], bound: int
) -> ItemRejected:
    """The event of rejected elements, the first of which is kept up to a bound, the others whole."""
    why = elements[0].parsed
    assert isinstance(why, Malformed)
    kept = keep_text(elements[0].raw, bound)
    return ItemRejected(
        delivery=delivery,
        node=node,
        item=first,
        received_at=received_at,
        reason=why.reason,
        raw=kept.raw,
        size=kept.size,
        digest=kept.digest,
        following=tuple([element.raw for element in elements[1:]]),
    )

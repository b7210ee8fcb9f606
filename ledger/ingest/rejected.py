"""Rejected items as events: each its own, but of very many those that follow each other stand in one.

Nothing is dropped. A body of a million elements that are no claims would otherwise keep the writer longer than any
other of its size, since they are shorter than any claim.
"""

from collections.abc import Sequence

from ledger.domain.events import ItemRejected
from ledger.domain.observation import Instant, Malformed
from ledger.sources.wukongim.payload import Element, keep_text

TOLD_ALONE = 100
"""So many rejected items of a delivery at most have an event each."""

TOGETHER, TOGETHER_CHARACTERS, SHORT = 1_000, 32_768, 256
"""So many elements at most stand in one event beside the first, with so long a text in all, and each of them."""

BYTES_A_CHARACTER = 4
"""At most, in UTF-8."""


def firsts_of(elements: Sequence[Element], rejected: int, bound: int) -> Sequence[int]:
    """The first elements that events tell of, where so many are rejected; each claim has an event of its own.

    What is longer than the bound in bytes is cut, so that it needs its own as well.
    """
    if rejected <= TOLD_ALONE:
        return range(len(elements))
    firsts, first, short = list[int](), 0, min(SHORT, bound // BYTES_A_CHARACTER)
    while first < len(elements):
        firsts.append(first)
        first = _end(elements, first, short)
    return firsts


def _end(elements: Sequence[Element], first: int, short: int) -> int:
    """Where the elements end that are told with the first one."""
    why, end, characters = elements[first].parsed, first + 1, 0
    if not isinstance(why, Malformed):
        return end
    most = min(len(elements), first + 1 + TOGETHER)
    while end < most and elements[end].parsed == why:
        size = len(elements[end].raw)
        characters += size
        if size > short or characters > TOGETHER_CHARACTERS:
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

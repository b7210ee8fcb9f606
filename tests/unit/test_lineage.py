"""What a process remembers of the ledger's seals, and what it says is lost where the database lacks some of them."""

from collections.abc import Collection
from typing import Any, cast

import pytest

from ledger.store import lineage as lineages
from ledger.store.lineage import MOST, RECENT, Lineage, Lost
from ledger.store.seals import Anchor


def seal(position: int) -> bytes:
    return position.to_bytes(4)


def seen(*positions: int) -> Lineage:
    """A process that has seen commits that end at these positions."""
    lineage = Lineage()
    for position in positions:
        lineage.note(Anchor(position, seal(position)), 0)
    return lineage


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The commits that the database has."""
    positions: set[int] = set()
    monkeypatch.setattr(lineages, "_has", lambda _, anchor: anchor.position in positions)
    return positions


NO_CONNECTION = cast(Any, None)


@pytest.mark.parametrize(
    ("known", "has", "lost"),
    [
        ((), (), None),
        ((1, 5), (1, 5, 9), None),
        ((1, 5, 9), (1, 5), Lost(9, 5)),
        ((1, 5, 9), (1,), Lost(9, 1)),
        ((1, 5, 9), (), Lost(9, 0)),
        (range(1, 400), range(1, 301), Lost(399, 300)),
    ],
)
def test_what_is_lost_is_what_came_after_the_last_common_commit(
    there: set[int], known: Collection[int], has: Collection[int], lost: Lost | None
) -> None:
    there.update(has)
    assert seen(*known).lost(NO_CONNECTION, seal(0)) == lost


def test_the_last_seal_known_needs_no_look() -> None:
    assert seen(1, 5).lost(NO_CONNECTION, seal(5)) is None


def test_after_it_went_back_the_common_ones_are_known_under_another_number(there: set[int]) -> None:
    lineage = seen(1, 5, 9)
    lineage.went_back(Lost(9, 5))
    assert (lineage.number, lineage.is_last(seal(5))) == (1, True)
    # What was read before that, and is noted late, is of the lost ledger.
    lineage.note(Anchor(9, seal(9)), 0)
    assert lineage.is_last(seal(5))
    lineage.note(Anchor(8, seal(8)), 1)
    assert lineage.is_last(seal(8))


def test_an_older_commit_noted_late_is_no_news() -> None:
    lineage = seen(1, 9)
    lineage.note(Anchor(5, seal(5)), 0)
    assert lineage.is_last(seal(9))


def test_another_epoch_is_another_number() -> None:
    lineage = Lineage()
    assert [lineage.see(epoch, None, 0) for epoch in ("e1", "e1", "e2", "e2")] == [0, 0, 1, 1]
    # One that this process has begun itself is none.
    lineage.went_back(Lost(9, 5))
    assert lineage.see("e3", Anchor(6, seal(6)), 2) == 2
    assert lineage.is_last(seal(6))


def test_some_hundred_are_remembered_the_last_ones_all_of_them(there: set[int]) -> None:
    lineage = seen(*range(1, 10 * MOST))
    assert len(lineage._seen) <= MOST
    last = 10 * MOST - 1
    there.update(range(1, last - RECENT // 2))
    assert lineage.lost(NO_CONNECTION, None) == Lost(last, last - RECENT // 2 - 1)
    # Of the older ones enough, so that not everything is in doubt.
    there.clear()
    there.update(range(1, 5 * MOST))
    lost = lineage.lost(NO_CONNECTION, None)
    assert lost is not None
    assert lost.common > 4 * MOST

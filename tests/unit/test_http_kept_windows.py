"""Loss within windows: what took long to count is not counted for everybody who asks."""

from collections import Counter
from collections.abc import Mapping

import pytest

from ledger.http.kept_windows import KeptWindows
from projections.queries.loss import LossCount


class World:
    """A database that takes its time, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes = 1.0
        self.counts = 0
        self.kept = KeptWindows(["main"], lambda: self.now)

    def count(self) -> Mapping[str, Mapping[float, LossCount]]:
        self.now += self.takes
        self.counts += 1
        return {"main": {60.0: LossCount(Counter(webhook=self.counts))}}

    def asked(self, source: str | None = "main") -> int:
        return self.kept.of(source, self.count)["main"][60.0].told


@pytest.mark.parametrize(("takes", "stands"), [(1.0, 50.0), (10.0, 60.0)])
def test_what_takes_long_stands_for_a_while(takes: float, stands: float) -> None:
    world = World()
    world.takes = takes
    assert world.asked() == 1
    world.now += stands - 0.1
    assert world.asked() == 1
    world.now += 0.2
    assert world.asked() == 2


def test_all_sources_together_are_kept_apart_from_each() -> None:
    world = World()
    assert (world.asked(), world.asked(None), world.asked(), world.asked(None)) == (1, 2, 1, 2)


def test_what_is_cheap_and_what_is_of_no_source_of_ours_is_not_kept() -> None:
    world = World()
    assert (world.asked("elsewhere"), world.asked("elsewhere")) == (1, 2)
    world.takes = 0.1
    assert (world.asked(), world.asked()) == (3, 4)

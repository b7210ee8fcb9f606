"""Two ways of the same, measured in turn: what is compared in a round is of neighbours in time."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from bench._report import median, progress

Costs: TypeAlias = tuple[float, ...]
"""Microseconds of processor an event, of one process or of several."""


class InTurn(NamedTuple):
    """By way, of each round that counts: events a second, and what they cost."""

    speeds: Mapping[str, Sequence[float]]
    costs: Mapping[str, Sequence[Costs]]

    def speed_ratio(self, way: str, other: str) -> float:
        """The median of a way's speed as a share of the other's."""
        return median([one / two for one, two in zip(self.speeds[way], self.speeds[other], strict=True)])

    def cost_ratio(self, way: str, other: str) -> float:
        """The same of the first of the costs."""
        return median([one / two for (one, *_), (two, *_) in zip(self.costs[way], self.costs[other], strict=True)])

    def medians(self, way: str) -> Sequence[float]:
        """The speed, and each of the costs."""
        return [median(self.speeds[way]), *(median(column) for column in zip(*self.costs[way], strict=True))]


def in_turn(ways: tuple[str, str], rounds: int, warm_up: int, run: Callable[[str, int], tuple[float, Costs]]) -> InTurn:
    """Rounds of both, after some to warm up; `run` takes a way and the round's number -> events a second, costs."""
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    costs: dict[str, list[Costs]] = {way: [] for way in ways}
    for number in range(rounds + warm_up):
        # The first in a round has the disk's caches as the other left them.
        for way in ways if number % 2 else ways[::-1]:
            speed, cost = run(way, number)
            progress(f"{way}: {speed:,.0f} events/s")
            if number >= warm_up:
                speeds[way].append(speed)
                costs[way].append(cost)
    return InTurn(speeds, costs)

"""Counts of everybody: as of now, or of late where that is enough for whoever asks."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ledger.errors import StoreUnavailable
from ledger.http.summaries import Summaries, max_age
from projections.models.shown import AnswerPoint
from projections.queries.listing import PresenceSummary


class World:
    """A ledger whose head goes on with each count, which takes its time, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.takes = 0.0
        self.counted = 0
        self.is_away = False
        self.goes_on: asyncio.Event | None = None
        """What counting waits for."""
        self.summaries = Summaries(self.count, lambda: self.now)

    async def count(self) -> PresenceSummary:
        if self.is_away:
            raise StoreUnavailable("away")
        if self.goes_on is not None:
            await self.goes_on.wait()
        self.now += self.takes
        self.counted += 1
        return PresenceSummary(AnswerPoint(0, self.counted), {}, [])

    async def asked(self, seconds: float | None) -> tuple[int, float]:
        found = await self.summaries.within(seconds)
        return found.summary.made.position, found.age


def told(ask: Callable[[World], Awaitable[list[tuple[int, float]]]]) -> list[tuple[int, float]]:
    async def run() -> list[tuple[int, float]]:
        return await ask(World())

    return asyncio.run(run())


def test_nobody_is_told_anything_older_than_they_said() -> None:
    async def ask(world: World) -> list[tuple[int, float]]:
        seen = [await world.asked(60), await world.asked(None), await world.asked(0)]
        world.now += 1.5
        seen += [await world.asked(60), await world.asked(1), await world.asked(60)]
        return seen

    assert told(ask) == [(1, 0.0), (2, 0.0), (3, 0.0), (1, 1.5), (4, 0.0), (1, 1.5)]


def test_what_takes_long_is_counted_now_and_then() -> None:
    async def ask(world: World) -> list[tuple[int, float]]:
        world.takes = 0.5
        seen = [await world.asked(60)]
        world.now += 20
        seen.append(await world.asked(60))
        world.now += 5
        seen.append(await world.asked(60))
        return seen

    # What was counted is as of the beginning; it stands for fifty times as long as counting took.
    assert told(ask) == [(1, 0.5), (1, 20.5), (2, 0.5)]


def test_newer_counts_are_not_waited_for_by_whom_older_ones_are_enough_for() -> None:
    async def ask(world: World) -> list[tuple[int, float]]:
        seen = [await world.asked(60)]
        world.goes_on = asyncio.Event()
        world.now += 10
        seen.append(await world.asked(60))
        world.goes_on.set()
        seen.append(await world.asked(60))
        return seen

    assert told(ask) == [(1, 0.0), (1, 10.0), (2, 0.0)]


def test_a_store_that_is_away_is_told_of() -> None:
    async def ask(world: World) -> list[tuple[int, float]]:
        world.is_away = True
        return [await world.asked(60)]

    with pytest.raises(StoreUnavailable):
        told(ask)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("no-cache", None),
        ("max-age=60", 60),
        ("Max-Age=5", 5),
        ("no-transform, max-age=0", 0),
        ("max-age=7, max-stale=3", 7),
        ("s-max-age=60", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ("max-age=99999999999", None),
    ],
)
def test_how_old_an_answer_may_be(header: str | None, seconds: int | None) -> None:
    assert max_age(header) == seconds

"""A source's defect ends that source's reconciliation for a while, and nothing else; the store's trouble ends all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ledger.errors import StoreUnavailable
from ledger.reconcile.guarded import Begun, Guarded
from ledger.reconcile.leader_context import LeaderContext, Spawn
from ledger.reconcile.reconciler import Reconciler


class Works:
    """A reconciler that counts what it is told to do, and fails as it is told."""

    def __init__(self, spawn: Spawn) -> None:
        self.spawn = spawn
        self.ticks = 0
        self.fails: Exception | None = None
        self.ended = self.closed = False

    async def begin(self) -> None:
        """Nothing is left open."""

    async def tick(self) -> None:
        self.ticks += 1
        if self.fails is not None:
            raise self.fails

    async def end(self) -> None:
        self.ended = True

    async def close(self) -> None:
        self.closed = True


class Leading:
    """Two sources of one leading instance, and a clock."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.at = 1000.0
        self.made: dict[str, list[Works]] = {"a": [], "b": []}
        self.sources = {name: Guarded(name, self._make(name), group, lambda: self.at) for name in self.made}

    def _make(self, name: str) -> Callable[[Spawn], Awaitable[Begun]]:
        async def make(spawn: Spawn) -> Begun:
            works = Works(spawn)
            self.made[name].append(works)
            return Begun(cast(LeaderContext, name), cast(Reconciler, works), works.close)

        return make

    async def begin(self) -> None:
        for source in self.sources.values():
            await source.prepare()
            await source.begin()

    async def ticks(self, seconds: float) -> None:
        self.at += seconds
        for source in self.sources.values():
            await source.tick()


def leading(test: Callable[[Leading], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            sources = Leading(group)
            await sources.begin()
            await test(sources)

    asyncio.run(run())


def test_a_defect_in_one_source_leaves_the_other_alone_and_is_begun_anew() -> None:
    async def test(led: Leading) -> None:
        (broken,), (other,) = led.made["a"], led.made["b"]
        broken.fails = AttributeError("'NoneType' object has no attribute 'getpeername'")
        with capture_logs() as logs:
            await led.ticks(1)
        assert [(line["event"], line["source"]) for line in logs] == [("source_failed", "a")]
        assert led.sources["a"].reconciler is None
        assert led.sources["a"].context is not None
        await led.ticks(1)
        assert (broken.ticks, other.ticks, broken.closed) == (1, 2, False)
        await led.ticks(1)
        assert (len(led.made["a"]), broken.closed, other.ticks) == (2, True, 3)
        await led.ticks(1)
        assert (led.made["a"][1].ticks, other.ticks) == (1, 4)

    leading(test)


def test_a_task_of_a_source_that_fails_takes_the_sources_others_along_and_nobody_elses() -> None:
    async def test(led: Leading) -> None:
        (broken,), (other,) = led.made["a"], led.made["b"]
        never = asyncio.Event()
        beside, elsewhere = broken.spawn(never.wait()), other.spawn(never.wait())

        async def defect() -> None:
            raise KeyError("node")

        await asyncio.sleep(0)
        failing = broken.spawn(defect())
        await asyncio.wait([failing, beside])
        assert (beside.cancelled(), failing.exception(), elsewhere.done()) == (True, None, False)
        assert led.sources["a"].reconciler is None
        elsewhere.cancel()

    leading(test)


def test_defects_that_follow_each_other_are_waited_for_ever_longer() -> None:
    async def test(led: Leading) -> None:
        pauses = []
        for _ in range(7):
            led.made["a"][-1].fails = ValueError("again")
            failed_at = led.at
            known = len(led.made["a"])
            while len(led.made["a"]) == known:
                await led.ticks(1)
            pauses.append(led.at - failed_at)
        # The tick that fails comes a second after the source began.
        assert [pause - 1 for pause in pauses] == [2, 4, 8, 16, 32, 60, 60]

    leading(test)


def test_an_orderly_stop_ends_those_that_work() -> None:
    async def test(led: Leading) -> None:
        led.made["a"][0].fails = ValueError("once")
        await led.ticks(1)
        for source in led.sources.values():
            await source.end()
            await source.close()
        assert [(works.ended, works.closed) for (works,) in led.made.values()] == [(False, True), (True, True)]

    leading(test)


def test_that_postgresql_is_away_is_the_whole_terms_matter() -> None:
    async def test(led: Leading) -> None:
        led.made["a"][0].fails = StoreUnavailable("away")
        with pytest.raises(StoreUnavailable):
            await led.ticks(1)

        async def away(*_: Any) -> None:
            raise StoreUnavailable("away")

        led.made["b"][0].spawn(away())

    with pytest.raises(ExceptionGroup) as raised:
        leading(test)
    assert [type(error) for error in raised.value.exceptions] == [StoreUnavailable]

"""The budget of a node: its rates, its bursts, its order, and what may be changed while others wait."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.sources.wukongim.budget import Allowance, Budget
from tests.support.virtual_time import VirtualTime, done_after, settle


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def budget_at(time: VirtualTime, calls: float, users: float = 1e9, burst_seconds: float = 1.0) -> Budget:
    return Budget(calls, users, burst_seconds=burst_seconds, monotonic=time.monotonic, sleep=time.sleep)


def test_a_seconds_worth_at_once_and_then_the_rate() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=10)
        done: list[float] = []

        async def take() -> None:
            await budget.take(1)
            done.append(round(time.at - 1000.0, 3))

        tasks = [asyncio.create_task(take()) for _ in range(13)]
        await time.advance(1.0)
        assert done == [0.0] * 10 + [0.1, 0.2, 0.3]
        await asyncio.gather(*tasks)

    run(test())


def test_a_long_rest_saves_no_more_than_a_seconds_worth() -> None:
    time = VirtualTime()
    budget = budget_at(time, calls=10, users=500)
    budget.charge(10, 500)
    assert budget.available() == Allowance(0, 0)
    time.at += 0.5
    assert budget.available() == Allowance(5, 250)
    time.at += 3600
    assert budget.available() == Allowance(10, 500)


def test_users_are_paid_for_like_calls() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=100, users=2000)
        await budget.take(1, 2000)
        assert await done_after(time, asyncio.create_task(budget.take(1, 1000)), limit=2) == pytest.approx(
            0.5, abs=0.011
        )

    run(test())


def test_first_come_first_served_though_a_later_one_would_cost_less() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=10, users=1000)
        await budget.take(1, 1000)
        order: list[str] = []
        for name, users in (("much", 900), ("nothing", 0), ("little", 1)):
            task = asyncio.create_task(budget.take(1, users), name=name)
            task.add_done_callback(lambda done: order.append(done.get_name()))
            await settle()
        await time.advance(0.5)
        assert order == []
        await time.advance(0.5)
        assert order == ["much", "nothing", "little"]

    run(test())


def test_a_cost_above_the_burst_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=0.5)
        await asyncio.wait_for(budget.take(1), 60)
        assert await done_after(time, asyncio.create_task(budget.take(1)), limit=5) == pytest.approx(2.0, abs=0.011)

    run(test())


def test_what_must_not_wait_is_paid_by_those_who_do() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=10)
        budget.charge(15)
        assert budget.available() == Allowance(0, 10**9)
        assert await done_after(time, asyncio.create_task(budget.take(1)), limit=2) == pytest.approx(0.6, abs=0.011)

    run(test())


def test_what_is_given_back_can_be_taken() -> None:
    async def test() -> None:
        budget = budget_at(VirtualTime(), calls=1, users=10)
        await budget.take(1, 10)
        budget.give_back(1, 10)
        assert budget.available() == Allowance(1, 10)
        await asyncio.wait_for(budget.take(1, 10), 60)

    run(test())


def test_who_is_cancelled_while_waiting_has_spent_nothing_and_holds_nobody_up() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=10)
        await budget.take(10)
        first, second = asyncio.create_task(budget.take(10)), asyncio.create_task(budget.take(1))
        await settle()
        first.cancel()
        assert await done_after(time, second, limit=2) == pytest.approx(0.1, abs=0.011)
        assert first.cancelled()

    run(test())


def test_a_changed_budget_is_noticed_by_those_who_wait() -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = budget_at(time, calls=0.01)
        await budget.take(1)
        waiting = asyncio.create_task(budget.take(1))
        await time.advance(10)
        assert not waiting.done()
        budget.change(100, 5)
        assert (budget.calls_a_second, budget.users_a_second) == (100, 5)
        await time.advance(1.0)
        assert waiting.done()
        assert budget.available().users == 5

    run(test())


@pytest.mark.parametrize(("calls", "users"), [(0, 1), (1, 0), (-1, 1)])
def test_a_budget_of_nothing_is_refused(calls: float, users: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        Budget(calls, users)
    with pytest.raises(ValueError, match="must be above 0"):
        Budget(1, 1).change(calls, users)


@given(
    rate=st.floats(0.5, 50),
    burst_seconds=st.sampled_from([0.25, 1.0]),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=40),
)
def test_over_no_time_more_is_spent_than_the_rate_and_one_burst(
    rate: float, burst_seconds: float, pauses: list[float]
) -> None:
    async def test() -> None:
        time = VirtualTime()
        budget = Budget(rate, 1e9, burst_seconds=burst_seconds, monotonic=time.monotonic, sleep=time.skip)
        taken: list[float] = []
        for pause in pauses:
            time.at += pause
            await budget.take(1)
            taken.append(time.at)
        burst = max(1.0, rate * burst_seconds)
        for first, began in enumerate(taken):
            for last in range(first, len(taken)):
                assert last - first + 1 <= rate * (taken[last] - began) + burst + 0.001

    run(test())

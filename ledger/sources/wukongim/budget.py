"""The budget of one node: how many calls a second it is asked, and about how many users."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

NOTICE_SECONDS = 1.0
"""A caller that waits looks again at least so often, since the budget may be changed meanwhile."""

NEGLIGIBLE_SECONDS = 1e-6
"""Below the clock's own grain: waiting for it might never end."""


class Allowance(NamedTuple):
    """What may be spent at once: whole calls, and whole users asked about."""

    calls: int
    users: int


class _Bucket:
    """Tokens that come in at a rate, up to a bound; full at first. Below zero it is in debt.

    The bound is one at least: of less, nobody who asks what is there would ever find enough.
    """

    def __init__(self, rate: float, burst_seconds: float) -> None:
        if rate <= 0:
            raise ValueError("a budget must be above 0 a second")
        self.rate, self.bound = rate, max(1.0, rate * burst_seconds)
        self.level = self.bound

    def add(self, tokens: float) -> None:
        self.level = min(self.bound, self.level + tokens)

    def wait_seconds(self, cost: float) -> float:
        """Until the cost can be paid. A cost above the bound waits for a full bucket, and leaves a debt."""
        return (min(cost, self.bound) - self.level) / self.rate


class Budget:
    """Two token buckets, of calls and of users, that are paid from together and in the order of asking.

    Over any time no more is spent than the rates allow, plus `burst_seconds` worth of them, or one, at its beginning. A
    single take above that is let through when all else is paid, and those after it wait until it is paid too.
    """

    def __init__(
        self,
        calls_a_second: float,
        users_a_second: float,
        *,
        burst_seconds: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ValueError for a rate that is not above zero."""
        self._burst_seconds = burst_seconds
        self._calls = _Bucket(calls_a_second, burst_seconds)
        self._users = _Bucket(users_a_second, burst_seconds)
        self._monotonic, self._sleep = monotonic, sleep
        self._filled_at = monotonic()
        self._turn = asyncio.Lock()

    @property
    def calls_a_second(self) -> float:
        return self._calls.rate

    @property
    def users_a_second(self) -> float:
        return self._users.rate

    def change(self, calls_a_second: float, users_a_second: float) -> None:
        """Go on with other rates; what is spent stays spent. Raises ValueError for a rate that is not above zero."""
        self._fill()
        calls, users = _Bucket(calls_a_second, self._burst_seconds), _Bucket(users_a_second, self._burst_seconds)
        calls.level = min(calls.bound, self._calls.level)
        users.level = min(users.bound, self._users.level)
        self._calls, self._users = calls, users

    def available(self) -> Allowance:
        """What a take would not wait for, if nobody waited before it."""
        self._fill()
        return Allowance(max(0, int(self._calls.level)), max(0, int(self._users.level)))

    async def take(self, calls: int = 1, users: int = 0) -> None:
        """Wait for one's turn and for the tokens, and spend them. Cancelled, it has spent nothing."""
        async with self._turn:
            while (seconds := self._wait_seconds(calls, users)) > NEGLIGIBLE_SECONDS:
                await self._sleep(min(seconds, NOTICE_SECONDS))
            self.charge(calls, users)

    def charge(self, calls: int, users: int = 0) -> None:
        """Spend without waiting, for what must not wait; those who take wait the longer for it."""
        self._fill()
        self._calls.level -= calls
        self._users.level -= users

    def give_back(self, calls: int = 1, users: int = 0) -> None:
        """Undo a take that came to nothing."""
        self._fill()
        self._calls.add(calls)
        self._users.add(users)

    def _wait_seconds(self, calls: int, users: int) -> float:
        self._fill()
        return max(self._calls.wait_seconds(calls), self._users.wait_seconds(users))

    def _fill(self) -> None:
        now = self._monotonic()
        seconds, self._filled_at = now - self._filled_at, now
        self._calls.add(seconds * self._calls.rate)
        self._users.add(seconds * self._users.rate)

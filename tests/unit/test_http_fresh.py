"""Values that are read again every second: as they were last read while the database is away, hangs, or is slow."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from ledger.errors import StoreUnavailable
from ledger.http import fresh
from ledger.http.fresh import Fresh


@pytest.fixture(autouse=True)
def stale_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "FRESH_SECONDS", -1.0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


class Database:
    """Gives a number of its own to each read, and hangs until it is let go on."""

    def __init__(self) -> None:
        self.reads = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.reads += 1
        read = self.reads
        assert self.goes_on.wait(60)
        if self.error is not None:
            raise self.error
        return read


def test_while_the_database_hangs_the_value_stays_and_one_reload_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "RELOAD_SECONDS", 0.02)
    database = Database()

    async def test() -> None:
        value = Fresh(database)
        assert await value.get() == 1
        database.goes_on.clear()
        assert await asyncio.gather(*(value.get() for _ in range(5))) == [1] * 5
        monkeypatch.setattr(fresh, "RELOAD_SECONDS", 60.0)
        waiting = [asyncio.create_task(value.get()) for _ in range(5)]
        await asyncio.sleep(0)
        assert database.reads == 2
        waiting.pop().cancel()
        database.goes_on.set()
        assert await asyncio.gather(*waiting) == [2] * 4
        assert await value.get() == 3

    run(test)


def test_a_reload_that_waits_for_long_holds_up_nobody_who_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database()
    waited: list[float | None] = []
    wait = asyncio.wait

    async def noted(awaited: set[asyncio.Task[int]], *, timeout: float | None) -> object:  # noqa: ASYNC109
        waited.append(timeout)
        return await wait(awaited, timeout=0.01)

    monkeypatch.setattr(asyncio, "wait", noted)

    async def test() -> None:
        value = Fresh(database)
        await value.get()
        database.goes_on.clear()
        assert await value.get() == 1
        value._began_at -= fresh.RELOAD_SECONDS
        assert await value.get() == 1
        database.goes_on.set()

    run(test)
    assert waited == [pytest.approx(fresh.RELOAD_SECONDS), 0.0]


def test_what_was_being_read_when_it_was_forgotten_is_not_kept() -> None:
    database = Database()

    async def test() -> None:
        value = Fresh(database)
        database.goes_on.clear()
        first = asyncio.create_task(value.get())
        while not database.reads:  # noqa: ASYNC110  (a thread counts)
            await asyncio.sleep(0.001)
        value.forget()
        later = asyncio.create_task(value.get())
        while database.reads < 2:  # noqa: ASYNC110  (a thread counts)
            await asyncio.sleep(0.001)
        database.goes_on.set()
        assert (await first, await later) == (1, 2)
        database.error = StoreUnavailable("away")
        assert await value.get() == 2

    run(test)


def test_a_value_that_was_never_read_is_missed() -> None:
    database = Database()
    database.error = StoreUnavailable("away")

    async def test() -> None:
        value = Fresh(database)
        with pytest.raises(StoreUnavailable):
            await value.get()
        database.error = None
        assert await value.get() == 2

    run(test)

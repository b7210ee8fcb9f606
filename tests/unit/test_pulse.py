"""Work that waits for PostgreSQL: given up where that is silent, and never because it takes long."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from ledger.errors import StoreUnavailable
from ledger.store import pulse
from ledger.store.pulse import Pulse


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at once."""
    monkeypatch.setattr(pulse, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(pulse, "CHECK_SECONDS", 0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(60):
            await test()

    asyncio.run(within())


class Server:
    """A database that answers, or is silent until it is let go on."""

    def __init__(self) -> None:
        self.asked = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: psycopg.Error | None = None

    def __call__(self, url: str) -> None:
        assert url == "postgresql://db/ledger"
        self.asked += 1
        if self.error is not None:
            raise self.error
        assert self.goes_on.wait(60)


def following(server: Server) -> Pulse:
    return Pulse("postgresql://db/ledger", server)


def test_what_takes_long_is_waited_for_while_the_database_answers() -> None:
    server = Server()

    async def test() -> None:
        done = []

        async def work() -> None:
            while server.asked < 3:  # noqa: ASYNC110  (a thread counts)
                await asyncio.sleep(0.01)
            done.append(True)

        await following(server).bounded(work())
        assert done

    run(test)


def test_a_silent_database_is_told_of_and_the_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    monkeypatch.setattr(pulse, "PROBE_SECONDS", 0)

    async def test() -> None:
        waiting = following(server)
        server.goes_on.clear()
        is_back, done = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            await is_back.wait()
            done.set()
            raise ValueError("nobody hears of it")

        async def refused() -> None:
            raise AssertionError("is not begun")

        with pytest.raises(StoreUnavailable):
            await waiting.bounded(work())
        # Known to be silent: others are not kept waiting, and nothing is begun for them.
        with pytest.raises(StoreUnavailable):
            await waiting.bounded(refused())
        assert server.asked == 1
        needs_nothing = asyncio.Event()
        await waiting.bounded(_set(needs_nothing), anyway=True)
        assert needs_nothing.is_set()
        server.goes_on.set()
        is_back.set()
        await done.wait()

        async def well() -> None:
            await asyncio.sleep(0)

        while True:
            try:
                await waiting.bounded(well())
            except StoreUnavailable:
                continue
            break

    run(test)


async def _set(event: asyncio.Event) -> None:
    event.set()


@pytest.mark.parametrize(
    ("error", "given_up"), [(psycopg.errors.ConnectionTimeout(), True), (psycopg.OperationalError("refused"), False)]
)
def test_only_silence_counts(error: psycopg.Error, given_up: bool) -> None:
    server = Server()
    server.error = error

    async def test() -> None:
        async def work() -> None:
            while server.asked < 2 and not given_up:  # noqa: ASYNC110  (a thread counts)
                await asyncio.sleep(0.01)
            if given_up:
                await asyncio.Event().wait()

        if given_up:
            with pytest.raises(StoreUnavailable):
                await following(server).bounded(work())
        else:
            await following(server).bounded(work())

    run(test)


def test_what_the_work_raises_is_raised_and_a_cancelled_wait_cancels_it() -> None:
    async def test() -> None:
        waiting = following(Server())

        async def fails() -> None:
            raise ValueError("its own")

        with pytest.raises(ValueError, match="its own"):
            await waiting.bounded(fails())
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def long() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        task = asyncio.create_task(waiting.bounded(long()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await cancelled.wait()

        async def cancels_itself() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await waiting.bounded(cancels_itself())

    run(test)

"""Sinks of several instances: one leads at a time, another goes on where it was, whatever becomes of its session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from ledger.ingest.clock import Clock
from ledger.settings import SinkSettings, WebhookSettings
from ledger.sinks.kind import Batch, Done, Head, Outcome, Retry, Stop
from ledger.sinks.service import Sinks
from ledger.store.ledger import Ledger
from ledger.working_state import sinks
from tests.support.ledgers import end_sessions
from tests.support.lived import lived, pour

DEADLINE_SECONDS = 120.0
SETTINGS = WebhookSettings("app", "http://app", ("whsec_",), coalesce_seconds=0.0)


class Kept:
    """Takes whatever it is told, until it wants no more."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.told: list[str] = []
        self.outcome = outcome
        self.closed = False

    async def tell(self, batch: Batch) -> Outcome:
        self.told += [each.uid for each in batch.changes]
        return self.outcome or Done()

    async def keep(self, _: Head) -> Outcome | None:
        return None

    async def close(self) -> None:
        self.closed = True


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def running(url: str, kind: Kept) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(Sinks(url, [SETTINGS], [], Clock().now, stop, lambda *_: kind).run())
    try:
        yield stop
    finally:
        stop.set()
        await task


@pytest.fixture
def life() -> Any:
    return lived(3, 60).ledger.kept


def users(kept: Any) -> set[str]:
    return {each.uid for each in kept if each.uid is not None}


def row(url: str) -> sinks.SinkRow | None:
    with psycopg.connect(url, autocommit=True) as connection:
        return sinks.read(connection).get("app")


def test_another_instance_goes_on_where_the_leading_one_was(database_url: str, ledger: Ledger, life: Any) -> None:
    first, second = Kept(), Kept()
    half = len(life) // 2

    async def follow() -> None:
        async with running(database_url, first) as stop:
            await until(lambda: row(database_url) is not None)
            async with running(database_url, second):
                await asyncio.to_thread(pour, ledger, life[:half])
                await until(lambda: users(life[:half]) <= {*first.told})
                assert second.told == []
                stop.set()
                await asyncio.to_thread(pour, ledger, life[half:])
                await until(lambda: users(life[half:]) <= {*first.told, *second.told})
        assert first.closed

    asyncio.run(follow())


def test_a_session_that_is_lost_ends_the_term_and_another_begins(database_url: str, ledger: Ledger, life: Any) -> None:
    kind = Kept()

    async def follow() -> None:
        async with running(database_url, kind):
            await until(lambda: row(database_url) is not None)
            end_sessions(database_url, "application_name LIKE '%sinks%'")
            await asyncio.to_thread(pour, ledger, life)
            await until(lambda: users(life) <= {*kind.told})

    asyncio.run(follow())


def test_orders_reach_the_leading_instance(database_url: str, ledger: Ledger, life: Any) -> None:
    kind = Kept(Stop("gone"))

    async def order(function: Callable[..., Any], *values: Any) -> None:
        def run() -> None:
            with psycopg.connect(database_url, autocommit=True) as connection:
                function(connection, "app", *values)

        await asyncio.to_thread(run)

    async def follow() -> None:
        async with running(database_url, kind):
            await until(lambda: row(database_url) is not None)
            await asyncio.to_thread(pour, ledger, life)
            await until(lambda: (found := row(database_url)) is not None and found.stopped_at is not None)
            kind.outcome = Retry("away", 3600.0)
            await order(sinks.resume)
            await until(lambda: (found := row(database_url)) is not None and found.failing_since is not None)
            kind.outcome = None
            number = len(kind.told)
            # Whoever resumes it does not wait for the pause to end.
            await order(sinks.resume)
            await until(lambda: users(life) <= {*kind.told[number:]})

    asyncio.run(follow())


def test_a_sink_that_cannot_be_built_holds_up_no_other(database_url: str, ledger: Ledger, life: Any) -> None:
    kind = Kept()
    broken = WebhookSettings("broken", "http://app", ("whsec_",))

    def build(sink: SinkSettings, *_: Any) -> Kept:
        if sink.name == "broken":
            raise ValueError("a defect")
        return kind

    async def follow() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(Sinks(database_url, [broken, SETTINGS], [], Clock().now, stop, build).run())
        await until(lambda: row(database_url) is not None)
        await asyncio.to_thread(pour, ledger, life)
        await until(lambda: users(life) <= {*kind.told})
        stop.set()
        await task

    with capture_logs() as logs:
        asyncio.run(follow())
    assert [each["sink"] for each in logs if each["event"] == "sink_broken"] == ["broken"]

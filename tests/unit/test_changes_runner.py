"""The feed's thread is woken however many ask."""

import asyncio
import threading

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.changes.runner import FeedRunner, Sink
from ledger.changes.step import Step
from ledger.errors import StoreUnavailable

ASKING = 2_000
"""A socket's buffer holds some 280 bytes that were sent one by one."""


async def ask_before_anybody_answers() -> list[bool]:
    """-> whether each question is still waiting after all have been put"""
    connects = threading.Event()

    async def publish(step: Step) -> None:
        raise AssertionError(step)

    def connect() -> Connection[TupleRow]:
        connects.wait()
        raise StoreUnavailable("nobody is there")

    def ask(feed: ChangeFeed, connection: Connection[TupleRow]) -> None:
        raise AssertionError(feed, connection)

    runner = FeedRunner(connect, lambda _: "", lambda: 0, Sink(publish, lambda: None))
    runner.start()
    asking = [asyncio.create_task(runner.ask(ask, lambda _: None)) for _ in range(ASKING)]
    await asyncio.sleep(0)
    waiting = [not task.done() for task in asking]
    connects.set()
    refused = await asyncio.gather(*asking, return_exceptions=True)
    await runner.stop()
    assert {type(each) for each in refused} == {StoreUnavailable}
    return waiting


@pytest.mark.timeout(60)
def test_the_event_loop_waits_for_nobody_however_many_ask() -> None:
    assert asyncio.run(ask_before_anybody_answers()) == [True] * ASKING

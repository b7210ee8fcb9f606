"""The writer and the commit lock: who waits for it, for how long, and on which connections."""

import asyncio

import pytest

from ledger.errors import StoreUnavailable
from ledger.ingest.clock import Clock
from ledger.reconcile.requests import request_run
from ledger.simulator.sender import encode
from ledger.store import recorder
from ledger.store.ledger import Ledger
from tests.support.ledgers import (
    SOURCE,
    Bounds,
    assert_consistent,
    configure,
    items_of,
    lock_held,
    opened,
    running,
    wait_until,
)

HASTY_SECONDS = 3.0
"""Many times what the first attempt to take the lock lasts."""


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    return ledger


def test_a_lock_that_is_held_for_long_is_tried_again_as_long_as_somebody_waits(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LOCK_TIMEOUT_SECONDS", 0.1)

    async def run() -> None:
        async with running(ledger) as patient, running(ledger, "j", Bounds(wait_seconds=HASTY_SECONDS)) as hasty:
            with lock_held(database_url):
                waiting = asyncio.create_task(patient.post(b'["u-0-1-1-1-1"]'))
                with pytest.raises(StoreUnavailable, match="the ledger is locked by another writer"):
                    await hasty.post(b'["v-0-1-2-1-1"]')
                assert not waiting.done()
                # At its next attempt it finds that nobody waits any more.
                await asyncio.to_thread(wait_until, hasty.is_idle, "what nobody waits for is dropped")
            await waiting
            await hasty.post(b'["w-0-1-3-1-1"]')

    asyncio.run(run())
    assert items_of(ledger) == ["u-0-1-1-1-1", "w-0-1-3-1-1"]
    assert_consistent(ledger)


def test_an_instance_stops_while_the_lock_is_held(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "LOCK_TIMEOUT_SECONDS", 0.1)

    async def run() -> None:
        with lock_held(database_url):
            async with running(ledger) as instance:
                taken = asyncio.create_task(instance.post(b'["u-0-1-1-1-1"]'))
                await asyncio.wait([taken], timeout=0.05)
            with pytest.raises(StoreUnavailable, match="the ledger is locked by another writer"):
                await taken

    asyncio.run(run())
    assert items_of(ledger) == []


def test_who_holds_the_lock_needs_no_other_connection(database_url: str) -> None:
    """The others of a pool may all be held by those who wait for the lock."""
    bounds = Bounds(group_items=3)

    async def run(ledger: Ledger, other: Ledger) -> None:
        async with running(ledger, "a", bounds) as one, running(other, "b", bounds) as two:
            for number in range(1, 4):
                await one.post(f'["u-0-1-{number}-1-1"]'.encode())
                await two.post(f'["u-0-0-{number}-1-1"]'.encode())

    with opened(database_url, pool_size=1) as ledger, opened(database_url, pool_size=1) as other:
        configure(ledger)
        asyncio.run(run(ledger, other))
        assert len(items_of(ledger)) == 6
        assert_consistent(ledger)


def test_a_delivery_in_parts_has_both_its_connections_before_the_lock(database_url: str) -> None:
    large = [f"u{number}-0-1-{number}-1-1" for number in range(1, 20)]

    async def run(ledger: Ledger) -> None:
        async with running(ledger, bounds=Bounds(group_items=3)) as instance:
            await instance.post(encode(large))
            with ledger.connection():
                post = asyncio.create_task(instance.post(encode(large), node="n2"))
                await asyncio.wait([post], timeout=0.3)
                with opened(database_url) as other:
                    # It waits for its second connection, and nobody waits for it.
                    request_run(other, SOURCE, [], "i", Clock().now())
            await post

    with opened(database_url, pool_size=2) as ledger:
        configure(ledger)
        asyncio.run(run(ledger))
        assert items_of(ledger) == large * 2
        assert_consistent(ledger)

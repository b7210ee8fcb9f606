"""The writer on real servers: every item once, whatever shares the database, fails, fills up or is taken away."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from ledger.domain.events import DeliveryReceived
from ledger.errors import StoreUnavailable
from ledger.ingest import group
from ledger.simulator.sender import encode
from ledger.store.ledger import Ledger
from tests.support import pg
from tests.support.ledgers import (
    Bounds,
    Instance,
    all_rows,
    assert_consistent,
    configure,
    items_of,
    lock_held,
    opened,
    running,
)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    return ledger


def bodies(seed: int, number: int, prefix: str = "") -> list[bytes]:
    """Random deliveries about few users, so that they overlap; each item is another one."""
    rng = random.Random(seed)
    serial = iter(range(1, 10_000_000))
    return [
        encode(
            f"{prefix}u{rng.randrange(12)}-{rng.randrange(3)}-{rng.randrange(2)}-{seed * 100_000 + next(serial)}-"
            f"{rng.randrange(3)}-{rng.randrange(4)}"
            for _ in range(rng.randrange(1, 20))
        )
        for _ in range(number)
    ]


def sent(*deliveries: bytes) -> Counter[str]:
    return Counter(item for body in deliveries for item in body.decode()[2:-2].split('","'))


def received(ledger: Ledger) -> list[DeliveryReceived]:
    events = (ledger.event(row) for row in all_rows(ledger))
    return [event for event in events if isinstance(event, DeliveryReceived)]


async def post_all(instance: Instance, deliveries: Sequence[bytes], at_once: int, node: str = "n1") -> None:
    """Post deliveries in order, so many under way at once."""
    free = asyncio.Semaphore(at_once)

    async def one(body: bytes) -> None:
        async with free:
            await instance.post(body, node)

    async with asyncio.TaskGroup() as tasks:
        for body in deliveries:
            tasks.create_task(one(body))


@pg.on_every_server
def test_every_item_once_and_current_is_their_fold(ledger: Ledger) -> None:
    deliveries = bodies(1, 150)

    async def run() -> None:
        async with running(ledger) as instance:
            await post_all(instance, deliveries, at_once=40)

    asyncio.run(run())
    assert Counter(items_of(ledger)) == sent(*deliveries)
    assert_consistent(ledger)


def test_what_one_sender_posts_in_turn_is_recorded_in_its_order(ledger: Ledger) -> None:
    deliveries = bodies(2, 40)

    async def run() -> None:
        async with running(ledger) as instance:
            for body in deliveries:
                await instance.post(body)

    asyncio.run(run())
    assert items_of(ledger) == list(sent(*deliveries))


@pg.on_every_server
def test_two_instances_on_one_database_are_as_one(ledger: Ledger, database_url: str) -> None:
    first, second = bodies(3, 120), bodies(4, 120)

    async def run(other_ledger: Ledger) -> None:
        async with running(ledger, "a") as one, running(other_ledger, "b") as other:
            await asyncio.gather(
                post_all(one, first, at_once=16, node="n1"), post_all(other, second, at_once=16, node="n2")
            )

    with opened(database_url) as other_ledger:
        asyncio.run(run(other_ledger))
    assert Counter(items_of(ledger)) == sent(*first, *second)
    assert Counter(each.delivery[0] for each in received(ledger)) == {"a": 120, "b": 120}
    assert_consistent(ledger)


def test_instances_that_take_turns_know_what_the_other_wrote(ledger: Ledger, database_url: str) -> None:
    async def run(other_ledger: Ledger) -> None:
        async with running(ledger, "a") as one, running(other_ledger, "b") as other:
            await one.post(b'["u-0-1-1-1-1"]')
            await other.post(b'["u-0-1-2-2-2"]')
            await one.post(b'["u-0-0-1-1-1"]')
            await other.post(b'["u-0-0-1-1-1"]')

    with opened(database_url) as other_ledger:
        asyncio.run(run(other_ledger))
    assert [event.repeats for event in received(ledger)] == [None, None, None, "a-2"]
    with ledger.connection() as connection:
        row = connection.execute("SELECT version, status, devices FROM current").fetchone()
    assert row == (4, "online", " main/0/on/n1 ")
    assert_consistent(ledger)


def test_identical_bodies_in_flight_share_one_delivery(ledger: Ledger, database_url: str) -> None:
    body = b'["u-0-1-1-1-1"]'

    async def run() -> None:
        async with running(ledger) as instance:
            with lock_held(database_url):
                posts = [asyncio.create_task(instance.post(body)) for _ in range(5)]
                elsewhere = asyncio.create_task(instance.post(body, node="n2"))
                await asyncio.wait(posts, timeout=0)
            await asyncio.gather(*posts, elsewhere)
            await instance.post(body)

    asyncio.run(run())
    deliveries = received(ledger)
    assert [(each.node, each.repeats is not None) for each in deliveries] == [
        ("n1", False),
        ("n2", False),
        ("n1", True),
    ]
    assert len(items_of(ledger)) == 3


def test_a_full_queue_slows_its_senders_down_and_loses_nothing(ledger: Ledger, database_url: str) -> None:
    deliveries = [encode(f"u{n}-0-1-{n}-1-1-{i}-0-1-9-1-1" for i in range(3)) for n in range(40)]
    bounds = Bounds(queue_items=10)

    async def run() -> int:
        async with running(ledger, bounds=bounds) as instance:
            with lock_held(database_url):
                posts = [asyncio.create_task(instance.post(body)) for body in deliveries]
                await asyncio.wait(posts, timeout=0.1)
                entered = instance.intake.waiting.items
            await asyncio.gather(*posts)
            return entered

    assert 0 < asyncio.run(run()) <= bounds.queue_items
    assert Counter(items_of(ledger)) == sent(*deliveries)
    assert_consistent(ledger)


def test_a_queue_that_stays_full_gives_up(ledger: Ledger, database_url: str) -> None:
    async def run() -> list[BaseException | str]:
        async with running(ledger, bounds=Bounds(queue_items=1, wait_seconds=0.2)) as instance:
            with lock_held(database_url):
                posts = [instance.post(f'["u-0-1-{n}-1-1"]'.encode()) for n in range(3)]
                return await asyncio.gather(*posts, return_exceptions=True)

    assert [type(each) for each in asyncio.run(run())] == [StoreUnavailable] * 3
    assert len(received(ledger)) <= 1


def test_after_closing_what_was_taken_is_committed_and_nothing_more_is_taken(ledger: Ledger, database_url: str) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            with lock_held(database_url):
                taken = asyncio.create_task(instance.post(b'["u-0-1-1-1-1"]'))
                await asyncio.wait([taken], timeout=0)
                instance.intake.close()
                with pytest.raises(StoreUnavailable, match="stopping"):
                    await instance.post(b'["u-0-1-2-2-2"]')
            await taken

    asyncio.run(run())
    assert items_of(ledger) == ["u-0-1-1-1-1"]


def test_a_sender_that_went_away_leaves_its_webhook_to_be_committed(ledger: Ledger, database_url: str) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            with lock_held(database_url):
                gone = asyncio.create_task(instance.post(b'["u-0-1-1-1-1"]'))
                await asyncio.wait([gone], timeout=0)
                gone.cancel()
                await asyncio.wait([gone])
            await instance.post(b'["v-0-1-2-1-1"]')

    asyncio.run(run())
    assert sorted(items_of(ledger)) == ["u-0-1-1-1-1", "v-0-1-2-1-1"]


def test_rejected_items_and_bodies_stand_among_the_others(ledger: Ledger) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            await instance.post(b'["u-0-1-1-1-1", 1, "\\ud800-0-1-1-1-1", "a\\u0000-0-1-1-1-1", "v-0-1-2-1-1"]')
            await instance.post(b"\xff")

    asyncio.run(run())
    kinds = [row.kind.partition(".")[0] for row in all_rows(ledger)][2:]
    rejected = ["item_rejected"] * 3
    assert kinds == ["delivery_received", "webhook_observed", *rejected, "webhook_observed", "body_rejected"]
    assert_consistent(ledger)


@pg.on_every_server
@pytest.mark.parametrize("part_items", [7, 100])
def test_a_delivery_larger_than_a_group_goes_in_parts(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, part_items: int
) -> None:
    monkeypatch.setattr(group, "PART_ITEMS", part_items)
    large = encode([*(f"u{n % 60}-0-1-{n}-1-1" for n in range(400)), "no claim", "u1-0-0-1-5-5"])
    small = bodies(5, 30)

    async def run() -> None:
        async with running(ledger, bounds=Bounds(group_items=100)) as instance:
            await asyncio.gather(
                post_all(instance, small[:15], 5), instance.post(large), post_all(instance, small[15:], 5)
            )

    asyncio.run(run())
    expected = sent(large, *small)
    del expected["no claim"]
    assert Counter(items_of(ledger)) == expected
    assert_consistent(ledger)

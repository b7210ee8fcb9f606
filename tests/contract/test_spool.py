"""The spool on a real PostgreSQL: what was acknowledged comes to be in the ledger once and in its order, whenever the
instance dies, and nothing of a node overtakes what it posted before."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest

from ledger.domain.events import DeliveryReceived
from ledger.ingest import group
from ledger.ingest.ticket import Ticket
from ledger.simulator.sender import encode
from ledger.spool.files import Batch, SpoolFiles, SpoolFull
from ledger.spool.format import SpooledWebhook
from ledger.spool.spool import Spool
from ledger.store import recorder
from ledger.store.commit import Commit
from ledger.store.ledger import Ledger
from ledger.store.rows import PackedRows
from tests.support.ledgers import (
    DEADLINE_SECONDS,
    Instance,
    all_rows,
    assert_consistent,
    configure,
    items_of,
    lock_held,
    running,
)

MIB = 1_048_576
LEDGER_ID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    # An attempt that waits for the lock ends soon, as one does that finds nobody.
    monkeypatch.setattr(recorder, "LOCK_TIMEOUT_SECONDS", 0.2)
    configure(ledger)
    return ledger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


class Spooling:
    """The ingest of an instance that has a spool."""

    def __init__(self, instance: Instance, spool: Spool, files: SpoolFiles) -> None:
        self.instance = instance
        self.spool = spool
        self.files = files

    async def post(self, number: int, node: str = "n1", items: int = 1) -> Ticket:
        """Post one webhook of that number; its items name it."""
        body = encode([f"{node}u{number}i{item}-0-1-{number * 100 + item + 1}-1-1" for item in range(items)])
        now = self.instance._clock.now()
        return await self.instance.intake.submit(f"{node}-{number}", "main", node, now, body)

    async def until(self, done: str) -> None:
        """Wait until the spool is `spooling`, or `empty` and webhooks are committed again."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (self.spool.state.since if done == "spooling" else self._is_over()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def _is_over(self) -> bool:
        return self.spool.state.since is None and not self.files.contents.size

    async def abandon(self) -> None:
        """As a kill does: nothing more is read, kept or deleted."""
        for task in self.spool._tasks:
            task.cancel()
        await asyncio.gather(*self.spool._tasks, return_exceptions=True)


@asynccontextmanager
async def spooling(ledger: Ledger, folder: Path, max_bytes: int = 64 * MIB) -> AsyncIterator[Spooling]:
    async with running(ledger) as instance:
        files = SpoolFiles(folder, max_bytes, LEDGER_ID)
        spool = Spool(instance.intake, files, 10_000, instance._clock.now)
        spool.start()
        try:
            yield Spooling(instance, spool, files)
        finally:
            await spool.stop()


def numbers(ledger: Ledger, node: str = "n1") -> list[int]:
    """The numbers of a node's webhooks in the order of the ledger."""
    events = (ledger.event(row) for row in all_rows(ledger))
    return [
        int(each.delivery.split("-")[1]) for each in events if isinstance(each, DeliveryReceived) and each.node == node
    ]


def drained(ledger: Ledger, folder: Path) -> None:
    """A new instance takes what is left in a folder."""

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            await each.until("empty")

    asyncio.run(run())


def test_while_the_store_takes_nothing_webhooks_are_kept_and_come_in_their_order(
    ledger: Ledger, database_url: str, folder: Path
) -> None:
    async def run() -> list[bool]:
        async with spooling(ledger, folder) as each:
            tickets = [await each.post(0)]
            with lock_held(database_url):
                tickets += [await each.post(number, items=3) for number in range(1, 40)]
                assert each.spool.takes
                assert each.spool.state.contents.deliveries == 39
            # What comes now is behind it.
            tickets.append(await each.post(40))
            await each.until("empty")
            tickets.append(await each.post(41))
            return [ticket.is_spooled for ticket in tickets]

    assert asyncio.run(run()) in ([False, *[True] * 40, False], [False, *[True] * 39, False, False])
    assert numbers(ledger) == list(range(42))
    assert len(items_of(ledger)) == len(set(items_of(ledger))) == 3 + 39 * 3
    spooled = [
        each for each in map(ledger.event, all_rows(ledger)) if isinstance(each, DeliveryReceived) and each.spooled
    ]
    # The first one's own attempt, for which the spool did not wait, may have got the lock; the last ones may be behind.
    assert {each.delivery for each in spooled} >= {f"n1-{n}" for n in range(2, 40)}
    instants = [each.received_at for each in spooled]
    assert instants == sorted(instants)
    assert_consistent(ledger)
    assert list(folder.iterdir()) == []


def test_nodes_that_go_on_posting_overtake_nothing_of_their_own(
    ledger: Ledger, database_url: str, folder: Path
) -> None:
    posts = 60

    async def node(each: Spooling, name: str) -> None:
        for number in range(posts):
            await each.post(number, name)
            await asyncio.sleep(0.005)

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            posting = [asyncio.create_task(node(each, name)) for name in ("n1", "n2")]
            for _ in range(2):
                with lock_held(database_url):
                    await each.until("spooling")
                    await asyncio.sleep(0.1)
                await each.until("empty")
            await asyncio.gather(*posting)
            await each.until("empty")

    asyncio.run(run())
    assert numbers(ledger, "n1") == numbers(ledger, "n2") == list(range(posts))
    assert_consistent(ledger)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few webhooks a batch, so that there are several."""
    real = SpoolFiles.read
    monkeypatch.setattr(SpoolFiles, "read", lambda self, _, size: real(self, 6, size))


@pytest.mark.usefixtures("small_batches")
def test_while_more_is_left_whoever_is_to_give_way_is_told(ledger: Ledger, database_url: str, folder: Path) -> None:
    told, first = list[bool](), list[bool]()

    async def run() -> None:
        async with spooling(ledger, folder) as each:

            def tell(drains: bool) -> None:
                told.append(drains)
                first.append(each.spool.comes_first)

            each.spool.tell_of_drain(tell)
            with lock_held(database_url):
                for number in range(40):
                    await each.post(number)
            await each.until("empty")

    asyncio.run(run())
    assert told[:2] == [False, True]
    assert told[-1] is False
    assert first == told


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("step", ["kept", "read", "committed", "settled"])
def test_killed_at_any_step_nothing_is_lost_or_doubled(
    ledger: Ledger, database_url: str, folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = asyncio.Event()

    async def hang(*_: object) -> None:
        killed.set()
        await asyncio.Event().wait()

    real_land = Spool._land

    async def land(spool: Spool, batch: Batch, tickets: list[Ticket]) -> None:
        if step == "settled":
            await real_land(spool, batch, tickets)
        else:
            await asyncio.gather(*(ticket.done for ticket in tickets))
        await hang()

    def read_only(spool: Spool, batch: Batch) -> None:
        spool._flying.append((batch, spool._tickets(batch.webhooks)))

    if step == "read":
        monkeypatch.setattr(Spool, "_fly", read_only)
    elif step != "kept":
        monkeypatch.setattr(Spool, "_land", land)

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            with lock_held(database_url):
                for number in range(20):
                    assert (await each.post(number)).is_spooled
                if step in ("kept", "read"):
                    await each.abandon()
                    killed.set()
            async with asyncio.timeout(DEADLINE_SECONDS):
                await killed.wait()
            await each.abandon()

    asyncio.run(run())
    monkeypatch.undo()
    assert step == "settled" or any(folder.iterdir())
    drained(ledger, folder)
    assert numbers(ledger) == list(range(20))
    assert_consistent(ledger)
    assert list(folder.iterdir()) == []


def test_files_that_are_drained_again_change_nothing(
    ledger: Ledger, database_url: str, folder: Path, tmp_path: Path
) -> None:
    copies = []

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            with lock_held(database_url):
                for number in range(12):
                    await each.post(number)
                    copies.append(Path(shutil.copytree(folder, tmp_path / f"copy{number}")))
            await each.until("empty")

    asyncio.run(run())
    before = [row.position for row in all_rows(ledger)]
    for copy in copies[::4]:
        drained(ledger, copy)
    assert [row.position for row in all_rows(ledger)] == before
    # With what is in the ledger already, what is not is taken.
    with SpoolFilled(copies[-1], range(12, 15)):
        drained(ledger, copies[-1])
    assert numbers(ledger) == list(range(15))


@contextmanager
def SpoolFilled(folder: Path, new: range) -> Iterator[None]:  # noqa: N802  (reads as what it makes)
    """A folder to which another instance has added webhooks."""
    files = SpoolFiles(folder, 64 * MIB, LEDGER_ID)
    files.append(
        [SpooledWebhook(f"n1-{n}", "main", "n1", 1_700_000_000_000_000, encode([f"x{n}-0-1-1-1-1"])) for n in new]
    )
    files.close()
    yield


def test_what_finds_no_room_is_refused_and_nothing_that_was_taken_is_lost(
    ledger: Ledger, database_url: str, folder: Path
) -> None:
    taken, refused = [], []

    async def run() -> None:
        async with spooling(ledger, folder, max_bytes=70_000) as each:
            with lock_held(database_url):
                for number in range(40):
                    try:
                        await each.post(number, items=100)
                        taken.append(number)
                    except SpoolFull:
                        refused.append(number)
                assert not each.spool.takes
            await each.until("empty")
            await each.post(100)
            taken.append(100)
            assert each.spool.takes

    asyncio.run(run())
    assert refused
    assert numbers(ledger) == taken
    assert_consistent(ledger)


def test_what_postgresql_refuses_is_put_aside_and_holds_up_nothing(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Commit.append

    def append(commit: Commit, packed: list[PackedRows]) -> None:
        if any(b"n1u5i0" in bytes(rows.payloads) for rows in packed):
            raise psycopg.DataError("a value that cannot be")
        real(commit, packed)

    monkeypatch.setattr(Commit, "append", append)

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            with lock_held(database_url):
                for number in range(10):
                    await each.post(number)
            await each.until("empty")

    asyncio.run(run())
    assert sorted(numbers(ledger)) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert [path.suffix for path in folder.iterdir()] == [".refused"]
    monkeypatch.undo()
    drained(ledger, folder)
    assert sorted(numbers(ledger)) == list(range(10))
    assert_consistent(ledger)


def test_a_large_body_is_spooled_and_comes_in_parts(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "PART_ITEMS", 5_000)

    async def run() -> None:
        async with spooling(ledger, folder) as each:
            with lock_held(database_url):
                await each.post(0)
                await each.post(1, items=12_000)
                await each.post(2)
            await each.until("empty")

    asyncio.run(run())
    assert numbers(ledger) == [0, 1, 2]
    assert len(items_of(ledger)) == 12_002
    assert_consistent(ledger)


def test_what_was_left_is_drained_although_the_spool_is_off_by_now(
    ledger: Ledger, database_url: str, folder: Path
) -> None:
    async def run(max_bytes: int) -> None:
        async with spooling(ledger, folder, max_bytes) as each:
            if max_bytes:
                with lock_held(database_url):
                    await each.post(0)
                    await each.abandon()
            else:
                assert not each.spool.takes
                assert not (await each.post(1)).is_spooled
                await each.until("empty")

    asyncio.run(run(64 * MIB))
    asyncio.run(run(0))
    assert sorted(numbers(ledger)) == [0, 1]

"""The writer where PostgreSQL answers and takes nothing: every class of error, locks, a database set read-only.

A sender is told in time, nothing hangs, and all is well again as soon as PostgreSQL is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ledger.errors import StoreUnavailable
from ledger.ingest import group
from ledger.ingest.store_progress import StoreProgress
from ledger.ingest.writer import Writer
from ledger.simulator.sender import encode
from ledger.store import recorder
from ledger.store.ledger import Ledger, try_to_write
from projections.models import current
from tests.support import pg
from tests.support.ledgers import (
    Bounds,
    Instance,
    assert_consistent,
    configure,
    end_sessions,
    items_of,
    lock_held,
    opened,
    running,
    wait_until,
)

pytestmark = pytest.mark.timeout(120)

WAIT_SECONDS = 0.2

CODES = (
    "08006", "0A000", "22P05", "23505", "25006", "26000", "2D000", "38000", "3D000", "3F000", "40001", "40P01", "42501",
    "42P01", "53100", "53200", "54000", "55P03", "57014", "57P01", "58030", "F0000", "P0001", "XX000",
)  # fmt: skip
"""One at least of every class that a statement of ours may meet."""


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    return ledger


async def refused(post: Callable[[bytes], Awaitable[Any]], body: bytes, match: str = "PostgreSQL|lock") -> None:
    """It is, and before anybody loses patience."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=match):
        await post(body)
    # The bound itself is `wait_seconds`; this one only tells it from a hang.
    assert time.monotonic() - began < 20


async def taken(instance: Instance, body: bytes) -> None:
    """Post as a sender does: again until it is taken."""
    deadline = time.monotonic() + 30
    while True:
        try:
            await instance.post(body)
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline


def test_every_class_of_error_is_told_in_time_and_passes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write, raised = current.write, [""]

    def writing(cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        write(cursor, parts)
        if raised[0]:
            cursor.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{raised[0]}'; END $$".encode())

    monkeypatch.setattr(current, "write", writing)

    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=0.05)) as instance:
            for number, code in enumerate(CODES, 1):
                raised[0] = code
                await refused(instance.post, f'["no-0-1-{number}-1-1"]'.encode())
                assert instance.intake.store.trouble is not None, code
            raised[0] = ""
            await taken(instance, b'["u-0-1-1-1-1"]')
            assert instance.intake.store.trouble is None
            assert instance.writer.is_alive()

    asyncio.run(run())
    assert items_of(ledger)[-1] == "u-0-1-1-1-1"
    assert_consistent(ledger)


def test_what_only_one_group_meets_delays_no_other(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write = current.write

    def writing(cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        write(cursor, parts)
        if any(b"poison" in bytes(rows.uids) for rows in parts):
            cursor.execute("SELECT 1 / 0")

    monkeypatch.setattr(current, "write", writing)

    async def run() -> None:
        async with running(ledger) as instance:
            # At once, with all of its thirty seconds left.
            await refused(instance.post, b'["poison-0-1-1-1-1"]', "PostgreSQL refuses what was to be stored")
            await instance.post(b'["u-0-1-1-1-1"]')
            assert instance.intake.store.trouble is None

    asyncio.run(run())
    assert items_of(ledger) == ["u-0-1-1-1-1"]


@asynccontextmanager
async def set_read_only(url: str) -> AsyncIterator[None]:
    """While the database is set so, and everybody has had to connect again."""
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(pg.with_database(url, "postgres"), autocommit=True) as server:
        server.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        try:
            end_sessions(url, "true")
            yield
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))
            end_sessions(url, "true")


@pg.on_every_server
def test_a_database_set_read_only_refuses_in_time_and_is_tried_by_readiness(ledger: Ledger, database_url: str) -> None:
    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=WAIT_SECONDS)) as instance:
            await taken(instance, b'["u-0-1-1-1-1"]')
            async with set_read_only(database_url):
                for number in range(2, 6):
                    await refused(instance.post, f'["u-0-1-{number}-1-1"]'.encode())
                wait_until(lambda: "read-only" in (instance.intake.store.trouble or ""), "the reason")
                # The writer tries as well: for a moment it is what holds the lock.
                wait_until(lambda: "read-only" in why_not_written(ledger), "the reason for a try")
            wait_until(lambda: takes_writes(ledger), "a connection after those that were ended")
            await taken(instance, b'["u-0-1-9-1-1"]')

    asyncio.run(run())
    assert items_of(ledger)[-1] == "u-0-1-9-1-1"
    assert_consistent(ledger)


def why_not_written(ledger: Ledger) -> str:
    """What a try to write is refused for; empty where it is not."""
    try:
        try_to_write(ledger)
    except StoreUnavailable as error:
        return str(error)
    return ""


def takes_writes(ledger: Ledger) -> bool:
    return not why_not_written(ledger)


def test_a_try_to_write_leaves_nothing_and_waits_for_nobody(ledger: Ledger, database_url: str) -> None:
    before = items_of(ledger), ledger.events_recorder.max_notification_id()
    try_to_write(ledger)
    assert (items_of(ledger), ledger.events_recorder.max_notification_id()) == before
    with opened(database_url, pool_size=1) as other, other.events_recorder.commit():
        assert not takes_writes(ledger)


@pytest.mark.parametrize("table", ["events", "current", "seals"])
def test_a_table_locked_by_somebody_refuses_in_time(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(recorder, "LOCK_TIMEOUT_SECONDS", 0.1)

    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=WAIT_SECONDS)) as instance:
            await taken(instance, b'["u-0-1-1-1-1"]')
            with psycopg.connect(database_url) as other:
                other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
                await refused(instance.post, b'["u-0-1-2-1-1"]')
                await refused(instance.post, b'["v-0-1-3-1-1"]')
            await taken(instance, b'["u-0-1-4-1-1"]')

    asyncio.run(run())
    assert items_of(ledger)[-1] == "u-0-1-4-1-1"
    assert_consistent(ledger)


def test_a_commit_that_hangs_is_trouble_before_it_ends(ledger: Ledger, database_url: str) -> None:
    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=WAIT_SECONDS)) as instance:
            with lock_held(database_url):
                await refused(instance.post, b'["u-0-1-1-1-1"]')
                assert instance.intake.store.trouble is not None
                assert not takes_writes(ledger)
            await taken(instance, b'["v-0-1-2-1-1"]')
            assert instance.intake.store.trouble is None

    asyncio.run(run())


def test_a_large_delivery_that_is_begun_again_and_again_keeps_nobody_waiting(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "PART_ITEMS", 10)
    write, calls = current.write, [0]

    def writing(cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        write(cursor, parts)
        calls[0] += 1
        if calls[0] % 4 == 0:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$")

    monkeypatch.setattr(current, "write", writing)
    large = [f"u{n}-0-1-{n}-1-1" for n in range(100)]

    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=WAIT_SECONDS, group_items=20)) as instance:
            posts = [instance.post(encode(large)), instance.post(b'["v-0-1-1-1-1"]', node="n2")]
            whole, _ = await asyncio.gather(*posts, return_exceptions=True)
            assert isinstance(whole, StoreUnavailable)
            monkeypatch.setattr(current, "write", write)
            await taken(instance, encode(large))

    asyncio.run(run())
    assert set(large) <= set(items_of(ledger))
    assert_consistent(ledger)


def test_a_large_delivery_that_found_no_connection_at_first_shows_how_far_it_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it can be in the ledger, so that its second attempt is the first: whoever waits may wait on."""
    monkeypatch.setattr(group, "PART_ITEMS", 10)
    second_connection, calls, steps = Writer._second_connection, [0], [0]

    def at_first_none(writer: Writer) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise StoreUnavailable("couldn't get a connection")
        return second_connection(writer)

    def stepped(_: StoreProgress) -> None:
        steps[0] += 1

    monkeypatch.setattr(Writer, "_second_connection", at_first_none)
    monkeypatch.setattr(StoreProgress, "progressed", stepped)

    async def run() -> None:
        async with running(ledger, bounds=Bounds(group_items=20)) as instance:
            await instance.post(encode([f"u{n}-0-1-{n}-1-1" for n in range(100)]))

    asyncio.run(run())
    assert calls[0] == 2
    assert steps[0] > 100 / 10, "one for each part, and one for the whole"


def test_a_large_delivery_that_is_begun_again_ends_once_nobody_waits_for_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "PART_ITEMS", 10)
    write, written = current.write, [0]

    def writing(cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        write(cursor, parts)
        written[0] += 1
        if written[0] == 2:
            cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$")
        if written[0] > 2:
            time.sleep(2 * WAIT_SECONDS)

    monkeypatch.setattr(current, "write", writing)

    async def run() -> None:
        async with running(ledger, bounds=Bounds(wait_seconds=WAIT_SECONDS, group_items=20)) as instance:
            await refused(instance.post, encode([f"u{n}-0-1-{n}-1-1" for n in range(1000)]), match="no")
            await asyncio.to_thread(wait_until, instance.is_idle, "nobody is left in the queue")

    asyncio.run(run())
    assert written[0] < 20, "of a hundred parts"
    assert items_of(ledger) == []

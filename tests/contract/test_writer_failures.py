"""The writer when something breaks: half a delivery never stays, nothing is stored twice, defects cost one group."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from ledger.domain.events import DeliveryReceived
from ledger.errors import StoreUnavailable
from ledger.ingest import draft, group, writer
from ledger.ingest.draft import ParsedWebhook
from ledger.simulator.sender import encode
from ledger.store.commit import Commit
from ledger.store.ledger import Ledger
from ledger.store.recorder import LedgerRecorder
from projections.models import current
from tests.support import pg
from tests.support.ledgers import (
    DEADLINE_SECONDS,
    Bounds,
    all_rows,
    assert_consistent,
    configure,
    end_sessions,
    items_of,
    running,
    wait_until,
)

ALL_SESSIONS = "application_name = 'presence-ledger'"
LARGE = [f"u{n % 60}-0-1-{n}-1-1" for n in range(500)]
IN_PARTS = Bounds(group_items=100)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    return ledger


def deliveries(ledger: Ledger) -> list[str]:
    events = (ledger.event(row) for row in all_rows(ledger))
    return [event.delivery for event in events if isinstance(event, DeliveryReceived)]


class KilledHalfWay:
    """In place of `current.write`: ends every session before the third part of each of the first attempts."""

    def __init__(self, url: str, kills: int) -> None:
        self._url = url
        self._kills = kills
        self._calls = 0
        self._write = current.write
        self.seen: list[int] = []
        """Events of users that others saw at each kill."""

    def __call__(self, cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        self._calls += 1
        if self._calls % 3 == 0 and len(self.seen) < self._kills:
            assert end_sessions(self._url, ALL_SESSIONS)
            with psycopg.connect(self._url) as connection:
                row = connection.execute("SELECT count(*) FROM events WHERE stream LIKE 'user:%'").fetchone()
            assert row is not None
            self.seen.append(row[0])
        self._write(cursor, parts)


@pg.on_every_server
def test_a_large_delivery_killed_half_way_is_stored_whole_once(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = KilledHalfWay(database_url, kills=2)
    monkeypatch.setattr(current, "write", killed)
    monkeypatch.setattr(group, "PART_ITEMS", 50)

    async def run() -> None:
        async with running(ledger, bounds=IN_PARTS) as instance:
            await instance.post(encode(LARGE))

    asyncio.run(run())
    assert killed.seen == [0, 0]
    assert items_of(ledger) == LARGE
    assert_consistent(ledger)


def test_a_large_delivery_killed_until_its_sender_gave_up_is_not_stored_at_all(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = KilledHalfWay(database_url, kills=1000)
    monkeypatch.setattr(current, "write", killed)
    monkeypatch.setattr(group, "PART_ITEMS", 50)

    async def run() -> None:
        async with running(ledger, bounds=IN_PARTS._replace(wait_seconds=0.5)) as instance:
            with pytest.raises(StoreUnavailable):
                await instance.post(encode(LARGE))

    asyncio.run(run())
    assert set(killed.seen) == {0}
    monkeypatch.undo()
    wait_until(lambda: answers(ledger), "a connection after those that were killed")
    assert items_of(ledger) == []
    assert_consistent(ledger)


def answers(ledger: Ledger) -> bool:
    try:
        return ledger.events_recorder.max_notification_id() is not None
    except Exception:  # noqa: BLE001  (whatever it says: not yet)
        return False


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first commit that writes takes place, but its answer is lost; the head after it is noted."""
    real = LedgerRecorder.commit
    lost: list[int] = []

    @contextmanager
    def commit(recorder: LedgerRecorder) -> Iterator[Commit]:
        with real(recorder) as found:
            head = found.head
            yield found
        if found.head > head and not lost:
            lost.append(found.head)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(LedgerRecorder, "commit", commit)
    return lost


@pytest.mark.parametrize("bounds", [Bounds(), IN_PARTS], ids=["group", "in parts"])
def test_a_commit_whose_answer_was_lost_is_not_stored_twice(
    ledger: Ledger, lost_answers: list[int], bounds: Bounds
) -> None:
    async def run() -> list[str]:
        async with running(ledger, bounds=bounds) as instance:
            return [await instance.post(encode(LARGE)), await instance.post(b'["v-0-1-1-1-1"]')]

    assert asyncio.run(run()) == deliveries(ledger)
    assert len(lost_answers) == 1
    assert items_of(ledger) == [*LARGE, "v-0-1-1-1-1"]
    assert_consistent(ledger)


def test_a_lost_answer_to_a_rejected_body_is_not_stored_twice(ledger: Ledger, lost_answers: list[int]) -> None:

    async def run() -> None:
        async with running(ledger) as instance:
            await instance.post(b"{}")

    asyncio.run(run())
    assert len(lost_answers) == 1
    assert [row.kind for row in all_rows(ledger)][2:] == ["body_rejected.v1"]


@contextmanager
def away(url: str) -> Iterator[None]:
    """While the database takes no connection and has ended those there were."""
    database = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    name = sql.Identifier(database)
    with psycopg.connect(pg.with_database(url, "postgres"), autocommit=True) as server:
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
                (database,),
            )
            yield
        finally:
            server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


@pg.on_every_server
def test_a_store_that_stays_away_is_an_error_in_time_and_the_writer_recovers(ledger: Ledger, database_url: str) -> None:
    async def run() -> float:
        async with running(ledger, bounds=Bounds(wait_seconds=1.0)) as instance:
            await instance.post(b'["u-0-1-1-1-1"]')
            with away(database_url):
                started = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    await instance.post(b'["u-0-1-2-2-2"]')
                took = time.monotonic() - started
            await until_taken(instance.post, b'["u-0-1-3-2-2"]')
            return took

    took = asyncio.run(run())
    assert 1.0 <= took < DEADLINE_SECONDS
    # Of the one that got no answer nobody knows, but it is there once at most.
    assert items_of(ledger) in (
        ["u-0-1-1-1-1", "u-0-1-3-2-2"],
        ["u-0-1-1-1-1", "u-0-1-2-2-2", "u-0-1-3-2-2"],
    )
    assert_consistent(ledger)


async def until_taken(post: Any, body: bytes) -> None:
    """Post as a sender does: again until it is taken."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            await post(body)
            return
        except StoreUnavailable:
            assert time.monotonic() < deadline


@pg.on_every_server
def test_a_store_that_comes_back_in_time_costs_only_the_wait(ledger: Ledger, database_url: str) -> None:
    async def run() -> None:
        async with running(ledger, bounds=Bounds()) as instance:
            with away(database_url):
                posts = [asyncio.create_task(instance.post(f'["u{n}-0-1-{n}-1-1"]'.encode())) for n in range(20)]
                done, _ = await asyncio.wait(posts, timeout=0.5)
                assert not done
            await asyncio.gather(*posts)

    asyncio.run(run())
    assert sorted(items_of(ledger)) == sorted(f"u{n}-0-1-{n}-1-1" for n in range(20))
    assert len(deliveries(ledger)) == 20
    assert_consistent(ledger)


def test_a_defect_of_judging_costs_its_group_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = group.judge

    def judging(mapper: Any, webhooks: list[ParsedWebhook], states: Any, rejected_bytes: int) -> Any:
        if any("poison" in uid for webhook in webhooks for uid in webhook.uids()):
            raise ZeroDivisionError
        return judge(mapper, webhooks, states, rejected_bytes)

    monkeypatch.setattr(writer, "judge", judging)
    costs_its_group_alone(ledger)


def test_a_defect_of_reading_costs_its_group_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    read_webhook = draft.read_webhook

    def reading(delivery: str, source: str, node: str, at: int, body: bytes, rejected_bytes: int) -> ParsedWebhook:
        if b"poison" in body:
            raise ZeroDivisionError
        return read_webhook(delivery, source, node, at, body, rejected_bytes)

    monkeypatch.setattr(writer, "read_webhook", reading)
    costs_its_group_alone(ledger)


def test_a_defect_of_writing_costs_its_group_alone(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write = current.write

    def writing(cursor: psycopg.Cursor[Any], parts: list[current.CurrentRows]) -> None:
        write(cursor, parts)
        if any(b"poison" in bytes(rows.uids) for rows in parts):
            raise ZeroDivisionError

    monkeypatch.setattr(current, "write", writing)
    costs_its_group_alone(ledger)


def costs_its_group_alone(ledger: Ledger) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            await instance.post(b'["u-0-1-1-1-1"]')
            with pytest.raises(ZeroDivisionError):
                await instance.post(b'["poison-0-1-2-1-1"]')
            await instance.post(b'["u-0-1-3-2-2"]')
            assert instance.writer.is_alive()

    asyncio.run(run())
    assert items_of(ledger) == ["u-0-1-1-1-1", "u-0-1-3-2-2"]
    assert_consistent(ledger)

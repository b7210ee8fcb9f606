"""Who is told that a user was erased: the feed's watchers, in order; readers of sinks; a Redis, which forgets them."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Step, WentBackError
from ledger.ingest import erasing, erasing_end
from ledger.ingest.clock import Clock
from ledger.ingest.erasing import Order
from ledger.settings import RedisSettings
from ledger.sinks.kind import Batch, Done
from ledger.sinks.kinds.redis import RedisKind
from ledger.sinks.reader import SinkReader
from ledger.store import identity
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper
from ledger.working_state import asked, watch_list_changes
from ledger.working_state.sinks import SinkCheckpoint
from tests.support.following import connect
from tests.support.ledgers import SEAL_KEY, configure, running
from tests.support.redis_server import RedisServer, needs_redis, redis_server
from tests.support.surroundings import DirectSurroundings

UID, OTHER = "gone", "stays"


def now() -> int:
    return Clock().now()


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    post(ledger, UID, OTHER)
    return ledger


def post(ledger: Ledger, *uids: str, online: int = 1) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            await instance.post(json.dumps([f"{uid}-0-{online}-7-{online}-{online}" for uid in uids]).encode())

    asyncio.run(run())


def erase(ledger: Ledger) -> int:
    return erasing.erase(ledger, UID, Order("asked", "ops"), [SEAL_KEY], now()).position


def finish(ledger: Ledger) -> None:
    with ledger.connection() as connection:
        connection.execute("UPDATE erasures SET recorded_at = recorded_at - interval '1 minute'")
    assert erasing_end.finish(ledger, ()) == 1


def told(step: Step) -> dict[str, Any]:
    return {change.uid: json.loads(change.body + b"}") for change in step.changes}


def test_the_feed_tells_watchers_of_users_and_of_everybody(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    for watch in ("user", "everybody"):
        feed = ChangeFeed(now)
        feed.begin(connection)
        if watch == "user":
            feed.watch(connection, [UID, OTHER])
        else:
            feed.watch_everybody(connection)
        feed.step(connection)
        erase(ledger)
        found = told(feed.step(connection))
        assert (found[UID]["status"], found[UID]["reason"], set(found)) == ("unknown", "never_observed", {UID})
        finish(ledger)
        assert told(feed.step(connection)) == {}
        post(ledger, UID)
        assert told(feed.step(connection))[UID]["version"] == 1


def test_a_feed_that_comes_too_late_begins_anew_and_so_does_a_cursor(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    feed = ChangeFeed(now)
    since = feed.begin(connection)
    assert feed.is_known(connection, since)
    erase(ledger)
    finish(ledger)
    with pytest.raises(WentBackError):
        feed.step(connection)
    assert not feed.is_known(connection, since)
    assert feed.is_known(connection, feed.begin(connection))


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("of_list", ["", "friends", "others"])
def test_a_sink_is_told_of_whom_it_may_know(
    every: bool, of_list: str, ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    watch_list_changes.put(connection, "friends", [UID, OTHER], [], "app")
    watch_list_changes.put(connection, "others", [OTHER], [], "app")
    begin = SinkCheckpoint(identity.epoch(connection), 0, 0, 0, now())
    reader = SinkReader(EventMapper(), now, begin, of_list=of_list, every=every)

    def read() -> list[Any]:
        told, more = list[Any](), True
        while more:
            page = reader.read(connection)
            for each in page.changes:
                reader.took([each], each.checkpoint)
            reader.finished(page)
            told += page.changes
            more = page.more
        return told

    read()
    position = erase(ledger)
    found = read()
    assert reader.checkpoint.position == position
    erased = [(each.told.uid, each.told.erased, each.told.presence.reason) for each in found if each.told.uid == UID]
    assert erased == ([] if of_list == "others" else [(UID, True, "never_observed")])
    assert read() == []


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@needs_redis
def test_a_redis_forgets_them_whatever_comes_late(ledger: Ledger, database_url: str, redis: RedisServer) -> None:
    async def test() -> None:
        surroundings = DirectSurroundings(database_url)
        kind = RedisKind(RedisSettings("hot", redis.url, prefix="p:"), surroundings)

        async def is_settled() -> bool:
            return await kind.keep(await surroundings.head()) == Done() and kind.is_filled and not kind._due

        async def settle() -> None:
            async with asyncio.timeout(60):
                settled = False
                while not settled:
                    settled = await is_settled()
                    await asyncio.sleep(0.02)

        try:
            with connect(database_url) as connection:
                watch_list_changes.put(connection, "friends", [UID], [], "app")
                await settle()
                assert await kind.tell(await surroundings.batch(UID, OTHER)) == Done()
                assert redis.client.xlen("p:changes") == 2
                before = await surroundings.batch(UID)
                listening = redis.client.pubsub(ignore_subscribe_messages=True)
                listening.subscribe("p:changes")
                listening.get_message(timeout=60)
                await asyncio.to_thread(erase, ledger)
                batch = await surroundings.batch(UID, OTHER)
                changes = [replace(each, erased=each.uid == UID) for each in batch.changes]
                assert await kind.tell(replace(batch, changes=changes)) == Done()
                assert json.loads(listening.get_message(timeout=60)["data"])["reason"] == "never_observed"
                # They left a list, they are asked about, and a page that was read before is written again.
                asked.tell(connection, [UID])
                await settle()
                kind._due[UID] = None
                await settle()
                assert named(redis) == []
                # Alone, too; and what they do brings them back.
                alone = [replace(each, erased=True) for each in (await surroundings.batch(UID)).changes]
                assert await kind.tell(Batch("m", alone)) == Done()
                assert named(redis) == []
                await asyncio.to_thread(post, ledger, UID)
                again = await surroundings.batch(UID)
                assert await kind.tell(replace(again, changes=[replace(again.changes[0], erased=True)])) == Done()
                assert json.loads(redis.get(f"p:presence:{UID}"))["status"] == "online"
                assert before.changes[0].uid == UID
        finally:
            await kind.close()
            surroundings.connection.close()

    def named(redis: RedisServer) -> list[str]:
        keys = [key for key in redis.client.scan_iter("*") if UID in key]
        return keys + [number for number, entry in redis.client.xrange("p:changes") if UID in entry["presence"]]

    asyncio.run(test())

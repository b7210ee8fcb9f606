"""The kind `redis` on a real Redis: what it holds of whom, in which order, and what becomes of it when Redis fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.settings import RedisSettings
from ledger.sinks.hot_values import HotValues, Value, without_previous
from ledger.sinks.kind import Batch, ChangeOrder, Done, Retry, ToldChange
from ledger.sinks.kinds.redis import RedisKind
from ledger.sinks.redis_errors import Unusable
from ledger.store import identity
from ledger.store.ledger import Ledger
from ledger.working_state import asked, watch_list_changes
from ledger.working_state.asked import Hearing
from ledger.working_state.watch_list_changes import Patch
from tests.support.following import connect
from tests.support.ledgers import Instance, configure, running, wait_until
from tests.support.redis_server import RedisServer, needs_redis, redis_server
from tests.support.surroundings import DirectSurroundings
from tests.support.told_changes import EPOCH
from tests.support.told_changes import told as made_up

pytestmark = needs_redis

DEADLINE_SECONDS = 60.0
PREFIX = "p[*]:"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


class Sink:
    """The kind at work, its ledger and its Redis; `beat` is what the follower does every second."""

    def __init__(
        self, kind: RedisKind, instance: Instance, surroundings: DirectSurroundings, redis: RedisServer
    ) -> None:
        self.kind = kind
        self.instance = instance
        self.surroundings = surroundings
        self.redis = redis

    async def beat(self) -> Any:
        return await self.kind.keep(await self.surroundings.head())

    async def tell(self, *uids: str) -> Any:
        return await self.kind.tell(await self.surroundings.batch(*uids))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await holds():
                await self.beat()
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        """Everything has been filled."""

        async def is_settled() -> bool:
            return await self.beat() == Done() and self.kind.is_filled

        await self.until(is_settled)

    async def answered(self, uid: str) -> Any:
        [found] = await self.surroundings.answers([uid])
        return json.loads(found.body)

    def value(self, uid: str) -> Any:
        found = self.redis.get(f"{PREFIX}presence:{uid}")
        return None if found is None else json.loads(found)

    async def is_right(self, *uids: str) -> bool:
        """Whether each has the value that `GET` answers, but for when it was made."""
        found = [(self.value(uid), await self.answered(uid)) for uid in uids]
        return all(value is not None and shown(value) == shown(right) for value, right in found)


def shown(presence: Any) -> Any:
    return {name: value for name, value in presence.items() if name != "as_of"}


@asynccontextmanager
async def sink(url: str, ledger: Ledger, redis: RedisServer, **settings: Any) -> AsyncIterator[Sink]:
    configure(ledger)
    surroundings = DirectSurroundings(url)
    kind = RedisKind(RedisSettings("hot", redis.url, prefix=PREFIX, **settings), surroundings)
    async with running(ledger) as instance:
        try:
            yield Sink(kind, instance, surroundings, redis)
        finally:
            await kind.close()
            surroundings.connection.close()


def test_a_change_is_written_and_told_and_the_head_beside_it(
    database_url: str, ledger: Ledger, redis: RedisServer
) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1"]')
            listening = redis.client.pubsub(ignore_subscribe_messages=True)
            listening.subscribe(f"{PREFIX}changes")
            listening.get_message(timeout=DEADLINE_SECONDS)
            assert await at_work.tell("alice") == Done()
            value = at_work.value("alice")
            assert shown(value) == shown(await at_work.answered("alice"))
            assert value["as_of"]["epoch"] == identity.epoch(at_work.surroundings.connection)
            assert redis.client.ttl(f"{PREFIX}presence:alice") == -1
            [(_, entry)] = redis.client.xrange(f"{PREFIX}changes")
            change = json.loads(entry["presence"])
            assert change.pop("previous") == {"status": "offline", "since": None}
            assert change == value
            assert listening.get_message(timeout=DEADLINE_SECONDS)["data"] == entry["presence"]
            await at_work.settled()
            head = json.loads(redis.get(f"{PREFIX}head"))
            assert head["position"] == value["as_of"]["position"]
            assert head["at"] >= value["as_of"]["at"]

    asyncio.run(test())


def test_hot_are_those_online_on_a_list_or_asked_about(database_url: str, ledger: Ledger, redis: RedisServer) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis, hot_seconds=100.0) as at_work:
            at_once = b'["on-0-1-1-1-1","off-0-1-2-1-1","off-0-0-2-0-0","member-0-1-3-1-1","member-0-0-3-0-0"]'
            await at_work.instance.post(at_once)
            with connect(database_url) as connection:
                watch_list_changes.put(connection, "friends", ["member", "never"], [], "app")
                await at_work.settled()
                assert await at_work.is_right("on", "member", "never")
                assert at_work.value("off") is None
                asked.tell(connection, ["off", "nobody"])
                await at_work.until(lambda: at_work.is_right("off", "nobody"))
                watch_list_changes.patch(connection, "friends", Patch(add=["later"], remove=["never"]), "app")
                await at_work.until(lambda: at_work.is_right("later"))
            lives = {uid: redis.client.ttl(f"{PREFIX}presence:{uid}") for uid in ("on", "member", "later")}
            assert set(lives.values()) == {-1}
            assert 0 < redis.client.ttl(f"{PREFIX}presence:never") <= 100
            assert 100 < redis.client.ttl(f"{PREFIX}presence:off") <= 200

    asyncio.run(test())


def test_who_is_no_longer_hot_is_kept_for_a_while(database_url: str, ledger: Ledger, redis: RedisServer) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis, hot_seconds=1.0) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1"]')
            await at_work.settled()
            await at_work.instance.post(b'["alice-0-0-1-0-0"]')
            assert await at_work.tell("alice") == Done()
            assert redis.client.pttl(f"{PREFIX}presence:alice") != -1

            async def is_gone() -> bool:
                return at_work.value("alice") is None

            await at_work.until(is_gone)

    asyncio.run(test())


def test_of_lists_a_sink_of_one_keeps_its_members(database_url: str, ledger: Ledger, redis: RedisServer) -> None:
    async def test() -> None:
        with connect(database_url) as connection:
            watch_list_changes.put(connection, "friends", ["member"], [], "app")
            watch_list_changes.put(connection, "others", ["other"], [], "app")
        async with sink(database_url, ledger, redis, list="friends") as at_work:
            await at_work.instance.post(b'["on-0-1-1-1-1"]')
            await at_work.settled()
            assert await at_work.is_right("member", "on")
            assert at_work.value("other") is None

    asyncio.run(test())


def test_what_is_lost_while_it_is_being_filled_is_filled_once_more(
    database_url: str, ledger: Ledger, redis: RedisServer
) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1","bob-0-1-2-1-1"]')
            older_than = at_work.kind._values.older_than

            async def flushed_meanwhile(order: ChangeOrder | None) -> AsyncIterator[list[str]]:
                # After the last page, and before anybody has seen that all is written.
                at_work.kind._values.older_than = older_than  # type: ignore[method-assign]
                redis.client.flushall()
                assert await at_work.tell("bob") == Done()
                async for page in older_than(order):
                    yield page

            at_work.kind._values.older_than = flushed_meanwhile  # type: ignore[method-assign]
            await at_work.settled()
            assert await at_work.is_right("alice", "bob")

    asyncio.run(test())


@pytest.mark.parametrize("loss", ["flushed", "killed", "restarted with what it had saved"])
def test_what_redis_lost_is_filled_again(database_url: str, ledger: Ledger, redis: RedisServer, loss: str) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1","bob-0-1-2-1-1","carol-0-1-3-1-1"]')
            await at_work.settled()
            if loss == "flushed":
                redis.client.flushall()
            else:
                if loss.startswith("restarted"):
                    redis.client.save()
                # What comes now is lost with it.
                await at_work.instance.post(b'["bob-0-0-2-0-0"]')
                assert await at_work.tell("bob") == Done()
                redis.kill()
                assert (await at_work.beat()) == Retry("Redis does not answer", 1.0)
                assert (await at_work.tell("alice")) == Retry("Redis does not answer", 1.0)
                redis.start()
                if loss.startswith("restarted"):
                    assert at_work.value("bob")["status"] == "online"
            await at_work.until(lambda: at_work.is_right("alice", "carol"))
            await at_work.settled()
            if loss.startswith("restarted"):
                assert await at_work.is_right("bob")
                assert redis.client.ttl(f"{PREFIX}presence:bob") > 0
            assert await at_work.tell("bob") == Done()
            assert await at_work.is_right("bob")

    asyncio.run(test())


def test_a_redis_that_refuses_is_said_to_and_catches_up(database_url: str, ledger: Ledger, redis: RedisServer) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1"]')
            await at_work.settled()
            redis.client.config_set("maxmemory", "1")
            redis.client.config_set("maxmemory-policy", "noeviction")
            assert await at_work.tell("alice") == Retry("Redis is full (OOM)", 1.0)
            assert await at_work.beat() == Retry("Redis is full (OOM)", 1.0)
            redis.client.config_set("maxmemory", "0")
            redis.client.replicaof("127.0.0.1", "1")
            assert await at_work.tell("alice") == Retry("this Redis is read-only, a replica", 1.0)
            redis.client.replicaof("NO", "ONE")
            await at_work.settled()
            assert await at_work.tell("alice") == Done()
            assert await at_work.is_right("alice")

    asyncio.run(test())


def test_without_the_stream_commands_values_are_written_all_the_same(
    database_url: str, ledger: Ledger, tmp_path: Path
) -> None:
    async def test() -> None:
        with redis_server(tmp_path / "old", 'rename-command XADD ""') as redis:
            async with sink(database_url, ledger, redis) as at_work:
                await at_work.instance.post(b'["alice-0-1-1-1-1"]')
                outcome = await at_work.tell("alice")
                assert isinstance(outcome, Retry)
                assert "XADD" in outcome.reason
                assert await at_work.is_right("alice")
                await at_work.settled()

    asyncio.run(test())


def test_a_password_is_in_no_reason(database_url: str, ledger: Ledger, tmp_path: Path) -> None:
    async def test() -> None:
        with redis_server(tmp_path / "locked") as redis:
            redis.client.config_set("requirepass", "s3cret")
            async with sink(database_url, ledger, redis) as at_work:
                for url in (redis.url, f"redis://:wr0ng@127.0.0.1:{redis.port}/0"):
                    at_work.kind = RedisKind(RedisSettings("hot", url, prefix=PREFIX), at_work.surroundings)
                    outcome = await at_work.tell("alice")
                    assert outcome == Retry("Redis refuses the user or the password", 1.0)
                    await at_work.kind.close()

    asyncio.run(test())


def test_an_address_that_cannot_be_used_is_said_to_be_so(redis: RedisServer) -> None:
    async def test() -> None:
        values = HotValues(f"{redis.url}?socket_timeout=s3cret", PREFIX)
        with pytest.raises(Unusable, match=r"^the address of this Redis cannot be used$"):
            await values.run_id()
        await values.close()

    asyncio.run(test())


def test_a_new_epoch_wins_and_the_one_before_it_never_again(
    database_url: str, ledger: Ledger, redis: RedisServer
) -> None:
    async def test() -> None:
        async with sink(database_url, ledger, redis) as at_work:
            await at_work.instance.post(b'["alice-0-1-1-1-1"]')
            await at_work.settled()
            # Of an earlier epoch, further on: a leader that was deposed by a restore.
            late = await at_work.surroundings.batch("alice")
            [change] = late.changes
            ahead = ToldChange("alice", change.body, change.order._replace(position=change.order.position + 1000))
            assert await at_work.kind.tell(Batch("ahead", [ahead], {})) == Done()
            with connect(database_url) as connection:
                identity.renew(connection.cursor())
            assert await at_work.tell("alice") == Done()
            await at_work.settled()
            right = at_work.value("alice")
            assert right["as_of"]["epoch"] == identity.epoch(at_work.surroundings.connection)
            assert isinstance(await at_work.kind.tell(replace(late, id="late")), Retry)
            assert at_work.value("alice") == right

    asyncio.run(test())


def test_never_an_older_value_over_a_newer(redis: RedisServer) -> None:
    def value(position: int, *, epoch: str = EPOCH, expires: float | None = None, at: int = 0) -> Value:
        change = made_up("alice", {0: "online"}, position, previous="offline", epoch=epoch)
        order = ChangeOrder(epoch, position, change.order.at + at)
        return Value("alice", without_previous(change.body), order, expires, change.body)

    async def test() -> None:
        values = HotValues(redis.url, PREFIX)
        assert await values.put([value(5)]) == "lost"
        assert await values.put_head(value(5).order) == "lost"
        await values.claim(EPOCH)
        assert await values.put([value(5)]) == "ok"
        # Late, of a leader that was deposed: neither the value nor its life is touched, and nobody is told.
        assert await values.put([value(4, expires=1.0)]) == "ok"
        assert await values.put([value(5, at=-1, expires=1.0)]) == "ok"
        assert json.loads(redis.get(f"{PREFIX}presence:alice"))["as_of"]["position"] == 5
        assert redis.client.ttl(f"{PREFIX}presence:alice") == -1
        told = [
            json.loads(entry["presence"])["as_of"]["position"] for _, entry in redis.client.xrange(f"{PREFIX}changes")
        ]
        assert told == sorted(told)
        assert await values.put([value(99, epoch="another")]) == "other"
        await values.claim("another")
        assert await values.put([value(1, epoch="another")]) == "ok"
        assert json.loads(redis.get(f"{PREFIX}presence:alice"))["as_of"]["position"] == 1
        assert await values.put_head(value(7, epoch="another").order) == "ok"
        assert await values.put_head(value(6, epoch="another").order) == "ok"
        assert json.loads(redis.get(f"{PREFIX}head"))["position"] == 7
        redis.client.script_flush()
        assert await values.put([value(2, epoch="another")]) == "ok"
        # Whatever somebody else has put there.
        redis.client.set(f"{PREFIX}presence:alice", "no JSON")
        assert [uid async for page in values.older_than(value(2, epoch="another").order) for uid in page] == ["alice"]
        assert await values.put([value(3, epoch="another")]) == "ok"
        await values.close()

    asyncio.run(test())


def test_two_sinks_on_one_connection_both_hear_who_was_asked_about(database_url: str) -> None:
    with connect(database_url) as listening, connect(database_url) as telling:
        one, other = Hearing(), Hearing()
        assert one.take(listening) == other.take(listening) == set()
        asked.tell(telling, ["alice", "bob"])
        telling.execute("SELECT pg_notify(%s, 'no JSON')", (asked.CHANNEL,))
        asked.tell(telling, ["用户"])

        def heard(hearing: Hearing) -> set[str]:
            found = set[str]()

            def all_are_heard_of() -> bool:
                found.update(hearing.take(listening))
                return len(found) == 3

            wait_until(all_are_heard_of, "all are heard of")
            return found

        assert heard(one) == heard(other) == {"alice", "bob", "用户"}
        assert one.take(listening) == set()

"""The follower of what is answered while PostgreSQL is away: what it keeps is what PostgreSQL would have answered."""

import asyncio
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from ledger.domain.observation import SECOND, Instant
from ledger.errors import StoreUnavailable
from ledger.ingest import erasing
from ledger.ingest.clock import Clock
from ledger.last_known import memory
from ledger.last_known.following import Following
from ledger.last_known.memory import LastKnown
from ledger.store.ledger import Ledger
from ledger.working_state import erasures
from projections.models.shown import AnswerPoint
from tests.support import pg
from tests.support.ledgers import SEAL_KEY, configure, opened, running, wait_until
from tests.support.lived import USERS, lived, pour
from tests.support.readers import reading

ORDER = erasing.Order("their request", "ops")


class Followed:
    """A memory, and what follows the ledger for it; the clock is set by hand."""

    def __init__(self, ledger: Ledger, max_users: int = 1_000) -> None:
        self.at = Clock().now()
        self.known = LastKnown(max_users, 1e6, lambda: self.at)
        self.heard: list[float] = []
        self.following = Following(ledger, self.known, lambda: self.at, self.heard.append)

    def catch_up(self) -> None:
        while self.following.step():
            pass

    def told(self, uids: Sequence[str]) -> tuple[AnswerPoint, list[dict[str, Any]]]:
        read = self.known.read(uids)
        assert read is not None
        return read.made, [json.loads(body + b"}") for body in read.bodies]

    def versions(self, *uids: str) -> list[int]:
        return [each["version"] for each in self.told(uids)[1]]


def answered(url: str, uids: Sequence[str], at: Instant) -> tuple[AnswerPoint, list[dict[str, Any]]]:
    """What PostgreSQL says; when a look last agreed is known to nobody else."""

    async def run() -> tuple[AnswerPoint, list[dict[str, Any]]]:
        async with reading(url, lambda: at) as reader:
            read = await reader.many(uids)
            return read.made, [json.loads(body + b"}") | {"verified_at": None} for body in read.bodies]

    return asyncio.run(run())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_was_recorded_the_answers_are_those_of_postgresql(
    ledger: Ledger, database_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PAGE_USERS", 2)
    monkeypatch.setattr("ledger.last_known.following.PAGE_USERS", 2)
    life, draw = lived(seed, 60, overrides=True), Random(seed)
    followed, uids, poured = Followed(ledger), [*USERS, "nobody"], 0
    for at, number in life.moments:
        pour(ledger, life.ledger.kept[poured:number])
        poured = number
        followed.at = at
        if draw.random() < 0.5:
            continue
        followed.catch_up()
        # Of an instant at which grace periods and operators' words may be over.
        followed.at += draw.choice((0, 5 * SECOND, 20 * SECOND))
        made, bodies = followed.told(uids)
        stale = [each.pop("stale_since") for each in bodies]
        assert (made, bodies) == answered(database_url, uids, followed.at)
        assert len(set(stale)) == 1


def test_what_is_recorded_while_a_moment_is_read_is_later_than_what_is_right(ledger: Ledger) -> None:
    configure(ledger)
    followed = Followed(ledger)
    began = followed.at
    followed.catch_up()
    ticking = iter(range(began + 1, began + 100))
    followed.following._now = lambda: next(ticking)
    followed.following._moments._now = lambda: next(ticking)
    followed.catch_up()
    read = followed.known.read(["alice"])
    assert read is not None
    assert read.stale_since == began + 1 < read.made.at


@pg.on_every_server
def test_what_the_writer_commits_and_what_others_do(ledger: Ledger, database_url: str) -> None:
    configure(ledger)
    followed = Followed(ledger)

    async def run() -> None:
        with opened(database_url) as elsewhere:
            async with (
                running(ledger, committed=followed.known.note_commit) as here,
                running(elsewhere, name="other") as other,
            ):
                await here.post(b'["alice-0-1-1-1-1","bob-0-1-2-1-1"]')
                followed.catch_up()
                await here.post(b'["alice-0-0-1-0-0"]')
                await here.post(b'["carol-0-1-3-1-1"]')
                # None of it has been read.
                assert followed.versions("alice", "bob", "carol") == [2, 1, 1]
                await other.post(b'["alice-0-1-4-1-1"]', node="n2")
                await here.post(b'["bob-0-0-2-0-0"]')
                assert followed.versions("alice", "bob") == [2, 1]
                followed.catch_up()
                assert followed.versions("alice", "bob") == [3, 2]

    asyncio.run(run())
    uids = ["alice", "bob", "carol"]
    made, bodies = followed.told(uids)
    for each in bodies:
        del each["stale_since"]
    assert (made, bodies) == answered(database_url, uids, followed.at)


def test_whom_another_instance_erases_is_forgotten(ledger: Ledger, database_url: str) -> None:
    configure(ledger)
    followed = Followed(ledger)

    async def post(body: bytes) -> None:
        async with running(ledger) as instance:
            await instance.post(body)

    asyncio.run(post(b'["alice-0-1-1-1-1","bob-0-1-2-1-1"]'))
    followed.catch_up()
    erasing.erase(ledger, "alice", ORDER, [SEAL_KEY], Clock().now())
    followed.catch_up()
    assert followed.versions("alice", "bob") == [0, 1]
    # One that was done before it was heard of: who it was is known to nobody.
    erasing.erase(ledger, "bob", ORDER, [SEAL_KEY], Clock().now())
    with ledger.connection() as connection:
        connection.execute("UPDATE erasures SET under_way = NULL")
        assert erasures.under_way(connection) == []
    assert followed.following.step()
    assert followed.known.read(["bob"]) is None
    followed.catch_up()
    assert followed.versions("alice", "bob") == [0, 0]


def test_it_follows_by_itself_over_failures(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(ledger)
    followed = Followed(ledger)
    following, step = followed.following, followed.following.step
    failures: list[Exception] = [StoreUnavailable("away"), ZeroDivisionError(), ZeroDivisionError()]
    monkeypatch.setattr("ledger.last_known.following.FOLLOW_SECONDS", 0.01)

    def failing() -> bool:
        if failures:
            raise failures.pop()
        return step()

    monkeypatch.setattr(following, "step", failing)

    following.start()
    wait_until(lambda: len(followed.heard) > 3, "it follows again")
    asyncio.run(following.stop())
    assert followed.versions("alice") == [0]

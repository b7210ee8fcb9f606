"""What readiness asks of the database: does it take writes, can this instance lead, do the clocks agree."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ledger.errors import StoreUnavailable
from ledger.http import readiness
from ledger.http.readiness import Database
from ledger.ingest.store_progress import StoreProgress
from ledger.store.ledger import Ledger


class Pool:
    """Answers as a database whose clock is ahead."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.read_only = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Pool"]:
        yield self

    async def execute(self, _: str) -> "Pool":
        return self

    async def fetchone(self) -> tuple[float, bool]:
        return time.time() + self.ahead, self.read_only


class Troubled:
    """A store whose commits fail, or do not."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    def recovered(self) -> None:
        self.trouble = None


class World:
    """The parts of an instance that readiness asks."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.store = Troubled()
        self.leads_not: str | None = None
        self.tried = 0
        self.takes_writes = True
        self.database = Database(
            cast(Ledger, self),
            cast(Any, self.pool),
            cast(StoreProgress, self.store),
            lambda: self.leads_not,
        )

    def try_to_write(self) -> None:
        self.tried += 1
        if not self.takes_writes:
            raise StoreUnavailable("nothing is taken")

    def look(self) -> float:
        return asyncio.run(self.database.look())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(readiness, "try_to_write", World.try_to_write)
    return World()


def test_nothing_is_written_as_long_as_commits_succeed(world: World) -> None:
    assert abs(world.look()) < 1
    assert world.tried == 0


def test_after_a_commit_that_failed_it_tries_until_it_is_over(world: World) -> None:
    world.store.trouble, world.takes_writes = "full", False
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="nothing is taken"):
            world.look()
    world.takes_writes = True
    world.look()
    assert world.tried == 3
    world.look()
    assert world.tried == 3


def test_a_database_that_is_read_only_is_not_ready_before_a_webhook_fails(world: World) -> None:
    world.pool.read_only = True
    with pytest.raises(StoreUnavailable, match="takes no writes"):
        world.look()


def test_an_instance_that_can_neither_lead_nor_see_a_leader_is_not_ready(world: World) -> None:
    world.leads_not = "too many connections"
    with pytest.raises(StoreUnavailable, match=r"neither lead reconciliation .* too many connections"):
        world.look()


def test_clocks_that_differ_are_said_once_until_they_agree_again(world: World) -> None:
    with capture_logs() as logs:
        for ahead in (0.5, 3.0, 4.0, 0.0, -5.0):
            world.pool.ahead = ahead
            assert abs(world.look() - ahead) < 1
    assert [log["event"] for log in logs] == ["clock_skew", "clock_skew"]
    assert "ahead of this machine's" in logs[0]["reason"]
    assert "behind this machine's" in logs[1]["reason"]

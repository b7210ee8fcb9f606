"""The intake: which requests come in, how long they wait for room, and with what they give up."""

import asyncio

import pytest

from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook, read_webhook
from ledger.ingest.intake import Intake
from ledger.ingest.ticket import Ticket
from ledger.working_state.sources import SourceUnreadable


def read(ticket: Ticket) -> ParsedWebhook:
    return read_webhook(ticket.delivery, ticket.source, ticket.node, ticket.received_at, ticket.body, 65536)


class Posts:
    """Requests to an intake whose tickets are taken by hand."""

    def __init__(self, max_items: int = 100, wait_seconds: float = 30.0) -> None:
        self.intake = Intake(max_items, 1 << 20, wait_seconds, lambda work: work())
        self._waiting: set[asyncio.Task[Ticket]] = set()

    async def post(self, *posts: tuple[str, int]) -> None:
        """(node, items) of each, which is named after its node and its number."""
        for node, items in posts:
            name = f"{node}{len(self._waiting) + 1}"
            body = f"[{name}{',' * (items - 1)}]".encode()
            self._waiting.add(asyncio.create_task(self.intake.submit(name, "main", node, 0, body)))
            await asyncio.sleep(0)

    def take(self) -> list[str]:
        return [ticket.delivery for ticket in self.intake.take(10, 1 << 19, read)]

    async def end(self) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


def test_what_a_source_posts_that_cannot_be_read_just_now_does_not_enter() -> None:
    async def run() -> None:
        posts = Posts()
        unreadable = SourceUnreadable(SourceState("main"), "newer")
        posts.intake.unreadable.remember(unreadable)
        with pytest.raises(SourceUnreadable) as caught:
            await posts.intake.submit("a1", "main", "a", 0, b"[]")
        assert caught.value is unreadable
        await posts.end()

    asyncio.run(run())


def test_one_that_is_larger_than_the_queue_leaves_room_for_others() -> None:
    async def run() -> None:
        posts = Posts(max_items=40)
        await posts.post(("a", 1000), ("a", 1001), ("b", 9), ("b", 8), ("b", 9))
        # The second of its kind waits outside, and the last small one for the room that is taken.
        assert [posts.take() for _ in range(3)] == [["b3"], ["a1"], ["b4"]]
        await posts.end()

    asyncio.run(run())


def test_who_finds_no_room_gives_up_in_the_end() -> None:
    async def run() -> None:
        posts = Posts(max_items=40, wait_seconds=0.01)
        await posts.post(("a", 1000))
        with pytest.raises(StoreUnavailable, match="stayed full"):
            await posts.intake.submit("d", "main", "a", 0, b"[" + b"," * 1000 + b"]")
        await posts.end()

    asyncio.run(run())


def test_a_writer_that_outlives_the_event_loop_tells_nobody() -> None:
    """As where a stop has not waited for a store that is away."""

    async def run() -> tuple[Intake, list[Ticket]]:
        posts = Posts()
        await posts.post(("a", 1))
        taken = list(posts.intake.take(10, 1 << 19, read))
        await posts.end()
        posts.intake.close()
        return posts.intake, taken

    intake, tickets = asyncio.run(run())
    assert len(tickets) == 1
    assert intake.still_wanted(tickets, StoreUnavailable("away")) == []
    intake.succeed(tickets)

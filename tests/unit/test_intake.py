"""The intake's turns: in the order of arrival, but nobody's large bodies keep others waiting for more than one."""

import asyncio
import threading
from collections.abc import Callable, Iterable

import pytest

from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook, read_webhook
from ledger.ingest.intake import Intake
from ledger.ingest.ticket import Ticket
from ledger.working_state.sources import SourceUnreadable

MOST_ITEMS = 10


def body(items: int, mark: str = "") -> bytes:
    return f"[{mark}{',' * (items - 1)}]".encode()


def read(ticket: Ticket) -> ParsedWebhook:
    return read_webhook(ticket.delivery, ticket.source, ticket.node, ticket.received_at, ticket.body, 65536)


class Queue:
    """An intake whose tickets are taken by hand."""

    def __init__(self, max_items: int = 100, wait_seconds: float = 30.0, *, at_once: bool = True) -> None:
        self.reading: list[Callable[[], None]] = []
        """What is to be read meanwhile, where it is not read at once."""
        self.intake = Intake(
            max_items, 1 << 20, wait_seconds, (lambda work: work()) if at_once else self.reading.append
        )
        self.waiting: set[asyncio.Task[Ticket]] = set()
        self.posted = 0

    async def post(self, *posts: tuple[str, int]) -> None:
        """(node, items) of each."""
        for node, items in posts:
            self.posted += 1
            name = f"{node}{self.posted}"
            self.waiting.add(asyncio.create_task(self.intake.submit(name, "main", node, 0, body(items, name))))
            await asyncio.sleep(0)

    def take(self) -> list[Ticket]:
        return self.intake.take(MOST_ITEMS, 1 << 19, read)

    async def end(self) -> None:
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)


def names(tickets: Iterable[Ticket]) -> list[str]:
    return [ticket.delivery for ticket in tickets]


async def taken_in_turn(*posts: tuple[str, int]) -> list[list[str]]:
    queue = Queue()
    await queue.post(*posts)
    queue.intake.close()
    groups = []
    while taken := queue.take():
        groups.append(names(taken))
        queue.intake.succeed(taken)
    await queue.end()
    return groups


@pytest.mark.parametrize(
    ("posts", "groups"),
    [
        pytest.param([("a", 3), ("b", 3), ("a", 3)], [["a1", "b2", "a3"]], id="all that fits, in order"),
        pytest.param([("a", 6), ("b", 6)], [["a1"], ["b2"]], id="up to the bound"),
        pytest.param([("a", 20), ("b", 1), ("c", 1)], [["b2", "c3"], ["a1"]], id="a large one lets others by"),
        pytest.param([("a", 20), ("a", 1), ("b", 1)], [["b3"], ["a1"], ["a2"]], id="but not what its own node says"),
        pytest.param(
            [("a", 20), ("b", 21), ("b", 1), ("c", 1)],
            [["c4"], ["a1"], ["b2"], ["b3"]],
            id="nor what follows a large one of its own node",
        ),
        pytest.param([("a", 20), ("a", 21)], [["a1"], ["a2"]], id="nobody to let by"),
        pytest.param([("a", 20), ("b", 21)], [["a1"], ["b2"]], id="nor one that is large as well"),
        pytest.param(
            [("a", 20), ("b", 6), ("b", 6), ("b", 6)], [["b2"], ["a1"], ["b3"], ["b4"]], id="once, not for ever"
        ),
    ],
)
def test_turns(posts: list[tuple[str, int]], groups: list[list[str]]) -> None:
    assert asyncio.run(taken_in_turn(*posts)) == groups


def test_between_two_large_ones_of_a_node_others_have_their_turn() -> None:
    async def run() -> None:
        queue = Queue()
        await queue.post(("a", 20), ("a", 21))
        first = queue.take()
        await queue.post(("b", 1))
        queue.intake.succeed(first)
        assert [names(first), names(queue.take()), names(queue.take())] == [["a1"], ["b3"], ["a2"]]
        await queue.end()

    asyncio.run(run())


def test_while_a_large_one_is_read_others_are_taken_as_often_as_they_come() -> None:
    async def run() -> None:
        queue = Queue(at_once=False)
        await queue.post(("a", 20), ("b", 1), ("a", 1))
        assert names(queue.take()) == ["b2"]
        await queue.post(("b", 6), ("c", 6))
        assert [names(queue.take()), names(queue.take())] == [["b4"], ["c5"]]
        [reading] = queue.reading
        # Nothing else is there: it is waited for.
        threading.Timer(0.01, reading).start()
        [large] = queue.take()
        assert (large.delivery, large.parsed) == ("a1", read(large))
        assert names(queue.take()) == ["a3"]
        await queue.end()

    asyncio.run(run())


def test_one_that_cannot_be_read_is_taken_all_the_same() -> None:
    async def run() -> None:
        def fails(_: Ticket) -> ParsedWebhook:
            raise ValueError("a defect")

        queue = Queue()
        await queue.post(("a", 20))
        [large] = queue.intake.take(MOST_ITEMS, 1 << 19, fails)
        assert large.parsed is None
        await queue.end()

    asyncio.run(run())


def test_what_a_source_posts_that_cannot_be_read_just_now_does_not_enter() -> None:
    async def run() -> None:
        queue = Queue()
        unreadable = SourceUnreadable(SourceState("main"), "newer")
        queue.intake.unreadable.remember(unreadable)
        with pytest.raises(SourceUnreadable) as caught:
            await queue.intake.submit("a1", "main", "a", 0, body(1))
        assert caught.value is unreadable
        await queue.end()

    asyncio.run(run())


def test_one_that_is_larger_than_the_queue_leaves_room_for_others() -> None:
    async def run() -> None:
        queue = Queue(max_items=40)
        await queue.post(("a", 1000), ("a", 1001), ("b", 9), ("b", 8), ("b", 9))
        # The second of its kind waits outside, and the last small one for the room that is taken.
        assert [names(queue.take()) for _ in range(3)] == [["b3"], ["a1"], ["b4"]]
        await queue.end()

    asyncio.run(run())


def test_who_finds_no_room_gives_up_in_the_end() -> None:
    async def run() -> None:
        queue = Queue(max_items=40, wait_seconds=0.01)
        await queue.post(("a", 1000))
        with pytest.raises(StoreUnavailable, match="stayed full"):
            await queue.intake.submit("d", "main", "a", 0, body(1001))
        await queue.end()

    asyncio.run(run())

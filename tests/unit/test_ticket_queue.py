"""The queue's turns: in the order of arrival, but nobody's large bodies keep others waiting for more than one."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest

from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook, read_webhook
from ledger.ingest.ticket import Ticket
from ledger.ingest.ticket_queue import TicketQueue, Waiting

MOST_ITEMS = 10


def read(ticket: Ticket) -> ParsedWebhook:
    return read_webhook(ticket.delivery, ticket.source, ticket.node, ticket.received_at, ticket.body, 65536)


def names(tickets: Iterable[Ticket]) -> list[str]:
    return [ticket.delivery for ticket in tickets]


class Queue:
    """A queue that is filled and emptied by hand; what is large is read at once, or when the test has it read."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_items: int = 100, *, at_once: bool = True) -> None:
        self.reading: list[Callable[[], None]] = []
        self.tickets = TicketQueue(max_items, 1 << 20, (lambda work: work()) if at_once else self.reading.append)
        self._loop = loop
        self._made = 0

    def ticket(self, node: str, items: int) -> Ticket:
        """Named after its node and its number."""
        self._made += 1
        name = f"{node}{self._made}"
        body = f"[{name}{',' * (items - 1)}]".encode()
        return Ticket(name, "main", node, 0, body, self._loop.create_future())

    def put(self, *posts: tuple[str, int]) -> None:
        """(node, items) of each."""
        for node, items in posts:
            self.tickets.put(self.ticket(node, items))

    def take(self) -> list[Ticket]:
        return self.tickets.take(MOST_ITEMS, 1 << 19, read)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Of which the tickets' futures are."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


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
def test_turns(loop: asyncio.AbstractEventLoop, posts: list[tuple[str, int]], groups: list[list[str]]) -> None:
    queue = Queue(loop)
    queue.put(*posts)
    queue.tickets.close()
    taken = []
    while group := queue.take():
        taken.append(names(group))
    assert taken == groups


def test_what_comes_from_the_spool_is_taken_in_larger_groups(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop)
    spooled = [queue.ticket("a", 6) for _ in range(6)]
    for ticket in spooled:
        ticket.from_spool = True
    queue.tickets.put_spooled(spooled)
    queue.put(("b", 6), ("c", 6))
    take = partial(queue.tickets.take, MOST_ITEMS, 1 << 19, read)
    assert names(take(spooled_items=20)) == ["a1", "a2", "a3"]
    assert names(take()) == ["a4"], "unless no higher bound is given"
    assert names(take(spooled_items=20)) == ["a5", "a6", "b7"]
    assert names(take(spooled_items=20)) == ["c8"]


def test_one_that_is_to_be_taken_alone_is_not_taken_with_what_comes_from_the_spool(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Though it would fit into the larger group: together with others it would be read and judged as a whole."""
    queue = Queue(loop)
    spooled = queue.ticket("a", 2)
    spooled.from_spool = True
    queue.tickets.put_spooled([spooled])
    queue.put(("b", 15), ("c", 1))
    take = partial(queue.tickets.take, MOST_ITEMS, 1 << 19, read)
    assert [names(take(spooled_items=20)) for _ in range(3)] == [["a1"], ["c3"], ["b2"]]


def test_where_no_thread_can_be_started_a_large_one_is_read_at_once(loop: asyncio.AbstractEventLoop) -> None:
    def begin(_: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    tickets = TicketQueue(100, 1 << 20, begin)
    large = Queue(loop).ticket("a", 20)
    tickets.put(large)
    assert tickets.take(MOST_ITEMS, 1 << 19, read) == [large]
    assert large.parsed == read(large)


def test_between_two_large_ones_of_a_node_others_have_their_turn(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop)
    queue.put(("a", 20), ("a", 21))
    first = queue.take()
    queue.put(("b", 1))
    assert [names(first), names(queue.take()), names(queue.take())] == [["a1"], ["b3"], ["a2"]]


def test_while_a_large_one_is_read_others_are_taken_as_often_as_they_come(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop, at_once=False)
    queue.put(("a", 20), ("b", 1), ("a", 1))
    assert names(queue.take()) == ["b2"]
    queue.put(("b", 6), ("c", 6))
    assert [names(queue.take()), names(queue.take())] == [["b4"], ["c5"]]
    [reading] = queue.reading
    # Nothing else is there: it is waited for.
    threading.Timer(0.01, reading).start()
    [large] = queue.take()
    assert (large.delivery, large.parsed) == ("a1", read(large))
    assert names(queue.take()) == ["a3"]


def test_one_that_cannot_be_read_is_taken_all_the_same(loop: asyncio.AbstractEventLoop) -> None:
    def fails(_: Ticket) -> ParsedWebhook:
        raise ValueError("a defect")

    queue = Queue(loop)
    queue.put(("a", 20))
    [large] = queue.tickets.take(MOST_ITEMS, 1 << 19, fails)
    assert large.parsed is None


def test_one_that_is_larger_than_the_queue_counts_for_half_of_it(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop, max_items=40)
    assert queue.tickets.has_room(queue.ticket("a", 1000))
    queue.put(("a", 1000))
    assert queue.tickets.waiting.items == 20
    assert not queue.tickets.has_room(queue.ticket("a", 1001)), "one of its kind at a time"
    assert queue.tickets.has_room(queue.ticket("b", 20))
    assert not queue.tickets.has_room(queue.ticket("b", 21))


def test_what_is_diverted_leaves_the_queue_unless_it_was_taken(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop)
    first, second, third = (queue.ticket("a", 6) for _ in range(3))
    queue.tickets.put(first)
    queue.tickets.put(second)
    assert queue.take() == [first]
    queue.tickets.divert([first, second, third])
    queue.tickets.put(third)
    assert queue.tickets.waiting.items == 6, "the one whose commit is under way keeps its room"
    assert queue.tickets.without_diverted([first, second]) == []
    queue.tickets.let_go(first)
    assert queue.tickets.waiting == Waiting(0, 0, 0)
    queue.tickets.close()
    assert queue.take() == []


def test_a_closed_one_takes_only_what_was_acknowledged(loop: asyncio.AbstractEventLoop) -> None:
    queue = Queue(loop)
    queue.tickets.close()
    with pytest.raises(StoreUnavailable, match="stopping"):
        queue.put(("a", 1))
    queue.tickets.put_spooled([spooled := queue.ticket("a", 1)])
    assert queue.take() == [spooled]

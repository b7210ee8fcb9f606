"""A bounded queue of webhooks in flight: whether one more has room, and whose turn it is when the writer takes some."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook
from ledger.ingest.ticket import Ticket


class Waiting(NamedTuple):
    """What waits or is being committed; no body counts for more than half of what the queue holds."""

    deliveries: int
    items: int
    size: int


class TicketQueue:
    """Filled by the event loop, emptied by the writer's thread.

    No body has it to itself: one that would fill more than half of it counts for half, and is the only such one in it;
    one that the writer has to take alone is read meanwhile by a thread of its own, and lets by what other nodes post
    until that is over, and what they have posted then.
    """

    def __init__(self, max_items: int, max_bytes: int, begin: Callable[[Callable[[], None]], None]) -> None:
        """`begin` has something done meanwhile."""
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._begin = begin
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._queue: deque[Ticket] = deque()
        self._items = 0
        self._bytes = 0
        self._deliveries = 0
        self._large = 0
        self._closed = False

    @property
    def waiting(self) -> Waiting:
        """What waits or is being committed."""
        return Waiting(self._deliveries, self._items, self._bytes)

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more."""
        return self._closed

    def has_room(self, ticket: Ticket) -> bool:
        """Whether it may be put now."""
        if self._deliveries == 0:
            return True
        if self._is_large(ticket) and self._large:
            return False
        items, size = self._weight(ticket)
        return self._items + items <= self._max_items and self._bytes + size <= self._max_bytes

    def put(self, ticket: Ticket) -> None:
        """Queue a ticket, unless it is diverted. Raises StoreUnavailable once closed."""
        with self._lock:
            if ticket.is_diverted:
                return
            if self._closed:
                raise StoreUnavailable("the service is stopping")
            self._queue.append(ticket)
            self._count(ticket, 1)
            self._filled.notify()

    def put_spooled(self, tickets: Sequence[Ticket]) -> None:
        """Queue what comes from the spool; it was acknowledged, so that no room is waited for."""
        with self._lock:
            for ticket in tickets:
                self._queue.append(ticket)
                self._count(ticket, 1)
            self._filled.notify()

    def divert(self, tickets: Sequence[Ticket]) -> None:
        """Mark these as diverted, and let go of those that no commit is under way for."""
        with self._lock:
            for ticket in tickets:
                ticket.is_diverted = True
            for ticket in self._queue:
                if ticket.is_diverted:
                    self._count(ticket, -1)
            self._queue = deque(ticket for ticket in self._queue if not ticket.is_diverted)

    def without_diverted(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """The tickets but for those that are diverted."""
        with self._lock:
            return [ticket for ticket in tickets if not ticket.is_diverted]

    def let_go(self, ticket: Ticket) -> None:
        """One that was taken is over: its room is free."""
        self._count(ticket, -1)

    def close(self) -> None:
        """Take no more; what waits is still handed out."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()

    def take(
        self, max_items: int, max_bytes: int, read: Callable[[Ticket], ParsedWebhook], spooled_items: int = 0
    ) -> list[Ticket]:
        """All that waits, up to the bounds; one larger than them comes alone, read by then. Empty once closed and
        drained.

        Where what is first comes from the spool, `spooled_items` is the bound, if that is the higher one.
        """
        with self._lock:
            while True:
                while not self._queue and not self._closed:
                    self._filled.wait()
                first = self._queue[0] if self._queue else None
                if first is None or not _goes_alone(first, max_items, max_bytes):
                    most = max_items if first is None or not first.from_spool else max(max_items, spooled_items)
                    together = takewhile(lambda ticket: not _goes_alone(ticket, max_items, max_bytes), self._queue)
                    return self._remove(_up_to(together, most, max_bytes))
                if first.reading == "not begun":
                    self._begin_reading(first, read)
                is_read = first.reading == "over"
                if (not is_read or not first.has_yielded) and (others := self._others(first, max_items, max_bytes)):
                    first.has_yielded = is_read
                    return self._remove(others)
                if is_read:
                    return self._remove([first])
                self._filled.wait()

    def _remove(self, taken: list[Ticket]) -> list[Ticket]:
        chosen = set(map(id, taken))
        self._queue = deque(ticket for ticket in self._queue if id(ticket) not in chosen)
        return taken

    def _begin_reading(self, ticket: Ticket, read: Callable[[Ticket], ParsedWebhook]) -> None:
        try:
            self._begin(partial(self._read, ticket, read))
        except RuntimeError:  # no thread can be started just now
            self._read(ticket, read)
        else:
            if ticket.reading == "not begun":
                ticket.reading = "under way"

    def _read(self, ticket: Ticket, read: Callable[[Ticket], ParsedWebhook]) -> None:
        try:
            ticket.parsed = read(ticket)
        except Exception:  # noqa: BLE001  (whoever takes it meets it again, and answers for it)
            ticket.parsed = None
        finally:
            with self._lock:
                # What it took is no failure to commit: its request may wait on.
                ticket.reading, ticket.begun_at = "over", time.monotonic()
                self._filled.notify_all()

    def _others(self, first: Ticket, max_items: int, max_bytes: int) -> list[Ticket]:
        """What others have posted while one that is to be taken alone was waiting."""
        small, behind = [], {first.sender}
        for ticket in self._queue:
            if _goes_alone(ticket, max_items, max_bytes):
                behind.add(ticket.sender)
            elif ticket.sender not in behind:
                small.append(ticket)
        return _up_to(small, max_items, max_bytes)

    def _is_large(self, ticket: Ticket) -> bool:
        return ticket.items > self._max_items // 2 or len(ticket.body) > self._max_bytes // 2

    def _weight(self, ticket: Ticket) -> tuple[int, int]:
        """-> (items, bytes) of the queue's that a ticket counts for"""
        return min(ticket.items, self._max_items // 2), min(len(ticket.body), self._max_bytes // 2)

    def _count(self, ticket: Ticket, sign: int) -> None:
        """A ticket has entered, or is over."""
        items, size = self._weight(ticket)
        self._items += sign * items
        self._bytes += sign * size
        self._deliveries += sign
        self._large += sign * self._is_large(ticket)


def _goes_alone(ticket: Ticket, max_items: int, max_bytes: int) -> bool:
    return ticket.items > max_items or len(ticket.body) > max_bytes


def _up_to(tickets: Iterable[Ticket], max_items: int, max_bytes: int) -> list[Ticket]:
    """The first of them, up to the bounds, but one at least."""
    taken: list[Ticket] = []
    items = size = 0
    for ticket in tickets:
        items += ticket.items
        size += len(ticket.body)
        if taken and (items > max_items or size > max_bytes):
            break
        taken.append(ticket)
    return taken

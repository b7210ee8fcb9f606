"""The intake: a bounded queue of webhooks between the HTTP server and the writer; requests wait for their commits."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook
from ledger.ingest.known import UnreadableSources
from ledger.ingest.store_progress import StoreProgress
from ledger.ingest.ticket import Body, Ticket


class Waiting(NamedTuple):
    """What waits or is being committed; no body counts for more than half of what the queue holds."""

    deliveries: int
    items: int
    size: int


class Intake:
    """A bounded queue. Where it is full, a request waits for room, which slows its sender down; nothing is dropped.

    No body has it to itself: one that would fill more than half of it counts for half, and is the only such one in it;
    one that the writer has to take alone is read meanwhile by a thread of its own, and lets by what other nodes post
    until that is over, and what they have posted then.

    `submit` runs in the event loop, everything else in the writer's thread. A request gives up after `wait_seconds` in
    which nothing was committed: the store is away, and its sender's own time-out is near.
    """

    def __init__(
        self,
        max_items: int,
        max_bytes: int,
        wait_seconds: float,
        begin: Callable[[Callable[[], None]], None] = lambda work: threading.Thread(
            target=work, name="read", daemon=True
        ).start(),
    ) -> None:
        """`begin` has something done meanwhile."""
        self.unreadable = UnreadableSources()
        """What they post is refused here: nothing in the queue keeps them waiting."""
        self.store = StoreProgress()
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._lock = threading.RLock()
        self._filled = threading.Condition(self._lock)
        self._room = asyncio.Condition()
        self._queue: deque[Ticket] = deque()
        self._in_flight: dict[Body, Ticket] = {}
        self._items = 0
        self._bytes = 0
        self._in_queue = 0
        self._large = 0
        self._closed = False
        self._diversion: Callable[[Ticket], None] | None = None
        """What takes the webhooks instead of the queue."""

    @property
    def waiting(self) -> Waiting:
        """What waits or is being committed."""
        return Waiting(self._in_queue, self._items, self._bytes)

    async def submit(self, delivery: str, source: str, node: str, received_at: Instant, body: bytes) -> Ticket:
        """Return once the webhook is in the ledger, or in the spool.

        Raises StoreUnavailable, SourceUnreadable.
        """
        if self._diversion is None and (unreadable := self.unreadable.reason(source)) is not None:
            raise unreadable
        deadline = time.monotonic() + self._wait_seconds
        ticket = self._in_flight.get((source, node, body))
        if ticket is None:
            ticket = Ticket(delivery, source, node, received_at, body, self._loop.create_future())
            self._in_flight[ticket.key] = ticket
            ticket.waiters += 1
            try:
                await self._enter(ticket, deadline)
            except BaseException:  # cancelled too: its sender has gone, and the ticket must not stay
                self._leave(ticket)
                raise
        else:
            ticket.waiters += 1
        try:
            await self._wait(ticket, deadline)
        finally:
            ticket.waiters -= 1
        return ticket

    async def _enter(self, ticket: Ticket, deadline: float) -> None:
        """Queue a ticket once there is room, unless it is diverted."""
        if self._diversion is not None:
            self._divert_one(ticket)
            return
        async with self._room:
            while not ticket.is_diverted and not self._has_room(ticket):
                left = max(deadline, self.store.progressed_at + self._wait_seconds) - time.monotonic()
                if left <= 0:
                    raise self._given_up("the ledger is behind: its queue stayed full")
                try:
                    await asyncio.wait_for(self._room.wait(), left)
                except TimeoutError:
                    continue
        with self._lock:
            if ticket.is_diverted:
                return
            if self._closed:
                raise StoreUnavailable("the service is stopping")
            self._queue.append(ticket)
            self._count(ticket, 1)
            self._filled.notify()

    def divert(self, to: Callable[[Ticket], None]) -> None:
        """Give what waits, and all that comes from now on, to something else, in the order of arrival.

        What has its commit under way may still be committed; nothing of it is tried again.
        """
        self._diversion = to
        with self._lock:
            waiting = [ticket for ticket in self._in_flight.values() if not ticket.is_diverted]
            for ticket in waiting:
                ticket.is_diverted = True
            for ticket in self._queue:
                if ticket.is_diverted:
                    self._count(ticket, -1)
            self._queue = deque(ticket for ticket in self._queue if not ticket.is_diverted)
        for ticket in waiting:
            if not ticket.done.done():
                to(ticket)
        self._loop.create_task(self._wake())

    def undivert(self) -> None:
        """Queue again what comes from now on, behind all that is queued."""
        self._diversion = None

    def _divert_one(self, ticket: Ticket) -> None:
        assert self._diversion is not None
        if self._closed:
            raise StoreUnavailable("the service is stopping")
        ticket.is_diverted = True
        self._diversion(ticket)

    def put_spooled(self, tickets: Sequence[Ticket]) -> None:
        """Queue what comes from the spool; it was acknowledged, so that no room is waited for."""
        with self._lock:
            for ticket in tickets:
                self._queue.append(ticket)
                self._count(ticket, 1)
            self._filled.notify()

    def spooled(self, tickets: Sequence[Ticket], error: Exception | None) -> None:
        """What was diverted is durable, or why it is not."""
        for ticket in tickets:
            ticket.is_spooled = error is None
            self._resolve(ticket, error)

    def stalled_seconds(self, now: float) -> float:
        """For how long the store has taken nothing though something waits for it that is not diverted."""
        waiting_since = next((each.entered_at for each in self._in_flight.values() if not each.is_diverted), None)
        return 0.0 if waiting_since is None else self.store.stalled_seconds(now, waiting_since)

    def _has_room(self, ticket: Ticket) -> bool:
        if self._in_queue == 0:
            return True
        if self._is_large(ticket) and self._large:
            return False
        items, size = self._weight(ticket)
        return self._items + items <= self._max_items and self._bytes + size <= self._max_bytes

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
        self._in_queue += sign
        self._large += sign * self._is_large(ticket)

    async def _wait(self, ticket: Ticket, deadline: float) -> None:
        while True:
            patience = max(self.store.progressed_at, ticket.begun_at) + self._wait_seconds
            left = max(deadline, patience) - time.monotonic()
            if left <= 0:
                raise self._given_up(self.store.reason)
            try:
                return await asyncio.wait_for(asyncio.shield(ticket.done), left)
            except TimeoutError:
                continue

    def _given_up(self, why: str) -> StoreUnavailable:
        """Nothing was committed for so long: an attempt may hang, and have no end that would tell."""
        error = StoreUnavailable(why)
        self.store.failing(error)
        return error

    def _leave(self, ticket: Ticket) -> None:
        """A ticket that never entered: requests that joined it must not wait for ever."""
        ticket.waiters -= 1
        self._in_flight.pop(ticket.key, None)
        if not ticket.done.done():
            ticket.done.set_exception(StoreUnavailable("the ledger is behind: its queue stayed full"))
            ticket.done.exception()

    def take(self, max_items: int, max_bytes: int, read: Callable[[Ticket], ParsedWebhook]) -> list[Ticket]:
        """All that waits, up to the bounds; one larger than them comes alone, read by then. Empty once closed and
        drained."""
        with self._lock:
            while True:
                while not self._queue and not self._closed:
                    self._filled.wait()
                first = self._queue[0] if self._queue else None
                is_alone = first is not None and (first.items > max_items or len(first.body) > max_bytes)
                if first is None or not is_alone:
                    return self._remove(_up_to(self._queue, max_items, max_bytes))
                if first.reading == "not begun":
                    first.reading = "under way"
                    self._begin(partial(self._read, first, read))
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

    def _read(self, ticket: Ticket, read: Callable[[Ticket], ParsedWebhook]) -> None:
        try:
            ticket.parsed = read(ticket)
        except Exception:  # noqa: BLE001  (whoever takes it meets it again, and answers for it)
            ticket.parsed = None
        finally:
            with self._lock:
                ticket.reading = "over"
                self._filled.notify_all()

    def _others(self, first: Ticket, max_items: int, max_bytes: int) -> list[Ticket]:
        """What others have posted while one that is to be taken alone was waiting."""
        small, behind = [], {first.sender}
        for ticket in self._queue:
            if ticket.items > max_items or len(ticket.body) > max_bytes:
                behind.add(ticket.sender)
            elif ticket.sender not in behind:
                small.append(ticket)
        return _up_to(small, max_items, max_bytes)

    def begun(self, tickets: Sequence[Ticket]) -> None:
        """Only now PostgreSQL is asked for what took long to parse: requests for these may wait on, no others."""
        for ticket in tickets:
            ticket.begun_at = time.monotonic()

    def succeed(self, tickets: Sequence[Ticket]) -> None:
        """The tickets are in the ledger."""
        self.store.progressed()
        self.store.recovered()
        self._loop.call_soon_threadsafe(self._finish, list(tickets), None)

    def fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """The tickets are not in the ledger and will not be."""
        self._loop.call_soon_threadsafe(self._finish, list(tickets), error)

    def still_wanted(self, tickets: Sequence[Ticket], error: Exception) -> list[Ticket]:
        """Those that a request still waits for after this error; the others are over. After closing, none."""
        self.store.failing(error)
        with self._lock:
            is_wanted = [
                (ticket.waiters > 0 or ticket.from_spool) and not (self._closed or ticket.is_diverted)
                for ticket in tickets
            ]
        wanted = [ticket for ticket, wanted in zip(tickets, is_wanted, strict=True) if wanted]
        over = [ticket for ticket, wanted in zip(tickets, is_wanted, strict=True) if not wanted]
        if over:
            self.fail(over, error)
        return wanted

    def without_diverted(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """The tickets but for those that go to the spool."""
        with self._lock:
            diverted = [ticket for ticket in tickets if ticket.is_diverted]
            kept = [ticket for ticket in tickets if not ticket.is_diverted]
        if diverted:
            self.fail(diverted, StoreUnavailable(self.store.reason))
        return kept

    def close(self) -> None:
        """Take no more; what waits is still handed out."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()

    def _finish(self, tickets: list[Ticket], error: Exception | None) -> None:
        for ticket in tickets:
            self._count(ticket, -1)
            # Of what is diverted the spool says why it is not kept.
            if error is None or not ticket.is_diverted:
                self._resolve(ticket, error)
        self._loop.create_task(self._wake())

    def _resolve(self, ticket: Ticket, error: Exception | None) -> None:
        """Tell those who wait for a ticket what became of it."""
        if self._in_flight.get(ticket.key) is ticket:
            del self._in_flight[ticket.key]
        if ticket.done.done():
            return
        if error is None:
            ticket.done.set_result(None)
        else:
            ticket.done.set_exception(error)
            ticket.done.exception()  # seen, even if its last waiter has gone

    async def _wake(self) -> None:
        async with self._room:
            self._room.notify_all()


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

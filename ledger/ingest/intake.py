"""The intake: requests bring webhooks for the writer, and wait until these are in the ledger or in the spool."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook
from ledger.ingest.known import UnreadableSources
from ledger.ingest.store_progress import StoreProgress
from ledger.ingest.ticket import Body, Ticket
from ledger.ingest.ticket_queue import TicketQueue, Waiting
from ledger.loops import call_soon

DRAIN_GROUPS = 2
"""So many groups are one where they come from the spool: nobody waits for its commit, and a user who came and went
within it is written once. What is held of them in memory, and for how long others wait for the lock, bounds it."""


class Intake:
    """Where its queue is full, a request waits for room, which slows its sender down; nothing is dropped.

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
        self._wait_seconds = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._queue = TicketQueue(max_items, max_bytes, begin)
        self._room = asyncio.Condition()
        self._in_flight: dict[Body, Ticket] = {}
        self._diversion: Callable[[Ticket], None] | None = None
        """What takes the webhooks instead of the queue."""

    @property
    def waiting(self) -> Waiting:
        """What waits or is being committed."""
        return self._queue.waiting

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
            while not ticket.is_diverted and not self._queue.has_room(ticket):
                left = max(deadline, self.store.progressed_at + self._wait_seconds) - time.monotonic()
                if left <= 0:
                    raise self._given_up("the ledger is behind: its queue stayed full")
                try:
                    await asyncio.wait_for(self._room.wait(), left)
                except TimeoutError:
                    continue
        self._queue.put(ticket)

    def divert(self, to: Callable[[Ticket], None]) -> None:
        """Give what waits, and all that comes from now on, to something else, in the order of arrival.

        What has its commit under way may still be committed; nothing of it is tried again.
        """
        self._diversion = to
        waiting = self._queue.without_diverted(list(self._in_flight.values()))
        self._queue.divert(waiting)
        for ticket in waiting:
            if not ticket.done.done():
                to(ticket)
        self._loop.create_task(self._wake())

    def undivert(self) -> None:
        """Queue again what comes from now on, behind all that is queued."""
        self._diversion = None

    def _divert_one(self, ticket: Ticket) -> None:
        assert self._diversion is not None
        if self._queue.is_closed:
            raise StoreUnavailable("the service is stopping")
        ticket.is_diverted = True
        self._diversion(ticket)

    def put_spooled(self, tickets: Sequence[Ticket]) -> None:
        """Queue what comes from the spool; it was acknowledged, so that no room is waited for."""
        self._queue.put_spooled(tickets)

    def spooled(self, tickets: Sequence[Ticket], error: Exception | None) -> None:
        """What was diverted is durable, or why it is not."""
        for ticket in tickets:
            ticket.is_spooled = error is None
            self._resolve(ticket, error)

    def stalled_seconds(self, now: float) -> float:
        """For how long the store has taken nothing though something waits for it that is not diverted."""
        waiting_since = next((each.entered_at for each in self._in_flight.values() if not each.is_diverted), None)
        return 0.0 if waiting_since is None else self.store.stalled_seconds(now, waiting_since)

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
        """What the writer is to store next. Empty once closed and drained."""
        return self._queue.take(max_items, max_bytes, read, self.spooled_items(max_items))

    def spooled_items(self, max_items: int) -> int:
        """The bound of what is stored together of the spool: the higher one, as long as commits succeed.

        What is judged ahead of a commit that fails, or that finds the ledger changed, is judged again by itself.
        """
        return max_items if self.store.trouble is not None else DRAIN_GROUPS * max_items

    def begun(self, tickets: Sequence[Ticket]) -> None:
        """Only now PostgreSQL is asked for what took long to parse: requests for these may wait on, no others."""
        for ticket in tickets:
            ticket.begun_at = time.monotonic()

    def succeed(self, tickets: Sequence[Ticket]) -> None:
        """The tickets are in the ledger."""
        self.store.progressed()
        self.store.recovered()
        call_soon(self._loop, self._finish, list(tickets), None)

    def fail(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """The tickets are not in the ledger and will not be."""
        call_soon(self._loop, self._finish, list(tickets), error)

    def still_wanted(self, tickets: Sequence[Ticket], error: Exception) -> list[Ticket]:
        """Those that a request still waits for after this error; the others are over. After closing, none."""
        self.store.failing(error)
        wanted = [ticket for ticket in tickets if self.is_wanted(ticket)]
        if over := _but_for(wanted, tickets):
            self.fail(over, error)
        return wanted

    def is_wanted(self, ticket: Ticket) -> bool:
        """Whether it is to be tried again."""
        is_waited_for = ticket.waiters > 0 or ticket.from_spool
        return is_waited_for and not ticket.is_diverted and not self._queue.is_closed

    def without_diverted(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """The tickets but for those that go to the spool."""
        kept = self._queue.without_diverted(tickets)
        if diverted := _but_for(kept, tickets):
            self.fail(diverted, StoreUnavailable(self.store.reason))
        return kept

    def close(self) -> None:
        """Take no more; what waits is still handed out."""
        self._queue.close()

    def _finish(self, tickets: list[Ticket], error: Exception | None) -> None:
        for ticket in tickets:
            self._queue.let_go(ticket)
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


def _but_for(some: Sequence[Ticket], tickets: Sequence[Ticket]) -> list[Ticket]:
    chosen = set(map(id, some))
    return [ticket for ticket in tickets if id(ticket) not in chosen]

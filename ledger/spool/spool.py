"""The spool: takes webhooks while PostgreSQL takes none, gives them back in their order, and ends when it is empty."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from ledger.domain.observation import SECOND, Instant
from ledger.errors import LedgerError
from ledger.ingest.intake import Intake
from ledger.ingest.store_progress import AWAY
from ledger.ingest.ticket import Ticket
from ledger.loops import call_soon
from ledger.repeated_logs import LoggedOutage
from ledger.spool.files import Batch, Contents, SpoolFiles, SpoolFull
from ledger.spool.format import SpooledWebhook
from ledger.spool.keeper import Keeper
from ledger.store.rows import STATEMENT_BYTES
from ledger.working_state.sources import SourceUnreadable

log = structlog.get_logger()

SPOOL_AFTER_SECONDS = 0.6
"""For so long a webhook waits for a commit while nothing is committed. Together with the fsync less than a second."""
WATCH_SECONDS = 0.05

MAX_FLYING = 4
"""Batches read and not in the ledger: one is committed, one is judged, and the next are there in time."""
DIRECT_ITEMS = 2_000
"""So few left items of the spool take webhooks behind them that wait for their own commits: well below a second."""

MAX_FIRST_SECONDS = 60.0
"""A spool of hours takes long, and what waits for it is not to be as late as that."""

LATE_SECONDS = 2.0
"""What is this old is behind what a look would find."""
READ_RETRY_SECONDS = 1.0
STOP_SECONDS = 2.0

_LEFT = "an earlier run has left webhooks in the spool"


class SpoolState(NamedTuple):
    """What is told of a spool: `since` while webhooks go to it."""

    since: Instant | None
    contents: Contents
    max_bytes: int


class Spool:
    """The spool of one instance, from `start` to `stop`, all of it in the event loop but for reading and writing."""

    def __init__(self, intake: Intake, files: SpoolFiles, group_items: int, now: Callable[[], Instant]) -> None:
        self._intake = intake
        self._files = files
        self._group_items = group_items
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._keeper = Keeper(files, self._kept_in_thread)
        self._since: Instant | None = None
        self._began = 0.0
        self._appending = 0
        """Webhooks on their way to the file."""
        self._flying: deque[tuple[Batch, list[Ticket]]] = deque()
        self._filled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._outage = LoggedOutage("spooling", "spool_drained")
        self._is_full = False
        self._is_broken = False
        self._drains = False
        """Whether PostgreSQL takes what is given back, and more of it is left."""
        self._drains_since = 0.0
        self._told: Callable[[bool], object] = lambda _: None

    @property
    def state(self) -> SpoolState:
        """What is in it."""
        return SpoolState(self._since, self._files.contents, self._files.max_bytes)

    @property
    def takes(self) -> bool:
        """Whether a webhook would be taken, as far as is known."""
        return self._files.max_bytes > 0 and not self._is_full

    @property
    def is_empty(self) -> bool:
        """Whether no webhook waits in it, nor is on its way there."""
        return not self._appending and not self._files.contents.deliveries

    @property
    def paths(self) -> frozenset[Path]:
        """The files that it drains."""
        return self._files.paths

    @property
    def is_late(self) -> bool:
        """Whether what it holds is older than what a look at WuKongIM would find."""
        if self._since is None and not self._flying:
            return False
        oldest_at = self._files.contents.oldest_at
        return oldest_at is not None and self._now() - oldest_at > round(LATE_SECONDS * SECOND)

    @property
    def comes_first(self) -> bool:
        """Whether what can wait a little, and would hold up what is drained, is to wait."""
        return self._drains and time.monotonic() - self._drains_since < MAX_FIRST_SECONDS

    def tell_of_drain(self, to: Callable[[bool], object]) -> None:
        """Have `to` told whether the spool is being drained, now and whenever that changes."""
        self._told = to
        to(self._drains)

    def _tell_of_drain(self, drains: bool) -> None:
        if drains != self._drains:
            self._drains, self._drains_since = drains, time.monotonic()
            self._told(drains)

    def start(self) -> None:
        """Begin with what an earlier run has left."""
        self._keeper.start()
        if self._files.contents.deliveries:
            # What comes is behind what was left, unless it may no longer be spooled.
            if self._files.max_bytes:
                self._begin(_LEFT)
            self._filled.set()
        self._tasks = [
            asyncio.create_task(self._watch(), name="watch"),
            asyncio.create_task(self._drain(), name="drain"),
        ]

    async def stop(self) -> None:
        """End; what is not in the ledger in a moment stays in the files, for the next start."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._emptied()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._keeper.stop, STOP_SECONDS)
        contents = self._files.contents
        self._files.close()
        if contents.deliveries:
            log.warning("stopped_with_spool", deliveries=contents.deliveries, bytes=contents.size)

    async def _emptied(self) -> None:
        """Until all is in the ledger, or PostgreSQL takes nothing."""
        while self._files.contents.deliveries and self._intake.store.trouble is None:  # noqa: ASYNC110  (the writer's thread)
            await asyncio.sleep(WATCH_SECONDS)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._since is None and self._files.max_bytes:
                if self._intake.stalled_seconds(time.monotonic()) > SPOOL_AFTER_SECONDS:
                    self._begin(self._intake.store.trouble or AWAY)
                elif not self._flying:
                    self._outage.succeeded()

    def _begin(self, reason: str) -> None:
        """From now on webhooks go to the spool, and what waits first of all."""
        self._since, self._began = self._now(), time.monotonic()
        self._outage.failed(reason)
        self._intake.divert(self._put)

    def _end_when_read_up(self) -> None:
        """Webhooks are queued again once all of the spool is before them in the queue, little of it, and is taken."""
        if self._since is None or self._appending or not self._files.is_read_up():
            return
        left = sum(ticket.items for _, tickets in self._flying for ticket in tickets)
        if not self._flying or (left <= DIRECT_ITEMS and self._intake.store.has_committed_since(self._began)):
            self._since = None
            self._intake.undivert()

    def _put(self, ticket: Ticket) -> None:
        self._appending += 1
        self._keeper.put(ticket)

    def _kept_in_thread(self, tickets: list[Ticket], number: int, error: SpoolFull | None) -> None:
        call_soon(self._loop, self._kept, tickets, number, error)

    def _kept(self, tickets: list[Ticket], number: int, error: SpoolFull | None) -> None:
        self._appending -= len(tickets)
        self._intake.spooled(tickets[:number], None)
        if error is not None and not self._is_full:
            log.error("spool_full", reason=str(error))
        self._is_full = error is not None
        self._intake.spooled(tickets[number:], error)
        self._filled.set()

    async def _drain(self) -> None:
        """Give back what the spool holds, for as long as the service runs."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            try:
                await self._give_back()
            except OSError as error:
                if not self._is_broken:
                    log.error("spool_unreadable", reason=str(error))  # noqa: TRY400  (its text says it all)
                self._is_broken = True
                await asyncio.sleep(READ_RETRY_SECONDS)
                self._filled.set()
            except Exception:  # a defect must be seen, and must not keep for ever what was acknowledged
                log.exception("spool_failed")
                await asyncio.sleep(READ_RETRY_SECONDS)
                self._filled.set()

    async def _give_back(self) -> None:
        while True:
            items = self._intake.spooled_items(self._group_items)
            batch = await asyncio.to_thread(self._files.read, items, STATEMENT_BYTES)
            self._is_broken = False
            if batch is not None:
                self._fly(batch)
            self._end_when_read_up()
            if self._flying and (batch is None or len(self._flying) >= MAX_FLYING):
                if self._intake.store.trouble is not None:
                    # PostgreSQL is away again: what comes first, and for how long, begins anew with its return.
                    self._tell_of_drain(False)
                await self._land(*self._flying[0])
                self._flying.popleft()
                self._end_when_read_up()
                if self._flying:
                    self._tell_of_drain(True)
            elif batch is None:
                break
        if self._since is None:
            self._keeper.close_empty()
            self._tell_of_drain(False)

    def _fly(self, batch: Batch) -> None:
        tickets = self._tickets(batch.webhooks)
        self._flying.append((batch, tickets))
        self._intake.put_spooled(tickets)

    def _tickets(self, webhooks: Sequence[SpooledWebhook]) -> list[Ticket]:
        return [_ticket(each, self._loop) for each in webhooks]

    async def _land(self, batch: Batch, tickets: Sequence[Ticket]) -> None:
        """Wait until a batch is in the ledger, and forget it; what the ledger refuses is put aside."""
        done = await asyncio.gather(*(ticket.done for ticket in tickets), return_exceptions=True)
        failed = [
            (webhook, why) for webhook, why in zip(batch.webhooks, done, strict=True) if isinstance(why, BaseException)
        ]
        if failed:
            refused = [each for each in failed if not await self._taken_alone(*each)]
            if refused:
                await self._put_aside(refused)
        await asyncio.to_thread(self._files.settle, batch)
        self._is_full = False

    async def _taken_alone(self, webhook: SpooledWebhook, why: BaseException) -> bool:
        """Whether one is taken that was refused together with others, which it may not have been the reason for."""
        if isinstance(why, SourceUnreadable):
            return False
        [ticket] = self._tickets([webhook])
        self._intake.put_spooled([ticket])
        try:
            await ticket.done
        except Exception:  # noqa: BLE001  (whatever it is, it is put aside and said)
            return False
        return True

    async def _put_aside(self, refused: Sequence[tuple[SpooledWebhook, BaseException]]) -> None:
        path = await asyncio.to_thread(self._files.put_aside, [webhook for webhook, _ in refused])
        why = refused[0][1]
        log.error(
            "spooled_webhooks_refused",
            deliveries=len(refused),
            first=refused[0][0].delivery,
            reason=str(why) if isinstance(why, LedgerError) else repr(why),
            file=str(path),
            way_out="they are tried again at the next start",
        )


def _ticket(webhook: SpooledWebhook, loop: asyncio.AbstractEventLoop) -> Ticket:
    ticket = Ticket(
        webhook.delivery, webhook.source, webhook.node, webhook.received_at, webhook.body, loop.create_future()
    )
    ticket.from_spool = True
    return ticket

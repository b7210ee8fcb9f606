"""Follows the ledger for one sink while this instance leads: reads what is to be told, has it told, keeps how far.

What fails is told again after a pause, for ever; whatever holds a sink up holds up no other.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND, Instant
from ledger.errors import StoreUnavailable
from ledger.settings import SinkSettings
from ledger.sinks.failing import Failing
from ledger.sinks.kind import Batch, ChangeOrder, Done, Head, Kind, Outcome, Retry, Stop, ToldChange
from ledger.sinks.page import ChangePage, ToTell, batches
from ledger.sinks.pauses import Pauses
from ledger.sinks.reader import SinkReader
from ledger.store.mapper import EventMapper
from ledger.working_state import sinks
from ledger.working_state.sinks import SinkRow

log = structlog.get_logger()

T = TypeVar("T")

POLL_SECONDS = 0.5
"""Looked at as often even if nothing wakes it: a notification may be lost, and a kind keeps what it keeps."""

GATHER_SECONDS = 0.02
"""Between two reads at least: under load commits follow one another within milliseconds."""

KEEP_SECONDS = 0.4
"""Between two calls of a kind's `keep`, at least."""

STORE_SECONDS = 10.0
"""How far time alone has been followed is stored so often."""

Database = Callable[[Callable[[Connection[TupleRow]], T]], Awaitable[T]]
"""Runs a function over the leader's session, in its thread. Raises StoreUnavailable."""


class SinkFollower:
    """One sink's; what it raises ends the term."""

    def __init__(
        self, sink: SinkSettings, row: SinkRow, mapper: EventMapper, now: Callable[[], Instant], database: Database[Any]
    ) -> None:
        self.row = row
        self._sink = sink
        self._mapper = mapper
        self._now = now
        self._database = database
        self._reader = self._new_reader(row)
        self._pauses = Pauses()
        self._failing = Failing(sink.name, row.failing_since)
        self._woken = asyncio.Event()
        self._changed = asyncio.Event()
        """Somebody wants something else of it."""
        self._stopping = False
        self._kept = 0.0
        self._stored = time.monotonic()
        self._next_at: Instant | None = None
        self._waiting = 0

    def wake(self) -> None:
        """Something has been committed."""
        self._woken.set()

    def change(self, row: SinkRow) -> None:
        """What is wanted of it may be another now."""
        # Its own stop counts as a change, unless somebody's order came before it.
        if (row.revision, row.is_held) != (self.row.revision, self.row.is_held):
            self.row = row
            self._reader = self._new_reader(row)
            self._pauses.succeeded()
            self._changed.set()
            self._woken.set()

    def stop(self) -> None:
        """Tell no more than what is being told."""
        self._stopping = True
        self._changed.set()
        self._woken.set()

    async def read(self, function: Callable[[Connection[TupleRow]], T]) -> T:
        """For the kind: what a function reads. Raises StoreUnavailable."""
        found: T = await self._database(function)
        return found

    async def answers(self, uids: Sequence[str]) -> Sequence[ToldChange]:
        """For the kind: what `GET` answers of users now. Raises StoreUnavailable."""
        reader = self._reader
        found: Sequence[ToldChange] = await self._database(lambda connection: reader.answers(connection, uids))
        return found

    async def run(self, kind: Kind) -> None:
        """Tell the receiver whatever changes, until it is stopped."""
        while not self._stopping:
            self._changed.clear()
            if self.row.is_held:
                await self._wait(POLL_SECONDS, self._changed)
                continue
            row = self.row
            began = time.monotonic()
            try:
                more = await self._turn(kind, row)
            except StoreUnavailable:
                raise
            except Exception as error:  # a defect, or an event that cannot be read, holds up no other sink
                log.exception("sink_broken", sink=row.name)
                self._reader = self._new_reader(row._replace(checkpoint=self._reader.checkpoint))
                await self._failed(Retry(f"unexpected error: {type(error).__name__}"), row)
                continue
            if not more and self.row is row:
                await self._rest(began)

    async def _turn(self, kind: Kind, row: SinkRow) -> bool:
        """A page read and told, as far as it goes -> whether there may be more to be told at once."""
        reader = self._reader
        self._woken.clear()
        page: ChangePage = await self._database(reader.read)
        self._next_at = page.next_at
        self._waiting = len(page.changes)
        for part in batches(page, self._sink.batch):
            if not await self._deliver(kind, reader, page, part, row):
                return True
            self._waiting -= len(part)
        if not self._goes_on(row):
            return True
        await self._finish(reader, page, row)
        return page.more or not await self._keep(kind, page, row)

    async def _deliver(
        self, kind: Kind, reader: SinkReader, page: ChangePage, part: Sequence[ToTell], row: SinkRow
    ) -> bool:
        """Tell a part of a page, again and again while it is right -> whether the receiver has it."""
        remembered = await self._database(lambda c: sinks.remembered(c, row.name, [each.told.uid for each in part]))
        here = part[-1].checkpoint
        batch = Batch(
            "msg_" + secrets.token_hex(16), [each.told for each in part], remembered, page.made.at,
            reader.checkpoint.position, here.position,
        )  # fmt: skip
        while self._goes_on(row):
            outcome = await self._attempt(lambda: kind.tell(batch))
            if isinstance(outcome, Done):
                now = self._now()
                await self._note(sinks.succeeded, row, here, len(part), outcome.remember, now)
                self._succeeded(now)
                reader.took(part, here)
                return True
            reader.failed(part, page)
            await self._failed(outcome, row)
            if not self._goes_on(row) or not await self._database(lambda c: reader.is_right(c, part)):
                return False
        return False

    async def _finish(self, reader: SinkReader, page: ChangePage, row: SinkRow) -> None:
        """All of a page has been told, or there was nothing to tell."""
        before, after = reader.checkpoint, page.checkpoint
        reader.finished(page)
        late = time.monotonic() - self._stored > STORE_SECONDS
        if after._replace(at=before.at) != before or page.changes or (late and after.at != before.at):
            self._stored = time.monotonic()
            await self._note(sinks.move, row, after)

    async def _keep(self, kind: Kind, page: ChangePage, row: SinkRow) -> bool:
        """Let the kind do what it does even if nothing changes -> whether it could."""
        if time.monotonic() - self._kept < KEEP_SECONDS or page.more:
            return True
        self._kept = time.monotonic()
        head = Head(ChangeOrder(page.checkpoint.epoch, page.made.position, page.made.at), self._waiting)
        outcome = await self._attempt(lambda: kind.keep(head))
        if outcome is None:
            return True
        if isinstance(outcome, Done):
            if self._failing.is_ongoing:
                now = self._now()
                await self._note(sinks.recovered, row, now)
                self._succeeded(now)
            return True
        await self._failed(outcome, row)
        return False

    async def _note(self, write: Callable[..., None], *values: Any) -> None:
        await self._database(lambda connection: write(connection, *values))

    async def _attempt(self, call: Callable[[], Awaitable[Outcome | None]]) -> Outcome | None:
        try:
            return await call()
        except StoreUnavailable:
            raise
        except Exception as error:  # a defect of one kind of sink is a failed attempt, and holds up no other
            log.exception("sink_broken", sink=self._sink.name)
            return Retry(f"unexpected error: {type(error).__name__}")

    async def _failed(self, outcome: Outcome | None, row: SinkRow) -> None:
        """Put it on record, and wait."""
        now = self._now()
        if isinstance(outcome, Stop):
            await self._note(sinks.stopped, row, outcome.reason, now)
            log.error(
                "sink_stopped", sink=row.name, reason=outcome.reason, way_out=f"presence-ledger sinks resume {row.name}"
            )
            if self.row is row:
                self.row = row._replace(stopped_at=now, revision=row.revision + 1)
            return
        assert isinstance(outcome, Retry)
        await self._note(sinks.failed, row, outcome.reason, now)
        self._failing.failed(outcome.reason, now)
        await self._wait(self._pauses.after(outcome.after_seconds), self._changed)

    def _succeeded(self, now: Instant) -> None:
        self._pauses.succeeded()
        self._failing.succeeded(now)

    async def _rest(self, began: float) -> None:
        """Until something is committed or changes by time; what changes within the window is told at its end."""
        seconds = POLL_SECONDS
        if self._next_at is not None:
            seconds = min(seconds, max(0.0, (self._next_at - self._now()) / SECOND))
        woken = await self._wait(seconds, self._woken) or seconds < POLL_SECONDS
        gather = GATHER_SECONDS - (time.monotonic() - began)
        window = max(gather, self._sink.coalesce_seconds) if woken else gather
        if window > 0:
            await self._wait(window, self._changed)

    async def _wait(self, seconds: float, event: asyncio.Event) -> bool:
        """Whether it came about within the seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
                return True
        return False

    def _goes_on(self, row: SinkRow) -> bool:
        return not self._stopping and self.row is row

    def _new_reader(self, row: SinkRow) -> SinkReader:
        restricted = "" if self._sink.kind == "redis" else self._sink.list
        return SinkReader(self._mapper, self._now, row.checkpoint, of_list=restricted, every=self._sink.every)

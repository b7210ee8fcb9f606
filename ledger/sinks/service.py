"""Sinks as a part of an instance: it leads or waits to, and while it leads each sink is followed on its own."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.loops import call_soon
from ledger.reconcile.leadership import Leadership
from ledger.repeated_logs import LoggedOutage
from ledger.settings import SinkSettings, SourceSettings
from ledger.sinks import registry
from ledger.sinks.follower import SinkFollower
from ledger.sinks.kind import Kind
from ledger.store import identity, session
from ledger.store.commit import CHANNEL
from ledger.store.ledger import translated
from ledger.store.mapper import EventMapper
from ledger.working_state import sinks, watch_list_record
from ledger.working_state.sinks import SinkCheckpoint, SinkRow
from projections.queries import history

log = structlog.get_logger()

T = TypeVar("T")

SINK_LOCK = 0x70726573_73696E6B
""""pres", "sink" in ASCII."""

LOOK_SECONDS = 0.5
"""What operators want, and whether the lock is still held, is looked at so often."""
WAIT_SECONDS = 1.0
"""Between two attempts to lead."""
RETRY_SECONDS = 0.5
DEFECT_SECONDS = 10.0
"""What is met again is not said all the time."""
END_SECONDS = 0.6
"""What is being told when the service stops has so long to end."""

Build = Callable[[SinkSettings, Sequence[SourceSettings], SinkFollower], Kind]


class Sinks:
    """All sinks of the settings; `build` makes the way to a receiver."""

    def __init__(
        self, database_url: str, settings: Sequence[SinkSettings], sources: Sequence[SourceSettings],
        now: Callable[[], Instant], stopping: asyncio.Event, build: Build = registry.build,
    ) -> None:  # fmt: skip
        self._url = database_url
        self._settings = settings
        self._sources = sources
        self._now = now
        self._build = build
        self._leadership = Leadership(database_url, SINK_LOCK, "sinks")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sinks")
        self._mapper = EventMapper()
        self._interrupted = LoggedOutage("sinks_interrupted", "sinks_go_on")
        self._stopping = stopping
        self._followers: dict[str, SinkFollower] = {}

    async def run(self) -> None:
        """Lead, or wait to, until `stopping` is set."""
        with _listening(self._url, self._wake):
            while not self._stopping.is_set():
                seconds = WAIT_SECONDS
                try:
                    if await self._in_thread(self._leadership.take):
                        await self._lead()
                        seconds = RETRY_SECONDS
                    self._interrupted.succeeded()
                except* StoreUnavailable as errors:
                    self._interrupted.failed(str(errors.exceptions[0]))
                except* Exception as errors:  # a defect must be seen, and must not end what others are told for good
                    log.exception("sinks_failed", exc_info=errors)
                    seconds = DEFECT_SECONDS
                await self._in_thread(self._leadership.give_up)
                await self._pause(seconds)
        self._thread.shutdown(wait=False)

    async def _lead(self) -> None:
        """Follow the ledger for every sink until the lock is lost, PostgreSQL is away, or the service stops."""
        rows = await self.read(self._begin)
        kinds: list[Kind] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                following = []
                for sink in self._settings:
                    follower = SinkFollower(sink, rows[sink.name], self._mapper, self._now, self.read)
                    if (kind := self._built(sink, follower)) is not None:
                        kinds.append(kind)
                        self._followers[sink.name] = follower
                        following.append(tasks.create_task(follower.run(kind), name=f"sink {sink.name}"))
                log.info("sinks_lead", sinks=[sink.name for sink in self._settings])
                await self._look()
                for follower in self._followers.values():
                    follower.stop()
                _, late = await asyncio.wait(following, timeout=END_SECONDS) if following else ((), ())
                for task in late:
                    task.cancel()
        finally:
            self._followers.clear()
            for kind in kinds:
                with contextlib.suppress(Exception):
                    await kind.close()

    def _built(self, sink: SinkSettings, follower: SinkFollower) -> Kind | None:
        try:
            return self._build(sink, self._sources, follower)
        except Exception:  # a sink that cannot be made must be seen, and holds up no other
            log.exception("sink_broken", sink=sink.name)
            return None

    async def _look(self) -> None:
        """Look at what is wanted of each sink, until the service stops."""
        while not self._stopping.is_set():
            if not await self._in_thread(self._leadership.still_holds):
                raise StoreUnavailable("the lock of the instance that leads the sinks is lost")
            rows: dict[str, SinkRow] = await self.read(sinks.read)
            for name, follower in self._followers.items():
                if name in rows:
                    follower.change(rows[name])
            self._interrupted.succeeded()
            await self._pause(LOOK_SECONDS)

    def _begin(self, connection: Connection[TupleRow]) -> dict[str, SinkRow]:
        """A sink that is new begins at the ledger's head."""
        connection.execute("SET synchronous_commit = off")
        known = sinks.read(connection)
        for sink in self._settings:
            if sink.name not in known:
                head = history.head(connection)
                number = watch_list_record.head(connection)
                at = max(self._now(), head.recorded_at)
                place = SinkCheckpoint(identity.epoch(connection), head.position, head.rules_position, number, at)
                sinks.begin(connection, sink.name, place)
        return sinks.read(connection)

    async def read(self, function: Callable[[Connection[TupleRow]], T]) -> T:
        """What a function reads or writes over the leader's session. Raises StoreUnavailable."""
        found: T = await self._in_thread(lambda: function(self._leadership.connection))
        return found

    async def _in_thread(self, function: Callable[..., Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(_translated, function))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _wake(self) -> None:
        for follower in self._followers.values():
            follower.wake()


def _translated(function: Callable[[], T]) -> T:
    with translated():
        return function()


@contextlib.contextmanager
def _listening(database_url: str, wake: Callable[[], None]) -> Any:
    """While it lasts, `wake` is called in the event loop after each commit; where one is missed, sinks look anyway."""
    loop, ending = asyncio.get_running_loop(), threading.Event()

    def listen() -> None:
        while not ending.is_set():
            try:
                with translated(), session.connect(database_url, "sinks listening") as connection:
                    connection.execute(f"LISTEN {CHANNEL}".encode())
                    while not ending.is_set():
                        for _ in connection.notifies(timeout=0.5, stop_after=1):
                            if not call_soon(loop, wake):
                                return
            except StoreUnavailable:
                ending.wait(RETRY_SECONDS)

    thread = threading.Thread(target=listen, name="sinks listen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()

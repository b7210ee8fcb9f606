"""Whether PostgreSQL answers at all: what waits for one that has fallen silent is told so, instead of for ever.

A server that was stopped, or whose disk hangs, keeps its connections open and says nothing: no time-out of TCP and none
of the server's own ends a question to it. That a question takes long is no sign of it: so where one does, another
connection is tried, and only if that has no answer either is the question given up.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg

from ledger.errors import StoreUnavailable
from ledger.loops import call_soon
from ledger.store import session

PATIENCE_SECONDS = 3.0
"""So long an answer may take before PostgreSQL is asked whether it is there."""
PROBE_SECONDS = 2
"""So long it has for that; libpq's least."""
CHECK_SECONDS = 0.5
AGAIN_SECONDS = 0.25

SILENT = "PostgreSQL does not answer: it keeps connections open and says nothing"


class Pulse:
    """Lets work wait for PostgreSQL as long as that answers, on one event loop."""

    def __init__(self, database_url: str, probe: Callable[[str], None] | None = None) -> None:
        """`probe` returns once the database has answered, and raises psycopg.Error where it does not."""
        self._url = database_url
        self._connect = probe or _connect
        self._waiting: dict[asyncio.Future[None], float] = {}
        """Since when; in the order of their begin."""
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._probe: asyncio.Future[bool] | None = None
        self._is_silent = False

    async def bounded(self, work: Coroutine[Any, Any, None], *, anyway: bool = False) -> None:
        """Do it. Raises StoreUnavailable where PostgreSQL is silent; then it goes on, and nobody waits for it.

        It is not begun where that is known already, unless it may well need nothing of it: `anyway`.
        """
        if self._is_silent and not anyway and not await self._answers():
            work.close()
            raise StoreUnavailable(SILENT)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        task = loop.create_task(work)
        task.add_done_callback(lambda done: _hand_on(done, waiter))
        self._waiting[waiter] = loop.time()
        self._schedule(loop)
        try:
            await waiter
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            del self._waiting[waiter]

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._looking is None and self._waiting:
            self._timer = loop.call_later(CHECK_SECONDS, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None and loop.time() - oldest >= PATIENCE_SECONDS:
            self._looking = loop.create_task(self._look(loop))
        self._schedule(loop)

    async def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up what has waited for long, if PostgreSQL is silent."""
        try:
            if not await self._answers():
                since = loop.time() - PATIENCE_SECONDS
                for waiter, began in self._waiting.items():
                    if began <= since and not waiter.done():
                        waiter.set_exception(StoreUnavailable(SILENT))
        finally:
            self._looking = None
            self._schedule(loop)

    async def _answers(self) -> bool:
        """Whether it answers on a new connection; one attempt at a time, however many ask."""
        if self._probe is None:
            self._probe = asyncio.get_running_loop().create_future()
            # Not one of the pool's threads: they may all be waiting for it.
            threading.Thread(target=self._try, args=(self._probe,), name="pulse", daemon=True).start()
        probe = self._probe
        # While PostgreSQL is known to be silent nobody waits long for the attempt that finds out that it is back.
        await asyncio.wait({probe}, timeout=AGAIN_SECONDS if self._is_silent else PROBE_SECONDS + CHECK_SECONDS)
        self._is_silent = not (probe.done() and probe.result())
        if probe.done():
            self._probe = None
        return not self._is_silent

    def _try(self, probe: "asyncio.Future[bool]") -> None:
        try:
            self._connect(self._url)
            answers = True
        except psycopg.errors.ConnectionTimeout:
            answers = False
        except psycopg.Error:
            # It has said something, or there is nobody: then what waits is told by its own connection.
            answers = True
        call_soon(probe.get_loop(), _set, probe, answers)


def _set(probe: "asyncio.Future[bool]", answers: bool) -> None:
    if not probe.done():
        probe.set_result(answers)


def _connect(url: str) -> None:
    session.connect(url, "pulse", connect_timeout=PROBE_SECONDS).close()


def _hand_on(done: "asyncio.Task[None]", waiter: "asyncio.Future[None]") -> None:
    """The work's end, to whoever waits for it still."""
    error = None if done.cancelled() else done.exception()
    if waiter.done():
        return
    if done.cancelled():
        waiter.cancel()
    elif error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(None)

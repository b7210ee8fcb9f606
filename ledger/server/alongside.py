"""A process alongside the service: what it is to do is a line of JSON on standard input, whose end is that of both.

Of standard input, since orders hold passwords and everybody can read a command line. Further lines are new orders,
which replace those before them. Signals that reach the whole group are the service's to answer.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

import structlog
import uvloop

from ledger.errors import LedgerError
from ledger.loops import call_soon
from ledger.server.logs import configure_logging
from ledger.settings import LogFormat, LogLevel

log = structlog.get_logger()

SWITCH_SECONDS = 0.0005
END_SECONDS = 0.9
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""After the service has ended it ends within a second, whatever holds it up."""


class ProcessOrders(Protocol):
    """What every such process is told."""

    @property
    def log_level(self) -> LogLevel: ...

    @property
    def log_format(self) -> LogFormat: ...


T = TypeVar("T", bound=ProcessOrders)


class NewOrders(Generic[T]):
    """The orders that came after the first, of which the last one holds; of one event loop."""

    def __init__(self) -> None:
        self._last: T | None = None
        self._take: Callable[[T], object] | None = None

    def put(self, orders: T) -> None:
        """They hold from now on."""
        self._last = orders
        configure_logging(orders.log_level, orders.log_format)
        if self._take is not None:
            self._take(orders)

    def follow(self, take: Callable[[T], object]) -> None:
        """Have them taken as they come, and at once those that have come."""
        self._take = take
        if self._last is not None:
            take(self._last)


def leave_signals_to_service() -> None:
    """Ctrl-C, a terminal's end and the end of a group reach all of it: the service is stopped, and stops us."""
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run(
    name: str,
    decode: Callable[[str], T],
    serve: Callable[[T, asyncio.Event, NewOrders[T]], Coroutine[Any, Any, None]],
    *,
    niceness: int = 0,
) -> None:
    """Serve as the first line of standard input says, until the event is set; exits 1 where it cannot."""
    leave_signals_to_service()
    os.nice(niceness)
    orders = decode(sys.stdin.readline())
    configure_logging(orders.log_level, orders.log_format)
    # A thread that computes lets the event loop have its turn as often as in the service.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is kept holds no cycles; a collection walks all of it for nothing.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_service_ends(serve, orders, decode))
    except LedgerError as error:
        failed = f"{name}_failed"
        log.error(failed, reason=str(error))  # noqa: TRY400  (its text says it all)
        sys.exit(1)


async def _until_service_ends(
    serve: Callable[[T, asyncio.Event, NewOrders[T]], Coroutine[Any, Any, None]], orders: T, decode: Callable[[str], T]
) -> None:
    stop, new = asyncio.Event(), NewOrders[T]()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        for line in sys.stdin:
            call_soon(loop, new.put, decode(line))
        call_soon(loop, stop.set)
        threading.Timer(END_SECONDS, os._exit, (0,)).start()

    threading.Thread(target=wait, name="end with service", daemon=True).start()
    await serve(orders, stop, new)

"""A process alongside the service: what it is to do is a line of JSON on standard input, whose end is that of both.

Of standard input, since orders hold passwords and everybody can read a command line.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

import structlog
import uvloop

from ledger.errors import LedgerError
from ledger.server.logs import configure_logging
from ledger.settings import LogFormat, LogLevel

log = structlog.get_logger()

SWITCH_SECONDS = 0.0005
END_SECONDS = 0.9
"""After the service has ended it ends within a second, whatever holds it up."""


class Orders(Protocol):
    """What every such process is told."""

    @property
    def log_level(self) -> LogLevel: ...

    @property
    def log_format(self) -> LogFormat: ...


T = TypeVar("T", bound=Orders)


def run(
    name: str,
    decode: Callable[[str], T],
    serve: Callable[[T, asyncio.Event], Coroutine[Any, Any, None]],
    *,
    niceness: int = 0,
) -> None:
    """Serve as the first line of standard input says, until the event is set; exits 1 where it cannot."""
    # Ctrl-C reaches the whole group; the service is stopped by it, and stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
            runner.run(_until_service_ends(serve, orders))
    except LedgerError as error:
        failed = f"{name}_failed"
        log.error(failed, reason=str(error))  # noqa: TRY400  (its text says it all)
        sys.exit(1)


async def _until_service_ends(serve: Callable[[T, asyncio.Event], Coroutine[Any, Any, None]], orders: T) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(stop.set)
        threading.Timer(END_SECONDS, os._exit, (0,)).start()

    threading.Thread(target=wait, name="end with service", daemon=True).start()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await serve(orders, stop)

"""The sinks' process: tells receivers alongside the service, and ends when that does.

`python -m ledger.sinks.process`; what it is to do is a line of JSON on standard input, since it holds passwords and
everybody can read a command line. The end of that input is the end of the service.
"""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from ledger.errors import LedgerError
from ledger.ingest.clock import Clock
from ledger.server.logs import configure_logging
from ledger.settings import (
    LogFormat,
    LogLevel,
    RedisSettings,
    SinkSettings,
    SourceSettings,
    WebhookSettings,
    WukongimSettings,
)
from ledger.sinks.service import Sinks

log = structlog.get_logger()

NICENESS = 5
"""Ingest comes first."""

END_SECONDS = 0.9


class Orders(msgspec.Struct, frozen=True):
    """What the process is to do."""

    database_url: str
    webhooks: list[WebhookSettings]
    wukongims: list[WukongimSettings]
    redises: list[RedisSettings]
    sources: list[SourceSettings]
    log_level: LogLevel
    log_format: LogFormat

    @property
    def sinks(self) -> list[SinkSettings]:
        """All of them."""
        return [*self.webhooks, *self.wukongims, *self.redises]


def decode(line: str) -> Orders:
    """The orders of a line of JSON."""
    return msgspec.json.decode(line, type=Orders, dec_hook=_decoded)


def _decoded(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)


def main() -> None:
    """Tell receivers as the first line of standard input says."""
    # Ctrl-C reaches the whole group; the service is stopped by it, and stops us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    orders = decode(sys.stdin.readline())
    configure_logging(orders.log_level, orders.log_format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_service_ends(orders))
    except LedgerError as error:
        log.error("sinks_failed", reason=str(error))  # noqa: TRY400  (its text says it all)
        sys.exit(1)


async def _until_service_ends(orders: Orders) -> None:
    sinks = Sinks(orders.database_url, orders.sinks, orders.sources, Clock().now)
    loop = asyncio.get_running_loop()

    def wait() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(sinks.stop)
        # Whatever holds the end up, there is one.
        threading.Timer(END_SECONDS, os._exit, (0,)).start()

    threading.Thread(target=wait, name="end with service", daemon=True).start()
    loop.add_signal_handler(signal.SIGTERM, sinks.stop)
    await sinks.run()


if __name__ == "__main__":
    main()

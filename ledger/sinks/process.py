"""The sinks' process: tells receivers alongside the service, and ends when that does.

`python -m ledger.sinks.process`, started as `ledger.server.alongside` says.
"""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from ledger.ingest.clock import Clock
from ledger.server import alongside
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

NICENESS = 5
"""Ingest comes first."""


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


async def tell(orders: Orders, stop: asyncio.Event) -> None:
    """Tell receivers until `stop` is set. Raises LedgerError where it cannot."""
    await Sinks(orders.database_url, orders.sinks, orders.sources, Clock().now, stop).run()


def main() -> None:
    """Tell receivers as the first line of standard input says."""
    alongside.run("sinks", decode, tell, niceness=NICENESS)


if __name__ == "__main__":
    main()

"""What the sinks' process is told on its standard input. Apart from it, so that the service need not import it."""

from pathlib import Path
from typing import Any

import msgspec

from ledger.settings import (
    LogFormat,
    LogLevel,
    RedisSettings,
    SinkSettings,
    SourceSettings,
    WebhookSettings,
    WukongimSettings,
)


class SinkOrders(msgspec.Struct, frozen=True):
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


def decode(line: str) -> SinkOrders:
    """The orders of a line of JSON."""
    return msgspec.json.decode(line, type=SinkOrders, dec_hook=_decoded)


def _decoded(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind)

"""What the front's process is told on its standard input. Apart from it, so that the service need not import it."""

import msgspec

from ledger.settings import LogFormat, LogLevel, MetricsScope
from ledger.store.stream_tokens import TokenRoot


class FrontKey(msgspec.Struct, frozen=True):
    """A fixed API key of the settings."""

    name: str
    scopes: list[str]
    key: str


class FrontOrders(msgspec.Struct, frozen=True):
    """What the process is to do."""

    database_url: str
    listen: tuple[str, int]
    service: str
    """Where the service beside it answers, `http://host:port`."""
    connections: int
    origins: list[str]
    keys: list[FrontKey]
    token_roots: list[TokenRoot]
    log_level: LogLevel
    log_format: LogFormat
    archive_dir: str
    """The folder of what was archived, which slices are taken from, too."""
    asked_again_seconds: float | None = None
    """As often somebody has to hear of each user who is watched; None: nobody wants to."""
    metrics_scope: MetricsScope = "read"

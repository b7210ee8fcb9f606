"""What `/metrics` says of the spool."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge

from ledger.domain.observation import SECOND
from ledger.spool.spool import Spool, SpoolState


def watch_spool(registry: CollectorRegistry, spool: Spool | None) -> None:
    """Show what is in a spool; zeros of one that is off."""
    for name, text, of in _GAUGES:
        gauge = Gauge(f"presence_ledger_{name}", text, registry=registry)
        if spool is not None:
            gauge.set_function(lambda of=of: of(spool.state))  # type: ignore[misc]


_GAUGES: tuple[tuple[str, str, Callable[[SpoolState], float]], ...] = (
    ("spooling", "1 while webhooks go to the spool", lambda state: state.since is not None),
    ("spool_size_bytes", "Bytes of the spool's files", lambda state: state.contents.size),
    ("spool_max_bytes", "What bounds them, spool_bytes", lambda state: state.max_bytes),
    ("spool_deliveries", "Webhooks in the spool that are not in the ledger", lambda state: state.contents.deliveries),
    (
        "spool_oldest_timestamp_seconds",
        "When the oldest of them was received, about; 0: there is none",
        lambda state: (state.contents.oldest_at or 0) / SECOND,
    ),
)

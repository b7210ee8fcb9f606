"""What the front counts, for its own `/metrics`: streams, how far it has told, and its process."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)


class Figures:
    """Gauges that are read when they are asked for."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, streams: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        Gauge("presence_ledger_streams", "Streams that are open", registry=self._registry).set_function(streams)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

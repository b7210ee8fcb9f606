"""What the front counts, for its own `/metrics`: streams, requests, and its process."""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, disable_created_metrics, generate_latest

from ledger.http.process_figures import ProcessFigures

# Each series would be doubled by the instant at which it began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Figures:
    """Gauges that are read when they are asked for; `most`: streams at once."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, streams: Callable[[], int], most: int) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ProcessFigures("front"))
        Gauge("presence_ledger_streams", "Streams that are open", registry=self.registry).set_function(streams)
        Gauge("presence_ledger_streams_max", "Streams that may be open at once", registry=self.registry).set(most)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)

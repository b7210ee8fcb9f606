"""What an instance counts while it runs, for `/metrics` and `/v1/sources`. No label holds a secret or a uid."""

from collections.abc import Collection, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from ledger.http.process_figures import ProcessFigures
from ledger.http.source_answers import WebhookCounts

WEBHOOK_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

OTHER = "other"
FORWARDED_EVENTS = ("msg.notify", "msg.offline", "user.onlinestatus", OTHER)
"""What WuKongIM sends, and whatever else comes with the right secret."""

FORWARD_OUTCOMES = frozenset({"delivered", "refused", "unreachable", "timed_out", "left_out"})

DELIVERY_OUTCOMES = (
    "accepted",
    "rejected",
    "other_event",
    "forbidden",
    "no_event",
    "too_large",
    "encoding",
    "store_unavailable",
    "source_unreadable",
)
"""Stored; stored raw, since its body is no array; of another event, forwarded or not; and why it was refused."""

CLOSED_REASONS = ("no_request", "crowded")

# Each series would be doubled by the instant at which it began.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Counters:
    """Counters since the instance started, in a registry of their own, so that tests may run several.

    `nodes` are those of the settings, by source: they start at 0. `folder`: whose disk is looked at.
    """

    def __init__(self, nodes: Mapping[str, Collection[str]] | None = None, folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        by_node = ["source", "node"]
        self.deliveries = self._counter("webhook_deliveries", "Webhooks by what became of them", [*by_node, "outcome"])
        self.forwarded = self._counter(
            "webhooks_forwarded",
            "Webhooks for the business server, by what became of them",
            [*by_node, "event", "outcome"],
        )
        self.connections_closed = self._counter(
            "connections_closed", "Connections closed before their time, by reason", ["reason"]
        )
        self.webhook_seconds = Histogram(
            "presence_ledger_webhook_duration_seconds",
            "From a webhook's last byte to its durable commit",
            buckets=WEBHOOK_BUCKETS,
            registry=self.registry,
        )
        self.processes = ProcessFigures("service", folder)
        self.registry.register(self.processes)
        for source, names in (nodes or {}).items():
            for node in names:
                for outcome in DELIVERY_OUTCOMES:
                    self.deliveries.labels(source, node, outcome)
        for reason in CLOSED_REASONS:
            self.connections_closed.labels(reason)

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"presence_ledger_{name}", text, labels, registry=self.registry)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def delivered(self, source: str, node: str, outcome: str) -> None:
        """A webhook of a node has come to something."""
        self.deliveries.labels(source, node, outcome).inc()

    def for_node(self, source: str, node: str) -> WebhookCounts:
        """What this instance counted of one node."""

        def number(outcome: str) -> int:
            return int(self._value("webhook_deliveries", source=source, node=node, outcome=outcome))

        return WebhookCounts(
            accepted=number("accepted") + number("rejected"),
            other_events=number("other_event"),
            forwarded=self._forwarded(source, node, {"delivered"}),
            not_forwarded=self._forwarded(source, node, FORWARD_OUTCOMES - {"delivered"}),
            refused_store_unavailable=number("store_unavailable"),
            refused_source_unreadable=number("source_unreadable"),
            refused_too_large=number("too_large"),
            refused_encoding=number("encoding"),
            refused_no_event=number("no_event"),
        )

    def count_closed(self, reason: str) -> None:
        """A connection has been closed before its time."""
        self.connections_closed.labels(reason).inc()

    def _forwarded(self, source: str, node: str, outcomes: Collection[str]) -> int:
        return sum(
            int(self._value("webhooks_forwarded", source=source, node=node, event=event, outcome=outcome))
            for event in FORWARDED_EVENTS
            for outcome in outcomes
        )

    def _value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"presence_ledger_{name}_total", labels) or 0.0

"""What an instance counts while it runs, for `/metrics` and `/v1/sources`. No label holds a secret or a uid."""

from collections import Counter as Tally
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
    "spooled",
    "other_event",
    "forbidden",
    "no_event",
    "too_large",
    "encoding",
    "store_unavailable",
    "source_unreadable",
)
"""Stored; stored raw, since its body is no array; spooled, to be stored later; of another event,
forwarded or not; and why it was refused."""

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
        self.know(nodes or {})
        for reason in CLOSED_REASONS:
            self.connections_closed.labels(reason)

    def know(self, nodes: Mapping[str, Collection[str]]) -> None:
        """These are of the settings from now on; what was counted of others stays."""
        for source, names in nodes.items():
            for node in names:
                for outcome in DELIVERY_OUTCOMES:
                    self.deliveries.labels(source, node, outcome)

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
        delivered = _of_node(self.deliveries, source, node)
        forwarded = _of_node(self.forwarded, source, node)
        return WebhookCounts(
            accepted=delivered["accepted"] + delivered["rejected"] + delivered["spooled"],
            other_events=delivered["other_event"],
            forwarded=forwarded["delivered"],
            not_forwarded=sum(forwarded[outcome] for outcome in FORWARD_OUTCOMES - {"delivered"}),
            refused_store_unavailable=delivered["store_unavailable"],
            refused_source_unreadable=delivered["source_unreadable"],
            refused_too_large=delivered["too_large"],
            refused_encoding=delivered["encoding"],
            refused_no_event=delivered["no_event"],
        )

    def count_closed(self, reason: str) -> None:
        """A connection has been closed before its time."""
        self.connections_closed.labels(reason).inc()


def _of_node(counter: Counter, source: str, node: str) -> Tally[str]:
    """A node's numbers by outcome, read of this counter alone: all others of the registry are read for each sample."""
    found = Tally[str]()
    for metric in counter.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total") and (sample.labels["source"], sample.labels["node"]) == (source, node):
                found[sample.labels["outcome"]] += int(sample.value)
    return found

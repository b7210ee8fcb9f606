"""What an instance counts while it runs, for `/metrics` and `/v1/sources`. No label holds a secret or a uid."""

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ledger.http.sink_figures import SinkFigures
from ledger.http.source_answers import WebhookCounts

WEBHOOK_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

OTHER = "other"
FORWARDED_EVENTS = ("msg.notify", "msg.offline", "user.onlinestatus", OTHER)
"""What WuKongIM sends, and whatever else comes with the right secret."""

FORWARD_OUTCOMES = frozenset({"delivered", "refused", "unreachable", "timed_out", "left_out"})


class Counters:
    """Counters since the instance started, in a registry of their own, so that tests may run several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_node = ["source", "node"]
        self.accepted = self._counter("webhooks_accepted", "Presence webhooks stored and answered 200", by_node)
        self.other_events = self._counter(
            "webhooks_other_events", "Webhooks of other events, forwarded or not", by_node
        )
        self.forwarded = self._counter(
            "webhooks_forwarded",
            "Webhooks for the business server, by what became of them",
            [*by_node, "event", "outcome"],
        )
        self.refused = self._counter("webhooks_refused", "Webhooks refused, by reason", [*by_node, "reason"])
        self.connections_closed = self._counter(
            "connections_closed", "Connections closed before their time, by reason", ["reason"]
        )
        self.projection_lag = self._gauge("projection_lag", "Positions that a projection is behind the ledger")
        self.projection_stopped = self._gauge("projection_stopped", "Whether a projection met an event it cannot take")
        self.sinks = SinkFigures()
        self.registry.register(self.sinks)
        self.webhook_seconds = Histogram(
            "presence_ledger_webhook_seconds",
            "From the body's last byte to its durable commit",
            buckets=WEBHOOK_BUCKETS,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"presence_ledger_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"presence_ledger_{name}", text, ["projection"], registry=self.registry)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self.registry)

    def for_node(self, source: str, node: str) -> WebhookCounts:
        """What this instance counted of one node."""

        def refused(reason: str) -> int:
            return int(self._value("webhooks_refused", source=source, node=node, reason=reason))

        return WebhookCounts(
            accepted=int(self._value("webhooks_accepted", source=source, node=node)),
            other_events=int(self._value("webhooks_other_events", source=source, node=node)),
            forwarded=self._forwarded(source, node, {"delivered"}),
            not_forwarded=self._forwarded(source, node, FORWARD_OUTCOMES - {"delivered"}),
            refused_store_unavailable=refused("store_unavailable"),
            refused_source_unreadable=refused("source_unreadable"),
            refused_too_large=refused("too_large"),
            refused_encoding=refused("encoding"),
            refused_no_event=refused("no_event"),
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

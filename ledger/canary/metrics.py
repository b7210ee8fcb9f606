"""What the visits of canaries come to, for `/metrics`, while this instance leads. No label holds a uid."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ledger.canary.visit import CHANGES, OUTCOMES, Visit
from ledger.domain.observation import SECOND, Instant

STAGES = ("webhook", "commit", "stream")
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class CanaryMetrics:
    """Of the canaries of these (source, node); what is known of them beforehand starts at 0."""

    def __init__(self, registry: CollectorRegistry, nodes: Iterable[tuple[str, str]]) -> None:
        labels = ["source", "node"]
        self._visits = Counter(
            "presence_ledger_canary_visits", "Visits of canaries, by what they came to", [*labels, "outcome"],
            registry=registry,
        )  # fmt: skip
        self._lost = Counter(
            "presence_ledger_canary_webhooks_lost", "Webhooks of canaries that have not come", [*labels, "change"],
            registry=registry,
        )  # fmt: skip
        self._latency = Histogram(
            "presence_ledger_canary_latency_seconds",
            "From the opening of a canary's socket until its webhook was here, committed, told of by a stream",
            [*labels, "stage"], buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self._seen = Gauge(
            "presence_ledger_canary_last_seen_timestamp_seconds",
            "The end of the last visit that was seen; of none yet, when the canary was taken up",
            labels, registry=registry,
        )  # fmt: skip
        self._every = Gauge(
            "presence_ledger_canary_every_seconds", "Between two visits of a canary", labels, registry=registry
        )
        self.know(nodes)

    def know(self, nodes: Iterable[tuple[str, str]]) -> None:
        """There are canaries of these from now on."""
        for source, node in nodes:
            for outcome in OUTCOMES:
                self._visits.labels(source, node, outcome)
            for change in CHANGES:
                self._lost.labels(source, node, change)
            for stage in STAGES:
                self._latency.labels(source, node, stage)

    def began(self, source: str, node: str, quiet_since: Instant, every_seconds: float) -> None:
        """This instance has taken a canary up, of whom nothing was seen since."""
        self._every.labels(source, node).set(every_seconds)
        self._seen.labels(source, node).set(quiet_since / SECOND)

    def visited(self, source: str, node: str, visit: Visit) -> None:
        """A visit is over."""
        self._visits.labels(source, node, visit.outcome).inc()
        for change in visit.lost:
            self._lost.labels(source, node, change).inc()
        if visit.stages is not None:
            for stage, seconds in visit.stages._asdict().items():
                if seconds is not None:
                    self._latency.labels(source, node, stage).observe(seconds)
        if visit.outcome == "seen":
            self._seen.labels(source, node).set(visit.at / SECOND)

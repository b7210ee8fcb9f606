"""What the writer counts for `/metrics`: items by verdict, groups, commits and what waits. No label holds a uid."""

from collections import Counter as Tallied
from collections.abc import Collection, Mapping
from typing import TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ledger.domain.event_types import Event
from ledger.domain.events import DeliveryReceived, ItemRejected, Verdict
from ledger.ingest.intake import Intake
from ledger.store.mapper import SOURCE_PREFIX

REJECTED = "rejected"
"""In the place of a verdict: an element that is no claim."""
VERDICTS = (*get_args(Verdict), REJECTED)

COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ITEM_BUCKETS = (1, 10, 100, 1_000, 10_000, 100_000)

Tally: TypeAlias = Tallied[tuple[str, str, str]]
"""Items by source, node and verdict; under REPEATED, deliveries that came before."""

REPEATED = ""
"""In the place of a verdict: a delivery whose body its node had sent before, within the dedupe window."""


def note(tally: Tally, stream: str, event: Event) -> None:
    """Count what a webhook became besides judged items: an event of its source's stream."""
    if isinstance(event, ItemRejected):
        tally[stream.removeprefix(SOURCE_PREFIX), event.node, REJECTED] += 1 + len(event.following)
    elif isinstance(event, DeliveryReceived) and event.repeats is not None:
        tally[stream.removeprefix(SOURCE_PREFIX), event.node, REPEATED] += 1


class IngestFigures:
    """Counted once a group, when it is committed. `nodes` are those of the settings, by source: they start at 0."""

    def __init__(self, registry: CollectorRegistry, nodes: Mapping[str, Collection[str]] | None = None) -> None:
        self._registry = registry
        by_node = ["source", "node"]
        self._items = Counter(
            "presence_ledger_webhook_items",
            "Items of stored webhooks, by the verdict on them",
            [*by_node, "verdict"],
            registry=registry,
        )
        self._repeated = Counter(
            "presence_ledger_webhook_deliveries_repeated",
            "Stored webhooks whose body their node had sent before, within the dedupe window",
            by_node,
            registry=registry,
        )
        self._group_items = Histogram(
            "presence_ledger_group_items", "Items of each commit of webhooks", buckets=ITEM_BUCKETS, registry=registry
        )
        self._commit_seconds = Histogram(
            "presence_ledger_commit_duration_seconds",
            "Commits of webhooks, from asking for the ledger's lock to durable",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "presence_ledger_commit_failures", "Attempts to commit webhooks that failed", registry=registry
        )
        for source, names in (nodes or {}).items():
            for node in names:
                self._repeated.labels(source, node)
                for verdict in VERDICTS:
                    self._items.labels(source, node, verdict)

    def watch(self, intake: Intake) -> None:
        """Show what waits in it, or is on its way to the ledger."""
        store = intake.store
        for name, text, read in (
            ("queue_deliveries", "Webhooks that wait, or are being committed", lambda: intake.waiting.deliveries),
            ("queue_items", "Items that wait, or are being committed", lambda: intake.waiting.items),
            ("queue_bytes", "Bytes of bodies that wait, or are being committed", lambda: intake.waiting.size),
            (
                "commits_failing",
                "1 while the last attempt to commit has failed",
                lambda: store.trouble is not None,
            ),
        ):
            Gauge(f"presence_ledger_{name}", text, registry=self._registry).set_function(read)

    def committed(self, tally: Tally, seconds: float) -> None:
        """A group is in the ledger, and its commit took so long."""
        self._commit_seconds.observe(seconds)
        items = 0
        for (source, node, verdict), number in tally.items():
            if verdict == REPEATED:
                self._repeated.labels(source, node).inc(number)
            else:
                items += number
                self._items.labels(source, node, verdict).inc(number)
        self._group_items.observe(items)

    def failed(self) -> None:
        """An attempt to commit a group has failed."""
        self._failures.inc()

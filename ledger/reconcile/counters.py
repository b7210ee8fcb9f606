"""What reconciliation counts while this instance leads, for `/metrics`. No label holds a uid."""

from collections import Counter as Tallied
from collections.abc import Collection, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome, Tier
from ledger.reconcile.judge import Verdicts
from ledger.reconcile.plan import ROWS


class ReconcileCounters:
    """Counters in the registry of the instance. `nodes` are those of the settings, by source: they start at 0."""

    def __init__(self, registry: CollectorRegistry, nodes: Mapping[str, Collection[str]] | None = None) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"presence_ledger_{name}", text, ["source", *labels], registry=registry)

        self._polls = counter("polls", "Polls of the query APIs", "node", "route", "outcome")
        self._looks = counter("looks", "Users looked at, by the tier they were of", "tier")
        self._overdue = counter("looks_overdue", "Users looked at later than their tier's bound", "tier")
        self._drifts = counter(
            "drifts", "Drifts that were corrected, by what webhooks did not say and why not", "kind", "cause"
        )
        self._findings = counter(
            "drift_findings", "What looks made of drifts, found for the first time or again", "kind", "outcome"
        )
        self._swept = counter("users_swept", "Users whose sessions ended with a node", "node")
        self.leads = Gauge("presence_ledger_leads", "1 while this instance reconciles", registry=registry)
        self.know(nodes or {})

    def know(self, nodes: Mapping[str, Collection[str]]) -> None:
        """These are of the settings from now on; what was counted of others stays."""
        for source, names in nodes.items():
            self._begin(source, names)

    def _begin(self, source: str, nodes: Collection[str]) -> None:
        """All that is known beforehand starts at 0."""
        for tier in get_args(Tier):
            self._looks.labels(source, tier)
            self._overdue.labels(source, tier)
        for kind in get_args(DriftKind):
            for cause in get_args(Attribution):
                self._drifts.labels(source, kind, cause)
            for outcome in get_args(Outcome):
                self._findings.labels(source, kind, outcome)
        for node in nodes:
            self._swept.labels(source, node)
            for outcome in ("answered", "failed"):
                self._polls.labels(source, node, ROWS.value, outcome)

    def answered(self, source: str, node: str, route: str, verdicts: Verdicts) -> None:
        """A poll was answered and judged."""
        self._polls.labels(source, node, route, "answered").inc()
        looks = Tallied((judged.tier, judged.overdue) for _, judged in verdicts.judged)
        for (tier, overdue), users in looks.items():
            self._looks.labels(source, tier).inc(users)
            if overdue:
                self._overdue.labels(source, tier).inc(users)
        for _, judged in verdicts.judged:
            if (found := judged.finding) is not None:
                self._findings.labels(source, found.drift, found.outcome).inc()
                # Once each: a webhook on its way is no drift, and of one that a second look has to confirm that speaks.
                if found.outcome == "corrected" and found.attributed_to is not None:
                    self._drifts.labels(source, found.drift, found.attributed_to).inc()

    def failed(self, source: str, node: str, route: str) -> None:
        """A poll was not answered, or with nothing of use."""
        self._polls.labels(source, node, route, "failed").inc()

    def swept(self, source: str, node: str, users: int) -> None:
        """Sessions of so many users ended with their node."""
        self._swept.labels(source, node).inc(users)

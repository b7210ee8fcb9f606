"""What reconciliation counts while this instance leads, for `/metrics`. No label holds a uid."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from ledger.reconcile.judge import Verdicts


class ReconcileCounters:
    """Counters and gauges in the registry of the instance."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(
            "presence_ledger_polls",
            "Polls of the query APIs",
            ["source", "node", "route", "outcome"],
            registry=registry,
        )
        self._looked = Counter(
            "presence_ledger_users_looked_at", "Users judged by polls", ["source"], registry=registry
        )
        self._drifts = Counter(
            "presence_ledger_drifts",
            "Drifts by what a look made of them",
            ["source", "kind", "outcome"],
            registry=registry,
        )
        self._swept = Counter(
            "presence_ledger_users_swept",
            "Users whose sessions ended with a node",
            ["source", "node"],
            registry=registry,
        )
        self._breaker = Gauge(
            "presence_ledger_breaker_open", "1 while corrections to offline are held", ["source"], registry=registry
        )
        self._dark = Gauge("presence_ledger_source_dark", "1 while nothing is known", ["source"], registry=registry)
        self._down = Gauge("presence_ledger_nodes_down", "Nodes in doubt", ["source"], registry=registry)
        self._silent = Gauge(
            "presence_ledger_webhooks_silent", "1 while webhooks stop and queries answer", ["source"], registry=registry
        )
        self._overdue = Gauge(
            "presence_ledger_looks_due", "Users whose look is due and not under way", ["source"], registry=registry
        )
        self.leads = Gauge("presence_ledger_leads", "1 while this instance reconciles", registry=registry)

    def answered(self, source: str, node: str, route: str, verdicts: Verdicts) -> None:
        """A poll was answered and judged."""
        self._polls.labels(source, node, route, "answered").inc()
        self._looked.labels(source).inc(len(verdicts.judged))
        for _, judged in verdicts.judged:
            if judged.finding is not None:
                self._drifts.labels(source, judged.finding.drift, judged.finding.outcome).inc()

    def failed(self, source: str, node: str, route: str) -> None:
        """A poll was not answered, or with nothing of use."""
        self._polls.labels(source, node, route, "failed").inc()

    def swept(self, source: str, node: str, users: int) -> None:
        """Sessions of so many users ended with their node."""
        self._swept.labels(source, node).inc(users)

    def state(self, source: str, *, breaker_open: bool, dark: bool, down: int, silent: bool, due: int) -> None:
        """How a source stands."""
        self._breaker.labels(source).set(breaker_open)
        self._dark.labels(source).set(dark)
        self._down.labels(source).set(down)
        self._silent.labels(source).set(silent)
        self._overdue.labels(source).set(due)

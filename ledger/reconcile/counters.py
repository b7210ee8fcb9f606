"""What reconciliation counts while this instance leads, for `/metrics`. No label holds a uid."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from ledger.reconcile.judge import Verdicts


class ReconcileCounters:
    """Counters and gauges in the registry of the instance."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"presence_ledger_{name}", text, ["source", *labels], registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"presence_ledger_{name}", text, labels, registry=registry)

        self._polls = counter("polls", "Polls of the query APIs", "node", "route", "outcome")
        self._looked = counter("users_looked_at", "Users judged by polls")
        self._drifts = counter("drifts", "Drifts by what a look made of them", "kind", "outcome")
        self._swept = counter("users_swept", "Users whose sessions ended with a node", "node")
        self._breaker = gauge("breaker_open", "1 while corrections to offline are held", "source")
        self._dark = gauge("source_dark", "1 while nothing is known of the source", "source")
        self._down = gauge("nodes_down", "Nodes whose users are in doubt", "source")
        self._silent = gauge("webhooks_silent", "1 while webhooks stop and queries answer", "source")
        self._due = gauge("looks_due", "Users whose look is due", "source")
        self.leads = gauge("leads", "1 while this instance reconciles")

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
        self._due.labels(source).set(due)

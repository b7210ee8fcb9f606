"""The runs of one source that this instance makes: what each has come to so far, and what goes on record of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

from msgspec.structs import replace

from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import RunCounts, RunEnded, RunScope, RunStarted
from ledger.reconcile import judge
from ledger.reconcile.requests import new_run


@dataclass
class Run:
    """One run under way."""

    run: str
    scope: RunScope
    started_at: Instant
    node: str | None = None
    users: int | None = None
    """To be looked at in all, where that is known."""
    counts: RunCounts = field(default_factory=RunCounts)
    failures: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=monotonic)
    under_way: int = 0
    """Polls and full scans of it that have not come to their end."""

    @classmethod
    def new(cls, scope: RunScope, at: Instant, node: str | None = None, users: int | None = None) -> "Run":
        """A run with an id of its own."""
        return cls(new_run(), scope, at, node, users)

    def judged(self, verdicts: judge.Verdicts) -> None:
        """A poll was answered."""
        self.counts = judge.counted(self.counts, verdicts)

    def failed(self, node: str, reason: str, users: int) -> None:
        """A poll of a node was not."""
        self.failures[node] = reason
        self.counts = replace(
            self.counts,
            polls=self.counts.polls + 1,
            failed_polls=self.counts.failed_polls + 1,
            failed=self.counts.failed + users,
        )

    def not_asked(self, reasons: Mapping[str, str], users: int) -> None:
        """Nobody could be asked about so many users; why not, by node."""
        self.failures.update(reasons)
        self.counts = replace(self.counts, failed=self.counts.failed + users)

    def swept(self, users: int) -> None:
        """Sessions of so many users ended with their node."""
        self.counts = replace(self.counts, swept=self.counts.swept + users)

    def overdue(self, users: int) -> None:
        """So many had waited longer than their bound."""
        self.counts = replace(self.counts, overdue=self.counts.overdue + users)

    def start_event(self, instance: str) -> RunStarted:
        """Its begin, for the record."""
        return RunStarted(
            run=self.run, at=self.started_at, instance=instance, scope=self.scope, node=self.node, users=self.users
        )

    def end_event(self, at: Instant, outcome: Literal["completed", "interrupted"] = "completed") -> RunEnded:
        """Its end, for the record; `interrupted` where its instance leads no longer."""
        return RunEnded(
            run=self.run,
            at=at,
            started_at=self.started_at,
            scope=self.scope,
            outcome=outcome,
            counts=self.counts,
            node=self.node,
            failures=self.failures,
        )

"""Webhook loss within the windows of `webhook_loss_budget`, counted anew now and then: a window of days takes long."""

from collections.abc import Mapping

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.alerting.source_facts import Loss
from ledger.alerts.facts import LossFacts
from ledger.alerts.thresholds import Thresholds
from ledger.domain.observation import Instant
from projections.queries import loss

WINDOWS = ("fast_window_seconds", "fast_short_seconds", "slow_window_seconds", "slow_short_seconds")

MAX_AGE_SECONDS = 60.0
AGE_SHARE = 0.1
"""Of the shortest window: what was counted stands for so long, and no longer than MAX_AGE_SECONDS."""


class LossWindows:
    """Of one thread; `seconds` is a clock that only goes forward."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._windows = {thresholds.of("webhook_loss_budget", name) for name in WINDOWS}
        self._is_off = "webhook_loss_budget" in thresholds.off
        self._age = min(MAX_AGE_SECONDS, AGE_SHARE * min(self._windows))
        self._until = float("-inf")
        self._counted: Mapping[str, Loss] = {}

    def at(self, connection: Connection[TupleRow], now: Instant, seconds: float) -> Mapping[str, Loss]:
        """By source, of those that have had a transition, and by the seconds of each window."""
        if seconds >= self._until and not self._is_off:
            self._until = seconds + self._age
            self._counted = {
                source: {window: LossFacts(each.transitions, each.lost) for window, each in counts.items()}
                for source, counts in loss.in_windows(connection, now, self._windows).items()
            }
        return self._counted

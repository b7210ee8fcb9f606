"""Webhook loss within the windows of `webhook_loss_budget`: counted beside the evaluation, since days take long."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import structlog
from psycopg import Connection

from ledger.alerting.source_facts import Loss
from ledger.alerts.facts import LossFacts
from ledger.domain.observation import SECOND, Instant
from ledger.errors import LedgerError
from ledger.settings import Settings
from ledger.store.ledger import Ledger
from projections.queries import loss

log = structlog.get_logger()

WINDOWS = ("fast_window_seconds", "fast_short_seconds", "slow_window_seconds", "slow_short_seconds")

SHARE = 0.1
MAX_SETTLING_SECONDS = 60.0
"""A look may find a user offline some seconds before the webhook says so, which is then late and not lost. So the
windows end so long ago, or by SHARE of the shortest of them where that is less."""
MAX_AGE_SECONDS = 60.0
"""What was counted stands for so long, or for SHARE of the shortest window where that is less, …"""
COST = 1.0
"""… and for so many times as long as counting took: no more than half a session is spent on it."""
CANCEL_SECONDS = 1.0


class LossWindows:
    """Of one event loop; `seconds` is a clock that only goes forward."""

    def __init__(self, ledger: Ledger, settings: Settings, seconds: Callable[[], float] = time.monotonic) -> None:
        thresholds = settings.alerts
        self._ledger = ledger
        self._seconds = seconds
        self._sources = [source.name for source in settings.sources]
        self._windows = {thresholds.of("webhook_loss_budget", name) for name in WINDOWS}
        self._is_off = "webhook_loss_budget" in thresholds.off
        self._settling = round(min(MAX_SETTLING_SECONDS, SHARE * min(self._windows)) * SECOND)
        self._age = min(MAX_AGE_SECONDS, SHARE * min(self._windows))
        self._due_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self._connection: Connection[Any] | None = None
        self._guard = threading.Lock()
        self._has_failed = False
        self.counted: Mapping[str, Loss] | None = None
        """As of the last count: by source, of those that have had a transition, and by the seconds of each window.
        None where there is none yet."""

    def refresh(self, now: Instant) -> None:
        """Count anew where that is due; nobody waits for it."""
        if self._counting is None and not self._is_off and self._seconds() >= self._due_at:
            self._counting = asyncio.create_task(self._count(now), name="loss of alerts")

    def forget(self) -> None:
        """Another instance evaluates: what is counted here would be of long ago when this one does again."""
        if self._counting is None:
            self.counted, self._due_at = None, float("-inf")

    async def stop(self) -> None:
        """End, whatever the database is about."""
        # It may end by itself while it is being cancelled.
        if (counting := self._counting) is not None:
            await asyncio.to_thread(self._cancel)
            await asyncio.wait({counting}, timeout=CANCEL_SECONDS)

    def _cancel(self) -> None:
        with self._guard, contextlib.suppress(psycopg.Error):
            if self._connection is not None:
                self._connection.cancel_safe(timeout=CANCEL_SECONDS)

    async def _count(self, now: Instant) -> None:
        began = self._seconds()
        try:
            self.counted = await asyncio.to_thread(self._read, now)
        except LedgerError as error:
            log.debug("loss_not_counted", reason=str(error))
        except Exception:  # a defect must be seen, once, and must not end the count for good
            self.counted = None
            if not self._has_failed:
                self._has_failed = True
                log.exception("loss_not_counted")
        finally:
            ended = self._seconds()
            self._due_at = ended + max(self._age, COST * (ended - began))
            self._counting = None

    def _read(self, now: Instant) -> Mapping[str, Loss]:
        with self._ledger.connection() as connection:
            self._connection = connection
            try:
                counted = loss.in_windows(connection, now - self._settling, self._windows, self._sources)
            finally:
                # Before somebody else has the connection, whose statement is not to be cancelled.
                with self._guard:
                    self._connection = None
        return {
            source: {window: LossFacts(each.transitions, each.lost) for window, each in counts.items()}
            for source, counts in counted.items()
        }

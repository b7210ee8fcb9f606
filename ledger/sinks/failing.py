"""Says in the log that a sink has been failing for a while, once, and once that it works again."""

import structlog

from ledger.domain.observation import SECOND, Instant

log = structlog.get_logger()

FAILING_SECONDS = 600.0
"""What fails for less is retried, and is in the figures alone."""


class Failing:
    """Of one sink; `since`: when the first failure in a row was, where that was before this term."""

    def __init__(self, sink: str, since: Instant | None = None, seconds: float = FAILING_SECONDS) -> None:
        self._sink = sink
        self._seconds = seconds
        self._since = since
        self._said = False

    @property
    def is_ongoing(self) -> bool:
        """Whether the last attempt failed."""
        return self._since is not None

    def failed(self, reason: str, now: Instant) -> None:
        """An attempt has failed."""
        self._since = self._since or now
        if not self._said and now - self._since >= self._seconds * SECOND:
            self._said = True
            log.error("sink_failing", sink=self._sink, seconds=(now - self._since) // SECOND, reason=reason)

    def succeeded(self, now: Instant) -> None:
        """An attempt has not."""
        if self._said and self._since is not None:
            log.warning("sink_works_again", sink=self._sink, seconds=(now - self._since) // SECOND)
        self._since, self._said = None, False

"""What the log says of nodes that do not answer: each reason once while the trouble lasts, and when it is over."""

from collections.abc import Callable

import structlog

from ledger.sources.wukongim.answers import Unanswered

log = structlog.get_logger()

RETRY_DELAY_SECONDS = 60.0
"""Trouble that comes and goes says the same no sooner again."""

MOST_REASONS = 10
"""Of one trouble: a server may put anything into its messages."""


class Complaints:
    """The troubles of one source's nodes. `seconds` is a clock that only goes forward."""

    def __init__(self, source: str, seconds: Callable[[], float]) -> None:
        self._source = source
        self._seconds = seconds
        self._said_at: dict[tuple[str, str], dict[str, float]] = {}
        """By node and route, when each reason was said."""
        self._lasting: dict[tuple[str, str], set[str]] = {}
        """By node and route, what was said of the trouble that lasts."""

    def failed(self, node: str, route: str, unanswered: Unanswered) -> None:
        """A question was not answered, or with nothing of use; one that was not even sent is no news."""
        said, now = self._lasting.get((node, route), set()), self._seconds()
        if unanswered.held_back or unanswered.reason in said or len(said) >= MOST_REASONS:
            return
        before = self._said_at.get((node, route), {})
        recent = {reason: at for reason, at in before.items() if now - at < RETRY_DELAY_SECONDS}
        if unanswered.reason in recent or len(recent) >= MOST_REASONS:
            return
        self._said_at[node, route] = recent | {unanswered.reason: now}
        self._lasting[node, route] = said | {unanswered.reason}
        log.warning("query_api_failed", source=self._source, node=node, route=route, reason=unanswered.reason)

    def answered(self, node: str, route: str) -> None:
        """A question was answered."""
        if self._lasting.pop((node, route), None):
            log.info("query_api_answers", source=self._source, node=node, route=route)

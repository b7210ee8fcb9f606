"""Sources that were found unreadable just now: what they post is refused without another look.

A look reads the source under the commit lock, for which the webhooks of all the others wait.
"""

import time

from ledger.working_state.sources import SourceUnreadable

REMEMBERED_SECONDS = 1.0
"""As long as WuKongIM waits before it sends a refused body again."""


class Refusals:
    """The last refusal of each source. For any number of threads."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, SourceUnreadable]] = {}

    def remember(self, error: SourceUnreadable) -> None:
        """Its source cannot be read."""
        self._last[error.source] = (time.monotonic() + REMEMBERED_SECONDS, error)

    def of(self, name: str) -> SourceUnreadable | None:
        """Why the source is to be refused, if it was so just now."""
        until, error = self._last.get(name, (0.0, None))
        return error if time.monotonic() < until else None

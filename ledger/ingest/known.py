"""What the writer knows from one group to the next: users' presences, and sources that could not be read."""

import time
from collections.abc import Iterable, Mapping

from ledger.domain.presence import Presence
from ledger.working_state.sources import SourceUnreadable

MAX_USERS = 50_000
"""About a kilobyte each."""

UNREADABLE_SECONDS = 1.0
"""As long as WuKongIM waits before it sends a refused body again."""


class KnownUsers:
    """Presences as of our last commit. They hold as long as no other instance writes, which each commit checks."""

    def __init__(self, max_users: int = MAX_USERS) -> None:
        self._max_users = max_users
        self._presences: dict[str, Presence] = {}

    def get(self, uids: Iterable[str]) -> dict[str, Presence]:
        """Those of the users who are known."""
        known = self._presences
        return {uid: known[uid] for uid in uids if uid in known}

    def remember(self, presences: Mapping[str, Presence]) -> None:
        """These are committed; the last of them are remembered longest."""
        known = self._presences
        for uid, presence in presences.items():
            known.pop(uid, None)
            known[uid] = presence
        while len(known) > self._max_users:
            del known[next(iter(known))]

    def forget(self) -> None:
        """Nothing is known any more."""
        self._presences.clear()


class UnreadableSources:
    """Sources that were found unreadable just now: what they post is refused without another look. Thread-safe.

    A look reads the source under the commit lock, for which the webhooks of all the others wait.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, SourceUnreadable]] = {}

    def remember(self, error: SourceUnreadable) -> None:
        """Its source cannot be read."""
        self._last[error.source] = (time.monotonic() + UNREADABLE_SECONDS, error)

    def reason(self, name: str) -> SourceUnreadable | None:
        """Why the source could not be read, if that was just now."""
        until, error = self._last.get(name, (0.0, None))
        return error if time.monotonic() < until else None

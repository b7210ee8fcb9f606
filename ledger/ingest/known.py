"""Users whose presence is known without asking: those of our last commits, so many at most."""

from collections.abc import Iterable, Mapping

from ledger.domain.presence import Presence

MOST_USERS = 50_000
"""About a kilobyte each."""


class KnownUsers:
    """Presences as of our last commit. They hold as long as nobody else writes, which each commit checks."""

    def __init__(self, most: int = MOST_USERS) -> None:
        self._most = most
        self._presences: dict[str, Presence] = {}

    def of(self, uids: Iterable[str]) -> dict[str, Presence]:
        """Those of the users who are known."""
        known = self._presences
        return {uid: known[uid] for uid in uids if uid in known}

    def remember(self, presences: Mapping[str, Presence]) -> None:
        """These are committed; the last of them are remembered longest."""
        known = self._presences
        for uid, presence in presences.items():
            known.pop(uid, None)
            known[uid] = presence
        while len(known) > self._most:
            del known[next(iter(known))]

    def forget(self) -> None:
        """Nothing is known any more."""
        self._presences.clear()

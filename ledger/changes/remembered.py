"""What was told last of users: of everybody who is watched, and of the others of late."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, KeysView, Mapping

from ledger.domain.visible import Visible

REMEMBERED = 100_000
"""Users who are watched by nobody in particular and of whom it is remembered what was told last."""


class Remembered:
    """Of one feed; nothing of it is anywhere else."""

    def __init__(self) -> None:
        self._watchers: Counter[str] = Counter()
        self._watched: dict[str, Visible] = {}
        self.recent: OrderedDict[str, Visible] = OrderedDict()
        """Of the others."""

    @property
    def watched(self) -> KeysView[str]:
        """Whom somebody watches."""
        return self._watched.keys()

    def last(self, uid: str, recent: Mapping[str, Visible]) -> Visible | None:
        """What was told last of a user; `recent`: what is right of the others."""
        return self._watched.get(uid) or recent.get(uid)

    def watch(self, uid: str, shown: Visible) -> None:
        """One watcher more of a user, who is told what is shown; of one who is watched already, nobody else is."""
        self._watchers[uid] += 1
        self._watched.setdefault(uid, shown)

    def unwatch(self, uids: Iterable[str]) -> None:
        """One watcher less of each of these users."""
        for uid in uids:
            self._watchers[uid] -= 1
            if self._watchers[uid] <= 0:
                del self._watchers[uid]
                self._watched.pop(uid, None)

    def take(self, told: Mapping[str, Visible], *, everybody: bool) -> None:
        """These have been told, to those who watch everybody, too, where there are any."""
        for uid, shown in told.items():
            if uid in self._watched:
                self._watched[uid] = shown
            if everybody:
                self.recent[uid] = shown
                self.recent.move_to_end(uid)
        while len(self.recent) > REMEMBERED:
            self.recent.popitem(last=False)

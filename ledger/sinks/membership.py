"""The list that a sink is restricted to: who is on it, and who has come to it and has still to be told of."""

from collections import deque
from collections.abc import Collection, Mapping

from ledger.changes.moment import Moment
from ledger.domain.presence import Presence
from ledger.working_state import canaries, watch_list_record, watch_lists
from ledger.working_state.sinks import SinkCheckpoint

PAGE_USERS = 1_000
"""Of those who came, told of at once."""


class Membership:
    """Of one sink; `name` is empty where it is told of everybody."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._came: deque[str] = deque()
        self._up_to = 0
        self._page = 0

    @property
    def is_waiting(self) -> bool:
        """Whether somebody has come who has still to be told of."""
        return bool(self._came)

    def forget(self) -> None:
        """Whoever is on it is told of anyway."""
        self._came.clear()

    def head(self, moment: Moment) -> int:
        """The number of the last change of any list; of a sink without one, none."""
        return watch_list_record.head(moment.connection) if self._name else 0

    def notice(self, moment: Moment, checkpoint: SinkCheckpoint) -> SinkCheckpoint:
        """See who has come since -> the checkpoint, moved on where nobody has."""
        self._page = 0
        if not self._name or self._came:
            return checkpoint
        number = self.head(moment)
        if number <= checkpoint.list_number:
            return checkpoint
        self._came = deque(watch_list_record.moved_since(moment.connection, self._name, checkpoint.list_number).added)
        self._up_to = number
        return checkpoint if self._came else checkpoint._replace(list_number=number)

    def page(self, moment: Moment) -> dict[str, Presence]:
        """The next of those who came, as they are."""
        self._page = min(PAGE_USERS, len(self._came))
        return moment.presences([self._came[number] for number in range(self._page)])

    def after_page(self, checkpoint: SinkCheckpoint) -> SinkCheckpoint:
        """The checkpoint once the page has been told."""
        return checkpoint._replace(list_number=self._up_to) if 0 < self._page == len(self._came) else checkpoint

    def told(self) -> None:
        """The page has been told."""
        for _ in range(self._page):
            self._came.popleft()
        self._page = 0

    def of(self, moment: Moment, presences: Mapping[str, Presence]) -> dict[str, Presence]:
        """Those of them who are on it, in their order."""
        names = self.names(moment, presences)
        return {uid: each for uid, each in presences.items() if uid in names}

    def with_former(self, moment: Moment, uids: Collection[str]) -> Collection[str]:
        """Those of them who are on it, or have been."""
        if not self._name or not uids:
            return uids
        return watch_lists.have_been_on(moment.connection, sorted(uids), self._name)

    def names(self, moment: Moment, uids: Collection[str]) -> Collection[str]:
        """The same by their names."""
        if not uids:
            return uids
        if not self._name:
            hidden = canaries.among(moment.connection, uids)
            return [uid for uid in uids if uid not in hidden] if hidden else uids
        lists = watch_lists.lists_of(moment.connection, list(uids))
        return {uid for uid in uids if self._name in lists.get(uid, ())}

"""The agenda: who is to be looked at when; here in memory, for a replay. A live source's lies in PostgreSQL."""

import heapq
from collections.abc import Callable, Container
from itertools import islice

from ledger.domain.look import Watch
from ledger.domain.observation import Instant


class DueQueue:
    """Users in the order of the instants at which each falls due; of a user's instants the last one holds."""

    def __init__(self) -> None:
        self._due: dict[str, Instant] = {}
        self._heap: list[tuple[Instant, str]] = []
        """The same in order, with entries that no longer hold."""

    def put(self, uid: str, at: Instant | None) -> None:
        """Note when a user falls due; None: never."""
        if at is None:
            self._due.pop(uid, None)
        elif self._due.get(uid) != at:
            self._due[uid] = at
            heapq.heappush(self._heap, (at, uid))

    def next_at(self) -> Instant | None:
        """When the next one falls due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, until: Instant) -> tuple[Instant, str] | None:
        """The next one who is due by an instant, who is due no longer."""
        at = self.next_at()
        if at is None or at > until:
            return None
        due = heapq.heappop(self._heap)
        del self._due[due[1]]
        return due

    def in_order(self) -> list[str]:
        """All of them."""
        return [uid for _, uid in sorted((at, uid) for uid, at in self._due.items())]


class MemoryAgenda:
    """Watches by user; a user who was taken is in nobody's turn until `put` again."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._due = DueQueue()

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, uid: str) -> bool:
        return uid in self._watches

    def get(self, uid: str) -> Watch:
        """A user's watch."""
        return self._watches[uid]

    def put(self, uid: str, watch: Watch) -> None:
        """Note when a user is to be looked at next."""
        self._watches[uid] = watch
        self._due.put(uid, watch.due_at)

    def take_due(self, now: Instant) -> list[tuple[Instant, str]]:
        """(due at, user) of all whose look is due."""
        return list(iter(lambda: self._due.pop(now), None))

    def soonest(self, number: int, wanted: Callable[[str], bool], without: Container[str]) -> list[str]:
        """So many users who are next in turn, of those wanted."""
        found = (uid for uid in self._due.in_order() if uid not in without and wanted(uid))
        return list(islice(found, number))

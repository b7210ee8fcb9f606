"""The agenda: who is to be looked at when; here in memory, for a replay. A live source's lies in PostgreSQL."""

import heapq
from collections.abc import Callable, Iterable, Mapping

from ledger.domain.look import Watch
from ledger.domain.observation import Instant


class MemoryAgenda:
    """Watches by user with the order in which they fall due."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._due: dict[str, Instant] = {}
        """Of those in turn, when; who was taken is in nobody's turn."""
        self._heap: list[tuple[Instant, str]] = []
        """The same in order, with entries that no longer hold."""

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
        if self._due.get(uid) != watch.due_at:
            self._due[uid] = watch.due_at
            heapq.heappush(self._heap, (watch.due_at, uid))

    def put_all(self, watches: Mapping[str, Watch]) -> None:
        """The same for many."""
        for uid, watch in watches.items():
            self.put(uid, watch)

    def next_due_at(self) -> Instant | None:
        """When the next look is due."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: Instant) -> list[tuple[Instant, str]]:
        """(due at, user) of all whose look is due; they are in nobody's turn until `put` again."""
        taken = []
        while (due_at := self.next_due_at()) is not None and due_at <= now:
            _, uid = heapq.heappop(self._heap)
            del self._due[uid]
            taken.append((due_at, uid))
        return taken

    def soonest(self, number: int, wanted: Callable[[str], bool], without: Iterable[str]) -> list[str]:
        """So many users who are next in turn, of those wanted."""
        left_out = set(without)
        found: list[str] = []
        for _, uid in sorted((due_at, uid) for uid, due_at in self._due.items()):
            if len(found) == number:
                break
            if uid not in left_out and wanted(uid):
                found.append(uid)
        return found

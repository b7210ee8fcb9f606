"""What is shown of each user through every instant of a virtual clock: by one draft, or by two side by side."""

from collections.abc import Iterable
from heapq import merge
from operator import itemgetter
from typing import NamedTuple

from ledger.domain.events import Status
from ledger.domain.observation import SECOND, Instant
from ledger.domain.status import derive, next_change_at
from ledger.ingest.draft import Draft
from ledger.replay.memory_agenda import DueQueue

Transition = tuple[Instant, Status]


class ShownStatuses:
    """What a draft shows. Every user begins `unknown`."""

    def __init__(self, draft: Draft) -> None:
        self.users: dict[str, list[Transition]] = {}
        self._draft = draft
        self._due = DueQueue()
        """Users of whom time alone changes what is shown."""

    def moved(self, uids: Iterable[str], at: Instant) -> None:
        """What is shown of these users may be different now."""
        for uid in uids:
            presence, sources = self._draft.presence(uid), self._draft.sources
            status = derive(presence, sources, at).status
            transitions = self.users.setdefault(uid, [])
            if status != (transitions[-1][1] if transitions else "unknown"):
                transitions.append((at, status))
            self._due.put(uid, next_change_at(presence, sources, at))

    def all_moved(self, at: Instant) -> None:
        """What is shown of every user may be different now."""
        self.moved(list(self.users), at)

    def let_pass(self, until: Instant) -> None:
        """Show what time alone changes up to that instant."""
        while (due := self._due.pop(until)) is not None:
            at, uid = due
            self.moved([uid], at)


class Pair(NamedTuple):
    """One user in both drafts."""

    recorded: list[Transition]
    replayed: list[Transition]
    differing: int
    """Microseconds for which they differed."""

    @property
    def same(self) -> bool:
        """Whether the same was shown in both, at all times."""
        return self.recorded == self.replayed


class SideBySide:
    """Two drafts on one clock: the instants at which the ledger recorded what it did, and ends of grace periods."""

    def __init__(self, recorded: Draft, replayed: Draft) -> None:
        self._drafts = ShownStatuses(recorded), ShownStatuses(replayed)
        self.users: dict[str, Pair] = {}
        """At the end."""

    def moved(self, uids: Iterable[str], at: Instant, *, everybody: bool = False) -> None:
        """What is shown of these users, or of everybody, may be different now."""
        for shown in self._drafts:
            if everybody:
                shown.all_moved(at)
            shown.moved(uids, at)

    def let_pass(self, until: Instant) -> None:
        """Show what time alone changes up to that instant, before the next event is in the drafts."""
        for shown in self._drafts:
            shown.let_pass(until)

    def end(self, at: Instant) -> None:
        """The last instant looked at."""
        self.let_pass(at)
        recorded, replayed = (shown.users for shown in self._drafts)
        self.users = {
            uid: Pair(one, replayed[uid], _differing(one, replayed[uid], at)) for uid, one in recorded.items()
        }

    @property
    def differing_seconds(self) -> float:
        """Seconds for which users were shown differently, of all of them together."""
        return sum(pair.differing for pair in self.users.values()) / SECOND


def _differing(one: Iterable[Transition], other: Iterable[Transition], end: Instant) -> int:
    """Microseconds up to the end for which the two say different things."""
    changes = merge(
        ((at, 0, status) for at, status in one), ((at, 1, status) for at, status in other), key=itemgetter(0)
    )
    shown: list[Status] = ["unknown", "unknown"]
    total, before = 0, end
    for at, which, status in changes:
        if shown[0] != shown[1]:
            total += at - before
        shown[which], before = status, at
    return total + (end - before if shown[0] != shown[1] else 0)

"""What is shown of each user through every instant of a virtual clock: by one draft, or by two side by side."""

from collections import Counter
from collections.abc import Iterable, Sequence
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
    """Both of the whole time, or without stories the last one alone."""
    differing: int
    """Microseconds for which they differed."""
    same: bool
    """Whether the same was shown in both, at all times."""


class Stories(NamedTuple):
    """What was shown of each user in both drafts, up to the last instant looked at."""

    users: dict[str, Pair]

    @property
    def differing_seconds(self) -> float:
        """Seconds for which users were shown differently, of all of them together."""
        return sum(pair.differing for pair in self.users.values()) / SECOND


class SideBySide:
    """Two drafts on one clock: the instants at which the ledger recorded what it did, and ends of grace periods."""

    def __init__(self, recorded: Draft, replayed: Draft) -> None:
        self._recorded, self._replayed = self._drafts = ShownStatuses(recorded), ShownStatuses(replayed)
        self._differing: Counter[str] = Counter()
        """By user, microseconds up to where the stories begin that are kept."""
        self._parted: set[str] = set()
        """Users whose stories up to there were not the same."""

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

    def forget(self, at: Instant) -> None:
        """Keep of everybody's story what it came to at an instant that is over: nothing more befalls anybody then."""
        for uid, one in self._recorded.users.items():
            other = self._replayed.users[uid]
            if differing := _differing(one, other, at):
                self._differing[uid] += differing
            if one != other:
                self._parted.add(uid)
            for transitions in (one, other):
                if transitions:
                    transitions[:] = [(at, transitions[-1][1])]

    def end(self, at: Instant) -> Stories:
        """All of it; `at` is the last instant looked at."""
        self.let_pass(at)
        pairs = ((uid, one, self._replayed.users[uid]) for uid, one in self._recorded.users.items())
        return Stories({uid: self._pair(uid, one, other, at) for uid, one, other in pairs})

    def _pair(self, uid: str, one: list[Transition], other: list[Transition], at: Instant) -> Pair:
        same = uid not in self._parted and one == other
        return Pair(one, other, self._differing[uid] + _differing(one, other, at), same)


def _differing(one: Sequence[Transition], other: Sequence[Transition], end: Instant) -> int:
    """Microseconds up to the end for which the two say different things."""
    if one == other:
        return 0
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

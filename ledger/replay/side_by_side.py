"""What was shown of each user and what would have been, followed through every instant, side by side."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.domain.events import Status
from ledger.domain.observation import SECOND, Instant
from ledger.domain.status import derive, next_change_at
from ledger.replay.judged import PlacedDraft

Transition = tuple[Instant, Status]


@dataclass(slots=True)
class Pair:
    """One user in both worlds; every one begins `unknown`."""

    recorded: list[Transition] = field(default_factory=list)
    replayed: list[Transition] = field(default_factory=list)
    differing: int = 0
    """Microseconds for which they differed."""
    differs_since: Instant | None = None

    @property
    def same(self) -> bool:
        """Whether he was shown the same in both, at all times."""
        return self.recorded == self.replayed


class World:
    """One of the two: what it shows of users."""

    def __init__(self, draft: PlacedDraft) -> None:
        self._draft = draft

    def shown(self, uid: str, at: Instant) -> tuple[Status, Instant | None]:
        """-> (the status shown, when it changes by itself)"""
        presence = self._draft.presence(uid)
        status = derive(presence, self._draft.sources, at).status
        return status, next_change_at(presence, self._draft.sources, at)


class SideBySide:
    """Both worlds on one clock: the instants at which the ledger recorded what it did, and ends of grace periods."""

    def __init__(self, recorded: PlacedDraft, replayed: PlacedDraft) -> None:
        self.users: dict[str, Pair] = {}
        self._worlds = World(recorded), World(replayed)
        self._due: list[tuple[Instant, str]] = []

    def rules_changed(self, at: Instant) -> None:
        """What is shown of everybody may be another now."""
        self.moved(list(self.users), at)

    def moved(self, uids: Iterable[str], at: Instant) -> None:
        """What is shown of these users may be another now."""
        for uid in uids:
            pair = self.users.setdefault(uid, Pair())
            last = []
            for world, transitions in zip(self._worlds, (pair.recorded, pair.replayed), strict=True):
                status, due = world.shown(uid, at)
                if status != (transitions[-1][1] if transitions else "unknown"):
                    transitions.append((at, status))
                if due is not None:
                    heapq.heappush(self._due, (due, uid))
                last.append(status)
            _count(pair, at, differs=last[0] != last[1])

    def let_pass(self, until: Instant) -> None:
        """Show what time alone changes up to that instant."""
        while self._due and self._due[0][0] <= until:
            due, uid = heapq.heappop(self._due)
            self.moved([uid], due)

    def end(self, at: Instant) -> None:
        """The last instant looked at."""
        self.let_pass(at)
        for pair in self.users.values():
            _count(pair, at, differs=False)

    @property
    def differing_seconds(self) -> float:
        """Seconds for which users were shown otherwise, of all of them together."""
        return sum(pair.differing for pair in self.users.values()) / SECOND


def _count(pair: Pair, at: Instant, *, differs: bool) -> None:
    if pair.differs_since is not None and at > pair.differs_since:
        pair.differing += at - pair.differs_since
    pair.differs_since = at if differs else None

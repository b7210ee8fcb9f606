"""What the writer's two threads share: the groups on their way to the ledger, and what judging goes on from."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ledger.domain.presence import Presence
from ledger.ingest.group import Group, GroupStates, JudgedGroup
from ledger.ingest.known import KnownUsers


class Basis(NamedTuple):
    """What a group that enters is judged on: the newest states, None while they have to be read from the database."""

    states: GroupStates | None
    ahead: list[JudgedGroup]
    """The groups before it that are judged but not committed, oldest first."""
    generation: int


class Pipeline:
    """Groups in flight, oldest first, and the states as of our last commit. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        """Guards what follows."""
        self._in_flight: deque[Group] = deque()
        self._committed: GroupStates | None = None
        self._users = KnownUsers()
        self._generation = 0
        """Raised whenever what was judged ahead no longer stands."""

    @property
    def committed(self) -> GroupStates | None:
        """The sources as of our last commit, None before the first."""
        return self._committed

    def await_turn(self) -> None:
        """Wait until another group can be judged."""
        with self._changed:
            self._changed.wait_for(self._can_judge)

    def _can_judge(self) -> bool:
        """Judging runs ahead of commits, but not of judgements that are still to be made, or made again."""
        return all(group.judged is not None for group in self._in_flight)

    def enter(self, group: Group) -> Basis:
        """Put a group behind those in flight, once it can be judged."""
        with self._changed:
            self._changed.wait_for(self._can_judge)
            ahead = [each.judged for each in self._in_flight if each.judged is not None]
            self._in_flight.append(group)
            return Basis(ahead[-1].states if ahead else self._committed, ahead, self._generation)

    def known_users(self, uids: Iterable[str]) -> dict[str, Presence]:
        """The presences, as of our last commits, of those users who are known."""
        with self._changed:
            return self._users.get(uids)

    def judged_ahead(self, group: Group, judged: JudgedGroup, generation: int) -> None:
        """A group was judged on the basis of that generation, which may no longer stand."""
        with self._changed:
            if generation == self._generation:
                group.judged = judged

    def judged_under_lock(self, group: Group, judged: JudgedGroup) -> None:
        """A group was judged on what the database says: those behind it go on from there."""
        with self._changed:
            group.judged = judged
            self._changed.notify_all()

    def note_commit(self, states: GroupStates) -> None:
        """The states after a commit of ours."""
        with self._changed:
            self._committed = states._replace(presences={})
            self._users.remember(states.presences)

    def forget(self) -> None:
        """What was judged ahead no longer stands: the database is not what it was judged on."""
        with self._changed:
            self._generation += 1
            self._users.forget()
            for group in self._in_flight:
                group.judged = None

    def leave(self, group: Group) -> None:
        """A group is committed, or over."""
        with self._changed:
            self._in_flight.remove(group)
            self._changed.notify_all()

"""What is answered from memory is what the ledger said at its position, whoever wrote, and however that was learnt."""

import json
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.domain.presence import Presence
from ledger.ingest.group import GroupStates
from ledger.last_known.memory import FoundChanges, LastKnown, UsersPage, WantedChanges
from projections.models import current
from projections.models.shown import AnswerPoint, Rules

UIDS = ("a", "b", "c", "d", "e")
AT = 1_800_000_000_000_000
PAGE_USERS = 2

some_uids = st.lists(st.sampled_from(UIDS), min_size=1, max_size=4, unique=True)


class Note(NamedTuple):
    """What the writer tells of a commit."""

    before: int
    states: GroupStates


class Machine(RuleBasedStateMachine):
    """A ledger of which only heads, versions and erasures are kept, and a memory that follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = 0
        self.lineage = 0
        self.users: dict[str, Presence] = {}
        self.history: dict[int, dict[str, int]] = {0: {}}
        """By head, the users' versions."""
        self.moved: list[tuple[int, set[str]]] = []
        """By position, whom events there name, or whom they erased."""
        self.erased_here: dict[str, int] = {}
        self.notes: deque[Note] = deque()
        """What the writer has still to tell."""
        self.steps: list[tuple[WantedChanges, FoundChanges]] = []
        """What was read and is still to be taken."""
        self.is_aware = True
        """Whether the memory has been told of the ledger's lineage."""

    @initialize(max_users=st.sampled_from([2, 4, 100, 100]))
    def begin(self, max_users: int) -> None:
        self.known = LastKnown(max_users, 60.0, lambda: AT)
        self.max_users = max_users
        self.commit(UIDS[:-1])
        for _ in UIDS:
            self.step()

    def commit(self, uids: Iterable[str]) -> dict[str, Presence]:
        """Each has one more event."""
        touched = {}
        for uid in uids:
            self.head += 1
            before = self.users.get(uid) or Presence(uid)
            touched[uid] = Presence(uid, before.version + 1, position=self.head)
            self.moved.append((self.head, {uid}))
        self.users |= touched
        self.note_head()
        return touched

    def note_head(self) -> None:
        self.history[self.head] = {uid: each.version for uid, each in self.users.items()}

    @rule(uids=some_uids, is_told=st.booleans())
    def own_commit(self, uids: list[str], is_told: bool) -> None:
        before = self.head
        touched = self.commit(uids)
        self.notes.append(Note(before, GroupStates(self.head, {}, touched, self.lineage)))
        while is_told and self.notes:
            self.tell()

    @precondition(lambda self: self.notes)
    @rule()
    def tell(self) -> None:
        before, states = self.notes.popleft()
        self.is_aware |= states.lineage == self.lineage
        self.known.note_commit(before, states, datetime(2026, 11, 23, tzinfo=UTC))

    @precondition(lambda self: self.notes)
    @rule()
    def never_told(self) -> None:
        """Its answer was lost, or it was written in parts."""
        self.notes.popleft()

    @rule(uids=some_uids)
    def other_commit(self, uids: list[str]) -> None:
        self.commit(uids)

    @rule(uid=st.sampled_from(UIDS), here=st.booleans())
    def erase(self, uid: str, here: bool) -> None:
        if uid in self.users:
            del self.users[uid]
            self.head += 1
            self.moved.append((self.head, {uid}))
            self.note_head()
            if here:
                self.erased_here[uid] = self.head
                self.known.note_erased(uid, self.head)

    @rule()
    def step(self) -> None:
        self.read_step()
        self.take_step()

    @rule(uids=some_uids, is_told=st.booleans(), is_asked=st.booleans())
    def step_while_something_is_committed(self, uids: list[str], is_told: bool, is_asked: bool) -> None:
        self.read_step()
        self.own_commit(uids, is_told)
        if is_asked:
            self.all_of_one_position()
        self.take_step()

    @rule()
    def read_step(self) -> None:
        self.is_aware = True
        wanted = self.known.wanted(self.lineage, self.head)
        changed: set[str] = set()
        for after, up_to in wanted.gaps:
            changed.update(*(uids for position, uids in self.moved if after < position <= up_to))
        states = {uid: current.encode_state(each) for uid, each in self.users.items()}
        page = None
        if wanted.after is not None:
            uids = sorted(uid for uid in states if uid > wanted.after)[:PAGE_USERS]
            page = UsersPage({uid: states[uid] for uid in uids}, uids[-1] if len(uids) == PAGE_USERS else None)
        found = {uid: states[uid] for uid in changed & states.keys()}
        self.steps = [(wanted, FoundChanges(AT, AnswerPoint(AT, self.head), Rules(0, {}), changed, found, page))]

    @precondition(lambda self: self.steps)
    @rule()
    def take_step(self) -> None:
        self.known.take(*self.steps.pop())
        assert len(self.known._users) <= self.max_users

    @precondition(lambda self: self.head > 12)
    @rule(heads=st.integers(1, 3), is_told=st.booleans())
    def go_back(self, heads: int, is_told: bool) -> None:
        there = sorted(self.history)[-1 - heads :][0]
        self.history = {head: versions for head, versions in self.history.items() if head <= there}
        self.users = {uid: Presence(uid, version) for uid, version in self.history[there].items()}
        self.moved = [each for each in self.moved if each[0] <= there]
        self.head, self.lineage, self.erased_here = there, self.lineage + 1, {}
        self.is_aware = is_told
        if is_told:
            self.known.forget()

    @invariant()
    def all_of_one_position(self) -> None:
        read = self.known.read(UIDS)
        if read is None or not self.is_aware:
            return
        versions = self.history[read.made.position]
        for uid, body in zip(UIDS, read.bodies, strict=True):
            told = json.loads(body + b"}")
            assert told["stale_since"] is not None
            if uid in self.erased_here and self.erased_here[uid] > read.made.position:
                assert told["version"] == 0
            elif told["reason"] != "store_unavailable":
                assert told["version"] == versions.get(uid, 0)


TestLastKnown = Machine.TestCase
TestLastKnown.settings = settings(max_examples=150, stateful_step_count=40)

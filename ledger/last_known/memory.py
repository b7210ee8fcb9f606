"""The memory: users' presences as of one position of the ledger, exactly, within a bound; answers from it, marked.

What this instance commits is handed over by the writer, by reference; what others have committed is read by the
follower, once a second. All answers are of the last position up to which nothing is missing, and none is of an erased
user. Nothing is answered from here while PostgreSQL answers.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from ledger.domain.instants import from_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.ingest.group import GroupStates
from projections.models import current
from projections.models.shown import AnswerPoint, Rules, not_remembered, shown_body, stale_since, verified
from projections.queries.reader import Read

PAGE_USERS = 5_000
"""So many are read at once when it begins: a few milliseconds of PostgreSQL's and ours."""

Known = Presence | bytes
"""As the writer has it, or as a row of `current` does, which is decoded when it is asked for."""


class OwnCommit(NamedTuple):
    """What this instance committed: from which head to which, and the presences of all users whom it names."""

    before: int
    head: int
    recorded_at: datetime
    presences: Mapping[str, Presence]


class UsersPage(NamedTuple):
    """Users in the order of their uids; `last` is where the next page goes on, None at the end."""

    states: Mapping[str, bytes]
    last: str | None


class WantedChanges(NamedTuple):
    """What the memory lacks: `gaps` between the position that it is of and a head, each after one position and up to
    another, between which `own` commits lie; whether it would have a page of those online, or of everybody, after a
    uid. None: it is all there."""

    generation: int
    own: Sequence[OwnCommit]
    gaps: Sequence[tuple[int, int]]
    after: str | None
    online_alone: bool


class FoundChanges(NamedTuple):
    """What one moment of the ledger says, read after `asked_at`: the rules, the users `changed` within the gaps, with
    the states of those of them whom it still has, and the page."""

    asked_at: Instant
    made: AnswerPoint
    rules: Rules
    changed: set[str]
    states: Mapping[str, bytes]
    page: UsersPage | None


class LastKnown:
    """Of `max_users` users at most; what is older than `max_seconds` is not answered. Thread-safe."""

    def __init__(self, max_users: int, max_seconds: float, now: Callable[[], Instant]) -> None:
        self._max_users = max_users
        self._max_age = round(max_seconds * SECOND)
        self._now = now
        self._lock = threading.Lock()
        """Guards what follows."""
        self._users: dict[str, Known] = {}
        self._made: AnswerPoint | None = None
        """Of which moment they are; None before the first."""
        self._right_at: Instant = 0
        """Nothing was missing then: what came while the moment was read is not in it."""
        self._rules = Rules(-1, {})
        self._lineage = -1
        self._commits: deque[OwnCommit] = deque()
        """Those after it, in their order."""
        self._waiting = 0
        """Users in these."""
        self._erased: dict[str, int] = {}
        """Who was erased here, at which position, until the memory is of a later one."""
        self._generation = 0
        """Grows when what is being read for it is void."""
        self._after: str | None = ""
        """Up to which user it has been filled; None: it is over."""
        self._fills_online = True
        """Those who are online come first: there may be no room for all."""
        self._is_complete = False
        """Whether whoever is not in it was never observed."""

    def note_commit(self, before: int, states: GroupStates, recorded_at: datetime) -> None:
        """This instance has committed what leads from head `before` to these states."""
        with self._lock:
            if states.lineage != self._lineage:
                self._forget()
                return
            self._commits.append(OwnCommit(before, states.head, recorded_at, states.presences))
            self._waiting += len(states.presences)
            if self._waiting > self._max_users:
                # The follower does not keep up: it reads of it what it needs.
                self._drop_commits()

    def note_erased(self, uid: str, position: int) -> None:
        """This instance has erased a user, by the event at that position."""
        with self._lock:
            self._erased[uid] = position
            self._users.pop(uid, None)

    def forget(self) -> None:
        """Nothing that was known stands: the ledger went back."""
        with self._lock:
            self._forget()

    def wanted(self, lineage: int, head: int) -> WantedChanges:
        """What is to be read at a moment with that head, under that number of the ledger's lineage."""
        with self._lock:
            if lineage != self._lineage or (self._made is not None and head < self._made.position):
                self._forget()
                self._lineage = lineage
            own = list(self._taken_up_to(head))
            gaps = list(self._gaps(own, head))
            if sum(end - begin for begin, end in gaps) > max(self._max_users, PAGE_USERS):
                # To begin again is cheaper, and bounded.
                self._forget()
                gaps = []
            return WantedChanges(self._generation, own, gaps, self._after, self._fills_online)

    def take(self, wanted: WantedChanges, found: FoundChanges) -> bool:
        """What was wanted has been found -> whether there is more to fill it with."""
        with self._lock:
            if wanted.generation != self._generation:
                return True
            for commit in wanted.own:
                self._apply(commit)
            for uid in found.changed - found.states.keys():
                self._users.pop(uid, None)
            self._users.update(found.states)
            if found.page is not None:
                self._fill(found.page)
            self._made, self._right_at, self._rules = found.made, found.asked_at, found.rules
            self._erased = {uid: position for uid, position in self._erased.items() if position > found.made.position}
            self._tidy()
            return self._after is not None

    @property
    def users(self) -> int:
        """Of how many it is."""
        return len(self._users)

    @property
    def right_at(self) -> Instant | None:
        """Up to when nothing is missing in it."""
        return self._made and self._right_at

    def read(self, uids: Sequence[str]) -> Read | None:
        """What is answered of these users, as far as is known; time that passes has its effect, events have not.

        None where nothing is known of any of them, or only what is too old.
        """
        now = self._now()
        with self._lock:
            made = self._made and self._go_on(self._made)
            right_at, rules, is_complete = self._right_at, self._rules, self._is_complete
            found = [self._users.get(uid) for uid in uids]
        if made is None or now - right_at > self._max_age:
            return None
        if found and not is_complete and all(each is None for each in found):
            return None
        point, mark = AnswerPoint(max(now, made.at), made.position), stale_since(right_at)
        bodies = []
        for uid, known in zip(uids, found, strict=True):
            if known is None and not is_complete:
                bodies.append(not_remembered(uid) + mark)
                continue
            presence = current.decode_state(known) if isinstance(known, bytes) else known or Presence(uid)
            # When a look last agreed stands nowhere but in PostgreSQL.
            bodies.append(shown_body(presence, rules, point.at) + verified(None, presence.version) + mark)
        return Read(point, bodies, right_at)

    def _taken_up_to(self, head: int) -> Iterator[OwnCommit]:
        """The commits that wait, up to a head; they wait no longer."""
        while self._commits and self._commits[0].head <= head:
            self._waiting -= len(self._commits[0].presences)
            yield self._commits.popleft()

    def _gaps(self, own: Iterable[OwnCommit], up_to: int) -> Iterator[tuple[int, int]]:
        """What lies between the position known and that one, beside commits of our own."""
        if self._made is None:
            return
        at = self._made.position
        for commit in own:
            if at <= commit.before:
                if at < commit.before:
                    yield at, commit.before
                at = commit.head
        if at < up_to:
            yield at, up_to

    def _go_on(self, made: AnswerPoint) -> AnswerPoint:
        """What is known goes on over the commits that follow it without a gap -> the moment of the last one."""
        while self._commits and self._commits[0].before <= made.position:
            [commit] = self._taken_up_to(self._commits[0].head)
            self._apply(commit)
            if commit.head > made.position:
                recorded_at = from_datetime(commit.recorded_at)
                self._made = made = AnswerPoint(max(made.at, recorded_at), commit.head)
                self._right_at = max(self._right_at, recorded_at)
                # What is being read is of before.
                self._generation += 1
        self._tidy()
        return made

    def _apply(self, commit: OwnCommit) -> None:
        """Take what a commit tells, unless it is known."""
        if self._made is not None and commit.head > self._made.position:
            self._users.update(commit.presences)

    def _fill(self, page: UsersPage) -> None:
        self._users.update(page.states)
        self._after = page.last
        if page.last is None and self._fills_online:
            self._after, self._fills_online = "", False
        elif page.last is None:
            self._is_complete = True

    def _tidy(self) -> None:
        """Forget who was erased meanwhile, and those beyond the bound, the longest known first."""
        for uid in self._erased:
            self._users.pop(uid, None)
        if (excess := len(self._users) - self._max_users) > 0:
            for uid in list(islice(self._users, excess)):
                del self._users[uid]
            # There is no room for more.
            self._after, self._is_complete = None, False

    def _drop_commits(self) -> None:
        self._commits.clear()
        self._waiting = 0

    def _forget(self) -> None:
        self._users.clear()
        self._drop_commits()
        self._made, self._rules = None, Rules(-1, {})
        self._erased.clear()
        self._generation += 1
        self._after, self._fills_online, self._is_complete = "", True, False

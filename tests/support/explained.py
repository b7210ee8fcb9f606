"""A recording replayed with a history of its events, and what was shown of whom when, to be explained."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from ledger.domain.events import Status
from ledger.domain.explain import explain
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.statement import Explanation
from ledger.replay.recording import Replay
from ledger.settings.policy import override_policy
from ledger.sources.wukongim.recording import read_header, read_lines
from ledger.store.mapper import Recorded, source_stream, user_stream
from projections.queries.evidence import gather
from tests.support.claims import problems
from tests.support.lived import Life
from tests.support.memory_history import MemoryHistory
from tests.support.reconciler import SOURCE
from tests.support.recordings import WITH_POLLS, lines_of


class Moment(NamedTuple):
    """What was shown of a user at an instant."""

    uid: str
    at: Instant
    status: Status


class Replayed:
    """A recording's events, with what was shown while they came."""

    def __init__(self, name: str, policy: Sequence[str] = WITH_POLLS.policy, *, all_deliveries: bool = False) -> None:
        lines = lines_of(name)
        header = read_header(lines[0])
        self.history = MemoryHistory()
        self.started_at = header.started_at
        replay = Replay(header, override_policy(Policy(), policy), self.history.add)
        for _ in replay.run(read_lines(lines[1:], header, None, all_deliveries=all_deliveries, polls=True)):
            pass
        self.stories = replay.result.users

    def instant(self, seconds: float) -> Instant:
        """An instant of the recording."""
        return self.started_at + round(seconds * SECOND)

    def transitions(self) -> Iterator[Moment]:
        """Each change of what was shown; of several at one instant the last."""
        for uid, story in sorted(self.stories.items()):
            changes = {self.instant(seconds): status for seconds, status in story.transitions}
            yield from (Moment(uid, at, status) for at, status in changes.items())

    def moments(self) -> Iterator[Moment]:
        """Each transition, and the microsecond before it."""
        shown: dict[str, Status] = {}
        for moment in self.transitions():
            yield Moment(moment.uid, moment.at - 1, shown.get(moment.uid, "unknown"))
            yield moment
            shown[moment.uid] = moment.status

    def explain(self, uid: str, at: Instant, position: int | None = None) -> Explanation:
        """Why they were shown so, by what had been recorded by then, or up to a position."""
        known = self.history.position_at(at) if position is None else position
        return explain(gather(self.history, uid, at, known))

    def wrong_with(self, moment: Moment, explanation: Explanation) -> list[str]:
        """Whatever an explanation says that is not so."""
        shown = explanation.shown
        wrong = [] if shown.status == moment.status else [f"explained {shown.status}, shown {moment.status}"]
        if shown.cause is not None and shown.cause.position not in explanation.statements[0].positions:
            wrong.append("the headline does not cite the cause")
        found = problems(self.history.rows, explanation)
        return [f"{moment.uid} at {moment.at}: {what}" for what in (*wrong, *found)]


def remembered(life: Life) -> MemoryHistory:
    """The events of a life at random, recorded at the moments in which they came."""
    history = MemoryHistory()
    versions: Counter[str] = Counter()
    begun = 0
    for at, up_to in life.moments:
        for kept in life.ledger.kept[begun:up_to]:
            stream = source_stream(SOURCE) if kept.uid is None else user_stream(kept.uid)
            versions[stream] += 1
            history.add(Recorded(stream, versions[stream], kept.event, kept.uid), at)
        begun = up_to
    return history


@cache
def replayed(name: str, *policy: str) -> Replayed:
    """A recording with polls, under the usual policy or another."""
    return Replayed(name, policy or WITH_POLLS.policy)

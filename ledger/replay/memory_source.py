"""One source's reconciliation in memory: its agenda, its breaker, and what webhooks, answers and boots come to.

It asks nobody: its caller says what was heard and answered, and when. Its events go into a draft.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from ledger.domain.breaker import Breaker
from ledger.domain.drift import Poll
from ledger.domain.event_types import SourceEvent, UserEvent
from ledger.domain.look import Watch, made_urgent
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import NodeSettled
from ledger.domain.reschedule import reschedule_from, rescheduled
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft
from ledger.reconcile import judge, plan
from ledger.replay.memory_agenda import MemoryAgenda
from ledger.store.mapper import Recorded


class MemorySource:
    """One source, on a clock that its caller moves."""

    def __init__(self, draft: Draft, name: str) -> None:
        self.draft, self.name = draft, name
        self.agenda = MemoryAgenda()
        self.breaker = Breaker()
        self.asked: dict[str, tuple[Instant, Watch]] = {}
        """Users whose question waits for its answer: asked at, with the watch that it is for."""
        self.verdicts = judge.Verdicts([])
        """What the last answer came to."""

    @property
    def source(self) -> SourceState:
        """As of the last event."""
        return self.draft.source(self.name)

    def record(self, event: SourceEvent) -> Recorded:
        """Append an event of the source."""
        return self.draft.append_to_source(self.name, event)

    def take_in(self, uid: str, event: UserEvent) -> None:
        """An event of a user was recorded: a new user is on the agenda from here, a suspect at once."""
        heard = reschedule_from(event)
        if heard is not None and uid not in self.asked:
            known = self.agenda.get(uid) if uid in self.agenda else None
            self.agenda.put(uid, rescheduled(known, heard, self.draft.presence(uid), self.source))

    def put_back(self, uid: str, watch: Watch, due_at: Instant) -> None:
        """A look at a user failed, and is made again by then."""
        self.asked.pop(uid, None)
        self.agenda.put(uid, replace(watch, due_at=due_at))

    def take_answer(
        self, poll: Poll, looks: Sequence[judge.Look], asked: int, text: Mapping[str, str]
    ) -> Iterator[Recorded]:
        """What an answer about so many users comes to; `text` is what it said of each."""
        opened = judge.open_breaker(self.breaker, self.source, poll, looks, poll.answered_at / SECOND)
        if opened is not None:
            yield self.record(opened)
        self.verdicts = verdicts = judge.judge_all(
            self.source, poll, looks, holding=self.source.breaker_until is not None
        )
        yield from judge.record(self.draft, self.name, poll, asked, verdicts, text, verdicts.agreed)
        for uid, watch in verdicts.watches().items():
            self.asked.pop(uid, None)
            self.agenda.put(uid, watch)

    def settle(
        self, looks: Sequence[judge.Look], asked_at: Instant, at: Instant, answered: Collection[str]
    ) -> Iterator[Recorded]:
        """All connections of these nodes were looked at: what that settles."""
        contradicted = sum(look.difference.contradicted for look in looks)
        for node in plan.settled_nodes(self.source, asked_at, contradicted, answered):
            yield self.record(NodeSettled(node=node, at=at, booted=True))

    def sweep(self, node: str, at: Instant, run: str, *, retired: bool = False) -> Iterator[Recorded]:
        """End what ended with a node; users who may have come back, or may not be that node's, are suspects."""
        source = self.source
        evidence = plan.sweep_evidence(source, node, retired=retired)
        for uid in sorted(self.draft.presences):
            presence = self.draft.presence(uid)
            ended, suspect = plan.ended_with(presence, source, node, retired=retired)
            if ended:
                swept = plan.swept(presence, source, node, ended, at, run, evidence)
                yield self.draft.append_to_user(uid, swept)
            if (ended or suspect) and not retired and uid not in self.asked:
                watch = self.agenda.get(uid) if uid in self.agenda else Watch(at)
                self.agenda.put(uid, made_urgent(watch, at, "restart"))
        if retired or not plan.needs_connections(source):
            yield self.record(NodeSettled(node=node, at=at, booted=not retired))

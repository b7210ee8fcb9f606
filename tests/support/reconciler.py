"""A reconciler in memory, on a clock that its caller moves: questions and answers are two calls, so that anything may
happen in between. It judges by the product's own functions and keeps every event with its position.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from ledger.domain.breaker import Breaker
from ledger.domain.drift import Poll
from ledger.domain.event_types import Event, SourceEvent
from ledger.domain.events import Configured, WebhookObserved
from ledger.domain.look import JudgedLook, Watch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.override import ended_by_somebody, ended_by_time
from ledger.domain.override_events import WhyEnded, Word
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    NodeBooted,
    RunCounts,
    Tier,
    TierSet,
)
from ledger.domain.source import SourceState
from ledger.domain.status import Shown, derive_by_evidence
from ledger.ingest.draft import Draft, read_webhook
from ledger.reconcile import judge, plan
from ledger.reconcile.probes import NodeProbe
from ledger.replay.memory_agenda import MemoryAgenda
from ledger.replay.memory_source import MemorySource
from ledger.simulator.sender import encode
from ledger.sources.wukongim.answers import Boot, NodeConnections, Unanswered
from ledger.store.mapper import Recorded
from tests.support.overriding import overriding

SOURCE = "main"
RUN = "run"
STARTED_AT: Instant = 1_800_000_000 * SECOND


class Kept(NamedTuple):
    """An event at its position; `batch` is the same for events of one commit."""

    position: int
    batch: int
    uid: str | None
    event: Event


class Question(NamedTuple):
    """A poll on its way: the fence and the clock were read when it was asked."""

    number: int
    node: str
    route: str
    asked_at: Instant
    head: int
    watches: Mapping[str, Watch]

    @property
    def poll(self) -> str:
        """The name of the poll that it becomes."""
        return f"poll-{self.number}"


class Reconciler(MemorySource):
    """One source's ledger and its reconciler."""

    def __init__(
        self,
        profile: Profile,
        nodes: Sequence[str] = ("n1",),
        policy: Policy = DEFAULT_POLICY,
        at: Instant = STARTED_AT,
    ) -> None:
        self.at = at
        super().__init__(Draft({SOURCE: SourceState(SOURCE)}, {}, 0), SOURCE)
        self.counts = RunCounts()
        self.kept: list[Kept] = []
        self.judged: dict[str, JudgedLook] = {}
        """What the last answer came to, by user."""
        self._probes: dict[str, NodeProbe] = {}
        self._questions = 0
        self._deliveries = 0
        self._batches = 0
        self.configure(dict.fromkeys(nodes, profile), profile, policy)

    def presence(self, uid: str) -> Presence:
        return self.draft.presence(uid)

    def shown(self, uid: str) -> Shown:
        """What would be said of the user now, if nobody had a say in it."""
        return derive_by_evidence(self.presence(uid), {SOURCE: self.source}, self.at)

    def pass_time(self, seconds: float) -> None:
        """Move the clock; a breaker whose time is over closes."""
        self.at += round(seconds * SECOND)
        until = self.source.breaker_until
        if until is not None and until <= self.at:
            self.breaker.reset()
            self._commit([self.record(BreakerClosed(at=self.at))])

    def configure(self, nodes: Mapping[str, Profile], profile: Profile, policy: Policy) -> None:
        """The configuration from here on; what it no longer names is retired."""
        event = Configured(at=self.at, instance="i", policy=policy, profile=profile, nodes=dict(nodes), rules_version=1)
        self._commit([self.record(event)])
        for node in self.source.retired:
            self._commit(self.sweep(node, self.at, RUN, retired=True))

    def append(self, event: SourceEvent) -> None:
        """An event of the source from elsewhere."""
        self._commit([self.record(event)])

    def restart(self) -> None:
        """Another instance goes on: what was in memory alone is gone, and everybody is due again.

        What looks have left open lies in the database, and is as it was.
        """
        before = self.agenda
        self.agenda, self.breaker = MemoryAgenda(), Breaker()
        self._probes = {}
        self.asked.clear()
        for uid in self.draft.presences:
            left = before.get(uid) if uid in before else Watch(self.at)
            self.agenda.put(uid, Watch(self.at, "start", left.verified_at, left.doubt, left.looked_at))

    def hear(self, node: str, *items: str, spooled_seconds: float | None = None) -> list[WebhookObserved]:
        """A delivery comes, or has waited in a spool; who is new is on the agenda from here, suspects at once."""
        self._deliveries += 1
        received_at = self.at - round((spooled_seconds or 0.0) * SECOND)
        webhook = read_webhook(f"d{self._deliveries}", SOURCE, node, received_at, encode(items), 65536)
        webhook = webhook._replace(spooled=spooled_seconds is not None)
        recorded = list(self._commit(self.draft.add(webhook)))
        observed = []
        for each in recorded:
            if isinstance(each.event, WebhookObserved) and each.uid is not None:
                observed.append(each.event)
                self.take_in(each.uid, each.event)
        return observed

    def set_tier(self, uid: str, tier: Tier | None) -> None:
        """Somebody chooses how soon the user is looked at."""
        status = self.presence(uid).status
        event = TierSet(received_at=self.at, tier=tier, by="key", status_before=status, status_after=status)
        self._commit([self.draft.append_to_user(uid, event)])
        self.take_in(uid, event)

    def override(self, uid: str, status: Word, seconds: float, *, until_evidence: bool) -> None:
        """Somebody says what is to be shown of the user, over what was said before."""
        if self.presence(uid).override is not None:
            self.end_override(uid, "replaced")
        event = overriding(self.presence(uid), status, self.at, seconds, until_evidence)
        self._commit([self.draft.append_to_user(uid, event)])

    def end_override(self, uid: str, why: WhyEnded) -> None:
        """The end of that is put on record; by time where that had ended it."""
        presence = self.presence(uid)
        word = presence.override
        assert word is not None
        ended = ended_by_time if why == "expired" else partial(ended_by_somebody, at=self.at, why=why, by="key")
        self._commit([self.draft.append_to_user(uid, ended(word, status=presence.status))])

    def take_due(self) -> list[str]:
        """Users whose look is due now; they are in nobody's turn until they have been asked about."""
        return [uid for _, uid in self.agenda.take_due(self.at)]

    def put_all_back(self, uids: Iterable[str], until: Instant) -> None:
        """Nobody could be asked about them until then."""
        for uid in uids:
            self.put_back(uid, self.agenda.get(uid), until)

    def ask(self, uids: Iterable[str], node: str = "n1") -> Question:
        """Send a question about users."""
        return self._question(uids, node, "POST /user/onlinestatus")

    def ask_nodes(self, uids: Iterable[str] = ()) -> Question:
        """Ask every node for all its connections, which tells of everybody known, and of these."""
        return self._question({*self.draft.presences, *uids}, "n1", "GET /connz")

    def _question(self, uids: Iterable[str], node: str, route: str) -> Question:
        self._questions += 1
        watches = {uid: self.agenda.get(uid) if uid in self.agenda else Watch(self.at, "new") for uid in uids}
        self.asked |= {uid: (self.at, watch) for uid, watch in watches.items()}
        return Question(self._questions, node, route, self.at, self.draft.head, watches)

    def fail(self, question: Question) -> None:
        """A question brings no answer."""
        for uid, watch in self._in_force(question.watches).items():
            self._retry(uid, watch)

    def _retry(self, uid: str, watch: Watch) -> None:
        self.put_back(uid, watch, self.at + round(plan.RETRY_DELAY_SECONDS * SECOND))

    def answer(self, question: Question, rows: Mapping[str, Mapping[int, int]]) -> dict[str, JudgedLook]:
        """The rows that answer a question: connections by device flag of each user who has any."""
        poll, watches = self._poll(question), self._in_force(question.watches)
        looks = judge.looks_at_rows(self.presence, self.source, question.node, watches, rows)
        return self._judge(poll, looks, len(question.watches), judge.rows_text(rows, list(question.watches)))

    def answer_nodes(self, question: Question, answers: Mapping[str, NodeConnections]) -> dict[str, JudgedLook]:
        """What `/connz` of the nodes that answered brings."""
        source, found = self.source, plan.own_connections_of_all(self.source, answers)
        poll = self._poll(question)._replace(node="+".join(found))
        connections = plan.union_connections(found, question.asked_at)
        watches = {**{uid: Watch(self.at, "new") for uid in connections}, **self._in_force(question.watches)}
        looks = plan.looks_at_union(self.presence, source, watches, connections, found)
        judged = self._judge(
            poll, looks, sum(map(len, connections.values())), judge.connections_text(connections, list(watches))
        )
        for uid, watch in self._in_force(question.watches).items():
            if uid not in judged:
                self._retry(uid, watch)
        self._commit(self.settle(looks, question.asked_at, self.at, found))
        return judged

    def _in_force(self, watches: Mapping[str, Watch]) -> dict[str, Watch]:
        """The doubts of those asked about are those that the last look left, whenever this one was asked."""
        return {uid: self.agenda.get(uid) if uid in self.agenda else watch for uid, watch in watches.items()}

    def _poll(self, question: Question) -> Poll:
        return Poll(question.poll, RUN, question.node, question.route, question.asked_at, self.at, question.head)

    def _judge(self, poll: Poll, looks: list[judge.Look], asked: int, text: Mapping[str, str]) -> dict[str, JudgedLook]:
        self._commit(self.take_answer(poll, looks, asked, text))
        self.counts = judge.counted(self.counts, self.verdicts)
        self.judged = dict(self.verdicts.judged)
        return self.judged

    def probe(self, node: str, answer: Boot | Unanswered, *, asked_seconds_ago: float = 0.0) -> list[Event]:
        """A probe of a node has come to its end."""
        probe = self._probes.setdefault(node, NodeProbe(node))
        state = self.source.nodes.get(node, NodeState())
        asked_at = self.at - round(asked_seconds_ago * SECOND)
        if isinstance(answer, Boot):
            events = probe.answered(answer, asked_at, self.at, state, "/varz")
        else:
            events = probe.failed(answer, asked_at, self.at, state)
        for event in events:
            self._commit([self.record(event)])
            if isinstance(event, NodeBooted):
                self._commit(self.sweep(node, self.at, RUN))
        return [*events]

    def _commit(self, events: Iterable[Recorded]) -> list[Recorded]:
        """Keep events that belong together."""
        self._batches += 1
        kept = []
        for recorded in chain(events, self.draft.ends_of_overrides()):
            self.kept.append(Kept(self.draft.head, self._batches, recorded.uid, recorded.event))
            kept.append(recorded)
        return kept

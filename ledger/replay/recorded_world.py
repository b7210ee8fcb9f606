"""The polls of a recording as a world that can be asked: the reconciler's questions wait for the recorded answers.

A question is answered by the first recorded poll of its route, and node, that covers the user, at its instant or a
little later; none there: the look failed.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

from msgspec.structs import replace

from ledger.domain.breaker import Breaker
from ledger.domain.drift import Poll
from ledger.domain.event_types import UserEvent
from ledger.domain.look import Watch, made_urgent
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    NodeBooted,
    NodeDown,
    NodeSettled,
    SourceDark,
    SourceLit,
)
from ledger.domain.reschedule import reschedule_from, rescheduled
from ledger.domain.source import SourceState
from ledger.domain.sweeps import swept_by_boot
from ledger.ingest.draft import Draft
from ledger.reconcile import judge, plan
from ledger.replay.memory_agenda import MemoryAgenda
from ledger.replay.recorded_answers import RUN, Fences, RecordedProbes, connections_in, rows_in
from ledger.sources.wukongim.answers import Connections, OnlineRows
from ledger.sources.wukongim.recording import RecordedPoll
from ledger.store.mapper import Recorded

MANY_USERS = 300
"""With more of them a recording asks less often, and answers may be so much older."""

PASS_SECONDS = 3.0
"""Between two passes."""

ROWS_SECONDS, ROWS_SECONDS_OF_MANY, CONNECTIONS_SECONDS = 1.5, 3.5, 5.5

RETRY_DELAY_SECONDS = 4.0
"""After a look that failed."""


class RecordedWorld:
    """The reconciler on the virtual clock of one replay. Its events go into the replay's draft."""

    def __init__(self, draft: Draft, source: str) -> None:
        self.looks = 0
        self._draft = draft
        self._name = source
        self._agenda = MemoryAgenda()
        self._asked: dict[str, tuple[Instant, Watch]] = {}
        """Users whose question waits for its answer: asked at, with the watch that it is for."""
        self._probes = RecordedProbes()
        self._fences = Fences()
        self._breaker = Breaker()
        self._pass_asked_at: Instant | None = None
        self._pass_waits: set[str] = set()
        self._pass_found: dict[str, Connections] = {}
        self._passed_at: Instant | None = None
        self._wants_pass = False
        self._last_sign: Instant | None = None
        self._polled = False

    @property
    def _source(self) -> SourceState:
        return self._draft.source(self._name)

    def heard(self, node: str, events: Sequence[Recorded], at: Instant) -> Iterator[Recorded]:
        """Webhooks were judged: who is new is on the agenda from here, suspects at once."""
        yield from self._sign(at, "webhook")
        for event in events:
            heard = reschedule_from(event.event) if isinstance(event.event, UserEvent) else None
            uid = event.uid
            if heard is None or uid is None or uid in self._asked:
                continue
            known = self._agenda.get(uid) if uid in self._agenda else None
            self._agenda.put(uid, rescheduled(known, heard, self._draft.presence(uid), self._source))

    def advance(self, until: Instant) -> Iterator[tuple[Instant, list[Recorded]]]:
        """Ask what is due, and give up what was not answered in time; yields events with their instants."""
        self._fences.note(until, self._draft.head)
        if not self._polled:
            return
        self._give_up(until)
        if self._pass_asked_at is not None and self._pass_asked_at + round(CONNECTIONS_SECONDS * SECOND) < until:
            yield until, list(self._finish_pass(until))
        dark = self._source.policy.dark_seconds
        if dark and self._last_sign is not None and self._source.dark_since is None:
            dark_at = self._last_sign + round(dark * SECOND)
            if dark_at <= until:
                event = SourceDark(at=dark_at, since=self._last_sign)
                yield dark_at, [self._draft.append_to_source(self._name, event)]
        opened_until = self._source.breaker_until
        if opened_until is not None and opened_until <= until:
            self._breaker.reset()
            yield opened_until, [self._draft.append_to_source(self._name, BreakerClosed(at=opened_until))]
        self._ask(until)
        while self._give_up(until):
            self._ask(until)

    def _give_up(self, until: Instant) -> bool:
        """Questions that were not answered in time have failed -> whether there were any."""
        if self._pass_asked_at is not None:
            return False
        seconds = ROWS_SECONDS_OF_MANY if len(self._agenda) > MANY_USERS else ROWS_SECONDS
        late_from = until - round(seconds * SECOND)
        late = {uid: asked for uid, asked in self._asked.items() if asked[0] < late_from}
        for uid, (asked_at, watch) in late.items():
            self._failed(uid, watch, asked_at + round(seconds * SECOND))
        return bool(late)

    def _failed(self, uid: str, watch: Watch, at: Instant) -> None:
        self._asked.pop(uid, None)
        self._agenda.put(uid, replace(watch, due_at=at + round(RETRY_DELAY_SECONDS * SECOND)))

    def _ask(self, until: Instant) -> None:
        """Whoever is due is asked about: by name, or all together where only `/connz` is to be believed."""
        due = self._agenda.take_due(until)
        if not due:
            return
        route = plan.route_for(self._source, until)
        if isinstance(route, plan.Wait):
            for _, uid in due:
                self._agenda.put(uid, replace(self._agenda.get(uid), due_at=route.until))
            return
        for due_at, uid in due:
            watch = self._agenda.get(uid)
            self._asked[uid] = (due_at, watch)
        if route is plan.CONNECTIONS:
            self._start_pass(due[-1][0])
            return
        self.looks += len(due)
        doubts = [self._agenda.get(uid).doubt for _, uid in due]
        if any(doubt is not None and doubt.drift == "ghost" for doubt in doubts):
            self._ask_sample(due[-1][0])

    def _ask_sample(self, at: Instant) -> None:
        """Beside a second look at somebody who seems gone, enough others to notice a lie."""
        online = partial(plan.is_online, self._draft.presence)
        wanted = self._breaker.sample_wanted(at / SECOND, self._source.policy)
        minimum = self._source.policy.breaker_minimum
        sample = self._agenda.soonest(max(wanted, minimum), online, self._asked)
        if wanted == 0 or len(sample) < minimum:
            return
        for uid in sample[:wanted]:
            self._asked[uid] = (at, self._agenda.get(uid))
        self.looks += len(sample[:wanted])

    def _start_pass(self, at: Instant, without: str | None = None) -> None:
        if self._pass_asked_at is None:
            source = self._source
            self._pass_asked_at = self._passed_at = at
            self._wants_pass = False
            self._pass_waits = plan.answering(source) - {without}
            self._pass_found = {}
            self.looks += len(self._pass_waits)

    def poll(self, poll: RecordedPoll) -> Iterator[Recorded]:
        """A recorded poll: the answer to whatever waits for it."""
        self._polled = True
        path = poll.path.partition("?")[0]
        if poll.method == "POST" and path == "/user/onlinestatus":
            yield from self._rows(poll)
        elif path == "/connz":
            yield from self._connections(poll)
        elif path in ("/varz", "/metrics"):
            yield from self._probe(poll, path)
        self._fences.note(poll.at, self._draft.head)

    def _rows(self, poll: RecordedPoll) -> Iterator[Recorded]:
        for uid in dict.fromkeys(poll.asked):
            # A user is known from the first poll that names him.
            if uid not in self._agenda and uid not in self._asked:
                self._agenda.put(uid, Watch(poll.at, "new"))
        self._ask(poll.at)
        if plan.route_for(self._source, poll.at) is not plan.ROWS:
            return
        asked = {uid: self._asked[uid][1] for uid in dict.fromkeys(poll.asked) if uid in self._asked}
        if not asked:
            return
        answer = rows_in(poll)
        if not isinstance(answer, OnlineRows):
            for uid, watch in asked.items():
                self._failed(uid, watch, poll.at)
            return
        yield from self._sign(poll.at, "poll")
        looks = judge.looks_at_rows(self._draft.presence, self._source, poll.node, asked, answer.rows)
        self._wants_pass = self._wants_pass or any(
            look.difference.absent and look.presence.status == "online" for look in looks
        )
        text = judge.rows_text(answer.rows, list(asked))
        yield from self._judge(self._fences.poll_of(poll), looks, len(asked), text)

    def _judge(self, poll: Poll, looks: list[judge.Look], asked: int, text: dict[str, str]) -> Iterator[Recorded]:
        policy = self._source.policy
        now = poll.answered_at / SECOND
        self._breaker.note(now, *judge.count_missing(self._source, poll, looks), policy)
        tripped = self._breaker.trips(now, policy, judge.doubted_for(poll, looks, policy))
        holding = self._source.breaker_until is not None or tripped is not None
        if tripped is not None and self._source.breaker_until is None:
            until = poll.answered_at + round(policy.breaker_hold_seconds * SECOND)
            event = BreakerOpened(
                at=poll.answered_at, looked=tripped[0], missing=tripped[1], window_seconds=tripped[2], until=until
            )
            yield self._draft.append_to_source(self._name, event)
        verdicts = judge.judge_all(self._source, poll, looks, holding=holding)
        yield from judge.record(self._draft, self._name, poll, asked, verdicts, text, verdicts.agreed)
        for uid, watch in verdicts.watches().items():
            self._asked.pop(uid, None)
            self._agenda.put(uid, watch)

    def _is_pass_due(self, at: Instant) -> bool:
        """Whether one is wanted or its turn has come: it is asked for when the recording has its answer.

        A recording's polls name everybody, so that where rows tell enough nobody is left for a pass to find.
        """
        source = self._source
        if (
            source.absence_tells
            or not plan.has_connections(source)
            or isinstance(plan.route_for(source, at), plan.Wait)
        ):
            return False
        every = PASS_SECONDS if self._wants_pass else max(PASS_SECONDS, plan.pass_seconds(source.policy))
        return self._passed_at is None or at - self._passed_at >= round(every * SECOND)

    def _connections(self, poll: RecordedPoll) -> Iterator[Recorded]:
        if self._pass_asked_at is None and self._is_pass_due(poll.at):
            self._start_pass(poll.at)
        if self._pass_asked_at is None or poll.node not in self._pass_waits:
            return
        answer = connections_in(poll)
        if isinstance(answer, Connections):
            self._pass_waits.discard(poll.node)
            self._pass_found[poll.node] = answer
            yield from self._sign(poll.at, "poll")
            if not self._pass_waits:
                yield from self._finish_pass(poll.at, poll)

    def _finish_pass(self, at: Instant, last: RecordedPoll | None = None) -> Iterator[Recorded]:
        """All nodes have answered, or time is over: compare with what came."""
        self._pass_asked_at = None
        asked = {uid: watch for uid, (_, watch) in self._asked.items()}
        if last is None:
            for uid, watch in asked.items():
                self._failed(uid, watch, at)
            return
        source = self._source
        connections = plan.union_connections(source, self._pass_found, at)
        everybody = {uid: asked.get(uid) or self._agenda.get(uid) for uid in self._everybody() | asked.keys()}
        for uid in connections.keys() - everybody.keys():
            everybody[uid] = Watch(at, "new")
        poll = self._fences.poll_of(last)
        silent = plan.silent_node(source, self._pass_found)
        looks = judge.looks_at_connections(self._draft.presence, source, everybody, connections, silent)
        looks = plan.only_answered(source, looks, self._pass_found.keys())
        text = judge.connections_text(connections, list(everybody))
        yield from self._judge(poll, looks, sum(map(len, connections.values())), text)
        for uid, (_, watch) in list(self._asked.items()):
            self._failed(uid, watch, at)
        contradicted = sum(look.difference.contradicted for look in looks)
        for node, state in source.nodes.items():
            if plan.is_settled_by(state, last.at, contradicted) and node in self._pass_found:
                settled = NodeSettled(node=node, at=at, booted=True)
                yield self._draft.append_to_source(self._name, settled)

    def _everybody(self) -> set[str]:
        return {uid for uid in self._draft.presences if uid in self._agenda}

    def _probe(self, poll: RecordedPoll, path: str) -> Iterator[Recorded]:
        probed = self._probes.take(poll, path, self._source.nodes.get(poll.node, NodeState()))
        if probed is None:
            return
        if probed.good:
            yield from self._sign(poll.at, "poll")
        if probed.refused and plan.needs_connections(self._source):
            # It may be gone: who is connected to the others is known the sooner.
            self._start_pass(poll.at, without=poll.node)
        for event in probed.events:
            yield self._draft.append_to_source(self._name, event)
            if isinstance(event, NodeBooted):
                yield from self._sweep(event.node, poll.at)
            elif isinstance(event, NodeDown) and plan.needs_connections(self._source):
                self._start_pass(poll.at)

    def _sweep(self, node: str, at: Instant) -> Iterator[Recorded]:
        """End what a boot ended; who may have come back, or may not be that node's, is looked at at once."""
        source = self._source
        evidence = source.nodes[node].boot_position
        boot = source.nodes[node].boot
        assert boot is not None
        for uid in sorted(self._draft.presences):
            presence = self._draft.presence(uid)
            ended, suspect = swept_by_boot(presence, source, node)
            if ended:
                yield self._draft.append_to_user(uid, plan.swept(presence, source, node, ended, at, RUN, evidence))
            if (ended or suspect) and uid not in self._asked:
                self._agenda.put(uid, made_urgent(self._agenda.get(uid), at, "restart"))
        if not plan.needs_connections(source):
            yield self._draft.append_to_source(self._name, NodeSettled(node=node, at=at, booted=True))
        else:
            self._pass_asked_at = None
            self._start_pass(at)

    def _sign(self, at: Instant, by: Literal["webhook", "poll"]) -> Iterator[Recorded]:
        """The source spoke."""
        self._last_sign = at
        if self._source.dark_since is not None:
            yield self._draft.append_to_source(self._name, SourceLit(at=at, by=by))

"""The polls of a recording as a world that can be asked: the reconciler's questions wait for the recorded answers.

A question is answered by the first recorded poll of its route, and node, that covers the user, at its instant or a
little later; none there: the look failed.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from ledger.domain.event_types import UserEvent
from ledger.domain.look import Watch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import BreakerClosed, NodeBooted, NodeDown, SourceDark, SourceLit
from ledger.ingest.draft import Draft
from ledger.reconcile import judge, plan
from ledger.replay.memory_source import MemorySource
from ledger.replay.recorded_answers import RUN, Fences, RecordedProbes, connections_in, rows_in
from ledger.sources.wukongim.answers import NodeConnections, OnlineRows
from ledger.sources.wukongim.recording import RecordedPoll
from ledger.store.mapper import Recorded

MANY_USERS = 300
"""With more of them a recording asks less often, and answers may be so much older."""

ROWS_SECONDS, ROWS_SECONDS_OF_MANY, CONNECTIONS_SECONDS = 1.5, 3.5, 5.5


class RecordedWorld(MemorySource):
    """The reconciler on the virtual clock of one replay. Its events go into the replay's draft."""

    def __init__(self, draft: Draft, source: str) -> None:
        super().__init__(draft, source)
        self.looks = 0
        self._probes = RecordedProbes()
        self._fences = Fences()
        self._scan_asked_at: Instant | None = None
        self._scan_waits: set[str] = set()
        self._scan_found: dict[str, NodeConnections] = {}
        self._scanned_at: Instant | None = None
        self._wants_scan = False
        self._last_alive: Instant | None = None
        self._polled = False

    def heard(self, events: Sequence[Recorded], at: Instant) -> Iterator[Recorded]:
        """Webhooks were judged."""
        yield from self._note_alive(at, "webhook")
        for event in events:
            if isinstance(event.event, UserEvent) and event.uid is not None:
                self.take_in(event.uid, event.event)

    def advance(self, until: Instant) -> Iterator[tuple[Instant, list[Recorded]]]:
        """Ask what is due, and give up what was not answered in time; yields events with their instants."""
        self._fences.note(until, self.draft.head)
        if not self._polled:
            return
        self._give_up(until)
        if self._scan_asked_at is not None and self._scan_asked_at + round(CONNECTIONS_SECONDS * SECOND) < until:
            yield until, list(self._finish_scan(until))
        dark = self.source.policy.dark_seconds
        if dark and self._last_alive is not None and self.source.dark_since is None:
            dark_at = self._last_alive + round(dark * SECOND)
            if dark_at <= until:
                event = SourceDark(at=dark_at, since=self._last_alive)
                yield dark_at, [self.record(event)]
        opened_until = self.source.breaker_until
        if opened_until is not None and opened_until <= until:
            self.breaker.reset()
            yield opened_until, [self.record(BreakerClosed(at=opened_until))]
        self._ask(until)
        while self._give_up(until):
            self._ask(until)

    def _give_up(self, until: Instant) -> bool:
        """Questions that were not answered in time have failed -> whether there were any."""
        if self._scan_asked_at is not None:
            return False
        seconds = ROWS_SECONDS_OF_MANY if len(self.agenda) > MANY_USERS else ROWS_SECONDS
        late_from = until - round(seconds * SECOND)
        late = {uid: asked for uid, asked in self.asked.items() if asked[0] < late_from}
        for uid, (asked_at, watch) in late.items():
            self._failed(uid, watch, asked_at + round(seconds * SECOND))
        return bool(late)

    def _failed(self, uid: str, watch: Watch, at: Instant) -> None:
        self.put_back(uid, watch, at + round(plan.RETRY_DELAY_SECONDS * SECOND))

    def _ask(self, until: Instant) -> None:
        """Users who are due are asked about: by name, or all together where only `/connz` is to be believed."""
        due = self.agenda.take_due(until)
        if not due:
            return
        route = plan.route_for(self.source, until)
        if isinstance(route, plan.Wait):
            for _, uid in due:
                self.put_back(uid, self.agenda.get(uid), route.until)
            return
        for due_at, uid in due:
            watch = self.agenda.get(uid)
            self.asked[uid] = (due_at, watch)
        if route is plan.CONNECTIONS:
            self._start_scan(due[-1][0])
            return
        self.looks += len(due)
        at, watches = due[-1][0], [self.agenda.get(uid) for _, uid in due]
        sample = judge.second_look_sample(self.breaker, self.source.policy, at / SECOND, watches, self._soonest_online)
        self.asked |= {uid: (at, self.agenda.get(uid)) for uid in sample}
        self.looks += len(sample)

    def _soonest_online(self, number: int) -> list[str]:
        return self.agenda.soonest(number, lambda uid: self.draft.presence(uid).status == "online", self.asked)

    def _start_scan(self, at: Instant, without: str | None = None) -> None:
        if self._scan_asked_at is None:
            source = self.source
            self._scan_asked_at = self._scanned_at = at
            self._wants_scan = False
            self._scan_waits = plan.answering(source) - {without}
            self._scan_found = {}
            self.looks += len(self._scan_waits)

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
        self._fences.note(poll.at, self.draft.head)

    def _rows(self, poll: RecordedPoll) -> Iterator[Recorded]:
        for uid in dict.fromkeys(poll.asked):
            # A user is known from the first poll that names them.
            if uid not in self.agenda and uid not in self.asked:
                self.agenda.put(uid, Watch(poll.at, "new"))
        self._ask(poll.at)
        if plan.route_for(self.source, poll.at) is not plan.ROWS:
            return
        asked = {uid: self.asked[uid][1] for uid in dict.fromkeys(poll.asked) if uid in self.asked}
        if not asked:
            return
        answer = rows_in(poll)
        if not isinstance(answer, OnlineRows):
            for uid, watch in asked.items():
                self._failed(uid, watch, poll.at)
            return
        yield from self._note_alive(poll.at, "poll")
        looks = judge.looks_at_rows(self.draft.presence, self.source, poll.node, asked, answer.rows)
        self._wants_scan = self._wants_scan or any(
            look.difference.absent and look.presence.status == "online" for look in looks
        )
        text = judge.rows_text(answer.rows, list(asked))
        yield from self.take_answer(self._fences.answered_poll(poll), looks, len(asked), text)

    def _is_scan_due(self, at: Instant) -> bool:
        """Whether one is wanted or its turn has come: it is asked for when the recording has its answer.

        A recording's polls name everybody, so that where rows tell enough nobody is left for a full scan to find.
        """
        source = self.source
        if (
            source.absence_tells
            or not plan.has_connections(source)
            or isinstance(plan.route_for(source, at), plan.Wait)
        ):
            return False
        every = plan.SCAN_SECONDS if self._wants_scan else max(plan.SCAN_SECONDS, plan.scan_seconds(source.policy))
        return self._scanned_at is None or at - self._scanned_at >= round(every * SECOND)

    def _connections(self, poll: RecordedPoll) -> Iterator[Recorded]:
        if self._scan_asked_at is None and self._is_scan_due(poll.at):
            self._start_scan(poll.at)
        if self._scan_asked_at is None or poll.node not in self._scan_waits:
            return
        answer = connections_in(poll)
        if isinstance(answer, NodeConnections):
            self._scan_waits.discard(poll.node)
            self._scan_found[poll.node] = answer
            yield from self._note_alive(poll.at, "poll")
            if not self._scan_waits:
                yield from self._finish_scan(poll.at, poll)

    def _finish_scan(self, at: Instant, last: RecordedPoll | None = None) -> Iterator[Recorded]:
        """All nodes have answered, or time is over: compare with what came."""
        self._scan_asked_at = None
        asked = {uid: watch for uid, (_, watch) in self.asked.items()}
        source = self.source
        found = plan.own_connections_of_all(source, self._scan_found)
        if last is None or not found:
            for uid, watch in asked.items():
                self._failed(uid, watch, at)
            return
        connections = plan.union_connections(found, at)
        everybody = {uid: asked.get(uid) or self.agenda.get(uid) for uid in sorted(self._everybody() | asked.keys())}
        for uid in sorted(connections.keys() - everybody.keys()):
            everybody[uid] = Watch(at, "new")
        poll = self._fences.answered_poll(last)
        looks = plan.looks_at_union(self.draft.presence, source, everybody, connections, found)
        text = judge.connections_text(connections, list(everybody))
        yield from self.take_answer(poll, looks, sum(map(len, connections.values())), text)
        for uid, (_, watch) in list(self.asked.items()):
            self._failed(uid, watch, at)
        yield from self.settle(looks, last.at, at, found)

    def _everybody(self) -> set[str]:
        return {uid for uid in self.draft.presences if uid in self.agenda}

    def _probe(self, poll: RecordedPoll, path: str) -> Iterator[Recorded]:
        probed = self._probes.take(poll, path, self.source.nodes.get(poll.node, NodeState()))
        if probed is None:
            return
        if probed.good:
            yield from self._note_alive(poll.at, "poll")
        if probed.refused and plan.needs_connections(self.source):
            # It may be gone: who is connected to the others is known the sooner.
            self._start_scan(poll.at, without=poll.node)
        for event in probed.events:
            yield self.record(event)
            if isinstance(event, NodeBooted):
                yield from self.sweep(event.node, poll.at, RUN)
                if plan.needs_connections(self.source):
                    self._scan_asked_at = None
                    self._start_scan(poll.at)
            elif isinstance(event, NodeDown) and plan.needs_connections(self.source):
                self._start_scan(poll.at)

    def _note_alive(self, at: Instant, by: Literal["webhook", "poll"]) -> Iterator[Recorded]:
        """The source spoke."""
        self._last_alive = at
        if self.source.dark_since is not None:
            yield self.record(SourceLit(at=at, by=by))

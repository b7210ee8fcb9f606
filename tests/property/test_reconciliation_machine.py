"""Reconciliation against a perfect model of clients and servers: whatever is lost, late or denied, its laws hold."""

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Literal, NamedTuple

import hypothesis.strategies as st
import msgspec
from hypothesis import note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.domain.evolve import evolve
from ledger.domain.history import UserEvent
from ledger.domain.look import due_after
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciled import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    NodeBooted,
    PollObserved,
    Swept,
    Tier,
)
from ledger.domain.source import SourceState, evolve_source
from ledger.reconcile import plan
from ledger.sources.wukongim.answers import Unanswered
from tests.support.clients import Cluster
from tests.support.reconciler import SOURCE, Kept, Question, Reconciler

USERS = ("alice", "bob", "u-1-2", "用户")
"""v2.1 and v2.2 never report bob offline."""

POLICY = Policy(
    tier_vip_seconds=4.0,
    tier_normal_seconds=8.0,
    tier_cold_seconds=16.0,
    confirm_seconds=3.0,
    breaker_minimum=2,
    breaker_share=0.5,
    breaker_seconds=10.0,
    breaker_hold_seconds=10.0,
    dark_seconds=0.0,
)
CALM_SECONDS = POLICY.tier_cold_seconds + POLICY.breaker_hold_seconds + 2 * POLICY.confirm_seconds + 12.0
"""Every tier's bound, the breaker's hold, the second looks, and what looks out of turn wait for each other."""

clusters = st.sampled_from(
    [
        (Profile.V1, ("n1",)),
        (Profile.V2_1, ("n1",)),
        (Profile.V2_2, ("n1",)),
        (Profile.V2_2, ("n1", "n2")),
        (Profile.V3, ("n1",)),
        (Profile.V3, ("n1", "n2")),
    ]
)
users = st.sampled_from(USERS)
flags = st.sampled_from([0, 0, 1, 4])
Fate = Literal["heard", "on its way", "lost"]
fates = st.sampled_from(list[Fate](["heard", "on its way", "lost"]))
gaps = st.sampled_from([0.05, 0.5, 1.0, 2.9, 3.0, 6.0, 20.0])


class Missed(NamedTuple):
    """A look that did not find a user at all."""

    poll: str
    asked_at: Instant
    answered_at: Instant
    head: int


class Reconciliation(RuleBasedStateMachine):
    """Servers and clients, webhooks and polls on their way, and the ledger with its reconciler."""

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: list[tuple[str, str]] = []
        self.delivered: list[tuple[str, str]] = []
        self.questions: list[tuple[Question, dict[str, dict[int, int]] | None]] = []
        self.heads: dict[str, int] = {}
        self.missing: dict[str, list[Missed]] = defaultdict(list)
        self.checked = 0
        self.breaker_open = False

    @initialize(
        cluster=clusters,
        confirmations=st.sampled_from([1, 2, 2, 2, 3]),
        connected=st.lists(st.tuples(users, flags, st.booleans()), min_size=2, max_size=6),
    )
    def begin(
        self, cluster: tuple[Profile, tuple[str, ...]], confirmations: int, connected: list[tuple[str, int, bool]]
    ) -> None:
        profile, nodes = cluster
        self.policy = msgspec.structs.replace(POLICY, confirmations=confirmations)
        self.ledger = Reconciler(profile, nodes, self.policy)
        self.cluster = Cluster(profile, nodes, self.ledger.at)
        for node in nodes:
            self.probe(node, 0.5, 0.5)
        for uid, flag, on_the_last in connected:
            self.cluster.connect(uid, flag, nodes[-1 if on_the_last else 0])
        self.send("heard")
        self.ledger.pass_time(10.0)

    # What clients and servers do.

    @rule(uid=users, flag=flags, data=st.data(), fate=fates)
    def connects(self, uid: str, flag: int, data: st.DataObject, fate: Fate) -> None:
        node = data.draw(st.sampled_from(self.cluster.nodes))
        if node not in self.cluster.down:
            self.cluster.connect(uid, flag, node)
            self.send(fate)

    @rule(uid=users, data=st.data(), fate=fates)
    def closes(self, uid: str, data: st.DataObject, fate: Fate) -> None:
        if self.cluster.open[uid]:
            self.cluster.close(uid, data.draw(st.sampled_from(self.cluster.open[uid])))
            self.send(fate)

    def send(self, fate: Fate) -> None:
        """What the nodes have to say is heard at once, on its way, or lost."""
        for node, items in self.cluster.unsent.items():
            if fate == "heard":
                for item in items:
                    self.hear(node, item)
            elif fate == "on its way":
                self.in_flight += [(node, item) for item in items]
            items.clear()

    @rule(data=st.data())
    def crashes(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.cluster.nodes))
        if node not in self.cluster.down:
            note(f"{node} crashes")
            self.cluster.crash(node, self.ledger.at)

    @precondition(lambda self: bool(self.cluster.down))
    @rule(data=st.data(), wrong_seconds=st.sampled_from([0.0, 30.0, 85.0]))
    def boots(self, data: st.DataObject, wrong_seconds: float) -> None:
        node = data.draw(st.sampled_from(sorted(self.cluster.down)))
        self.cluster.boot(node, self.ledger.at, wrong_seconds)

    @rule(uids=st.sets(users, min_size=1))
    def a_new_leader_denies(self, uids: set[str]) -> None:
        self.cluster.denied |= uids

    @rule()
    def the_leader_has_learnt(self) -> None:
        self.cluster.denied.clear()

    # What is on its way.

    @precondition(lambda self: bool(self.in_flight))
    @rule(data=st.data(), number=st.integers(1, 4))
    def arrives(self, data: st.DataObject, number: int) -> None:
        for _ in range(min(number, len(self.in_flight))):
            # Only v3 has senders that overtake each other.
            overtaken = self.cluster.is_v3 and data.draw(st.booleans())
            node, item = self.in_flight.pop(-1 if overtaken else 0)
            self.hear(node, item)

    @precondition(lambda self: bool(self.delivered))
    @rule(data=st.data())
    def arrives_again(self, data: st.DataObject) -> None:
        self.hear(*data.draw(st.sampled_from(self.delivered[-3:])))

    def hear(self, node: str, item: str) -> None:
        note(f"{node} says {item}")
        self.delivered.append((node, item))
        self.ledger.hear(node, item)

    @rule(seconds=gaps)
    def time_passes(self, seconds: float) -> None:
        self.ledger.pass_time(seconds)

    # What the service does.

    @rule()
    def asks_whoever_is_due(self) -> None:
        self.ask_due()

    def ask_due(self) -> None:
        due = self.ledger.take_due()
        if not due:
            return
        route = plan.route_for(self.ledger.source, self.ledger.at)
        if isinstance(route, plan.Wait):
            self.ledger.put_back(due, route.until)
        elif route is plan.ROWS:
            self.ask(due)
        else:
            self.ask_nodes(due)

    @rule(uids=st.sets(users, min_size=1))
    def asks_because_somebody_wants_to_know(self, uids: set[str]) -> None:
        if plan.route_for(self.ledger.source, self.ledger.at) is plan.ROWS:
            self.ask(sorted(uids))

    def ask(self, uids: list[str]) -> None:
        question = self.ledger.ask(uids, min(plan.answering(self.ledger.source)))
        self.heads[f"poll-{question.number}"] = question.head
        self.questions.append((question, self.cluster.rows(self.ledger.at)))

    @precondition(lambda self: bool(self.questions))
    @rule(data=st.data(), early=st.booleans())
    def is_answered(self, data: st.DataObject, early: bool) -> None:
        """An answer is as true as it was at the question, or at the answer."""
        self.answer(data.draw(st.integers(0, len(self.questions) - 1)), early=early)

    def answer(self, number: int, *, early: bool) -> None:
        question, rows_then = self.questions.pop(number)
        rows = rows_then if early else self.cluster.rows(self.ledger.at)
        if rows is None or plan.route_for(self.ledger.source, self.ledger.at) is not plan.ROWS:
            self.fail(question)
            return
        asked = {uid: rows[uid] for uid in question.watches if uid in rows}
        note(f"poll-{question.number} of {sorted(question.watches)}: {asked}")
        before = {uid: self.ledger.presence(uid) for uid in question.watches}
        self.note_missing(question, asked.keys())
        judged = self.ledger.answer(question, asked)
        for uid, look in judged.items():
            assert (look.event is None) or before[uid].position <= question.head
        self.every_new_event_is_lawful()

    @rule(uid=users, between=st.sampled_from([None, "connects", "is repeated", "closes unheard"]), data=st.data())
    def looks_twice(self, uid: str, between: str | None, data: st.DataObject) -> None:
        """At first signs of drift much may still happen before the second look."""
        self.asks_because_somebody_wants_to_know({uid})
        self.answer_all()
        if between == "connects":
            self.connects(uid, 0, data, "heard")
        elif between == "is repeated" and self.delivered:
            self.hear(*self.delivered[-1])
        elif between == "closes unheard":
            self.closes(uid, data, "lost")
        self.ledger.pass_time(data.draw(st.sampled_from([1.0, 3.0])))
        self.asks_because_somebody_wants_to_know({uid})
        self.answer_all()

    def answer_all(self) -> None:
        while self.questions:
            self.answer(0, early=False)

    @precondition(lambda self: bool(self.questions))
    @rule(data=st.data())
    def fails(self, data: st.DataObject) -> None:
        question, _ = self.questions.pop(data.draw(st.integers(0, len(self.questions) - 1)))
        self.fail(question)

    def fail(self, question: Question) -> None:
        before = {uid: self.ledger.presence(uid) for uid in USERS}, len(self.ledger.kept)
        self.ledger.fail(question)
        assert ({uid: self.ledger.presence(uid) for uid in USERS}, len(self.ledger.kept)) == before

    @precondition(lambda self: not self.cluster.is_v3)
    @rule(takes=st.sampled_from([0.0, 0.1]), silent=st.booleans())
    def asks_all_nodes(self, takes: float, silent: bool) -> None:
        self.ask_nodes([], takes=takes, without="n2" if silent else None)

    def ask_nodes(self, uids: list[str], *, takes: float = 0.0, without: str | None = None) -> None:
        question = self.ledger.ask_nodes(uids)
        self.heads[f"poll-{question.number}"] = question.head
        found = {node: self.cluster.connections(node) for node in self.cluster.nodes if node != without}
        answered = {node: connections for node, connections in found.items() if connections is not None}
        self.ledger.pass_time(takes)
        named = {row.uid for node, each in answered.items() for row in each.own(self.cluster.node_id(node))}
        self.note_missing(question, named)
        note(f"poll-{question.number} of all nodes, answered by {sorted(answered)}: {sorted(named)}")
        if not answered:
            self.fail(question)
            return
        before = {uid: self.ledger.presence(uid) for uid in USERS}
        for uid, judged in self.ledger.answer_nodes(question, answered).items():
            if judged.event is not None:
                self.check_against_truth(before[uid], judged.event)
        self.every_new_event_is_lawful()
        trusted = {node for node in answered if self.ledger.source.nodes[node].down_since is None}
        for uid in USERS:
            if any(held.node in trusted for held in self.cluster.open[uid]):
                assert self.ledger.shown(uid).status == "online", f"{uid} is connected to a node that said so"

    def check_against_truth(self, before: Presence, corrected: Corrected) -> None:
        """All nodes' own connections are the truth, so nobody is said to be offline who is not."""
        if corrected.status_after == "offline":
            assert not self.cluster.is_online(before.uid), "offline, since a node said nothing"
        if corrected.rule == "connz_after_boot":
            boots = [node.boot[0] for node in self.ledger.source.nodes.values() if node.boot is not None]
            for gone, number in Counter(corrected.closed).items():
                device = before.device(SOURCE, gone.scope, gone.device_flag)
                assert device is not None
                seen = sorted(session.seen_at for session in device.sessions if session.conn_id == gone.conn_id)
                assert seen[number - 1] < max(boots), "ended by a boot before its last evidence"

    def note_missing(self, question: Question, found: Collection[str]) -> None:
        for uid in question.watches:
            if uid in found:
                self.missing[uid].clear()
            else:
                self.missing[uid].append(
                    Missed(f"poll-{question.number}", question.asked_at, self.ledger.at, question.head)
                )

    @rule(data=st.data(), early=st.sampled_from([0.0, 1.1, 2.1]), late=st.sampled_from([0.0, 1.1]))
    def probes(self, data: st.DataObject, early: float, late: float) -> None:
        self.probe(data.draw(st.sampled_from(self.cluster.nodes)), early, late)

    def probe(self, node: str, early: float, late: float) -> None:
        if node in self.cluster.down:
            self.ledger.probe(node, Unanswered("ConnectError", refused=True))
        else:
            self.ledger.probe(node, self.cluster.boot_of(node, self.ledger.at, early, late))

    @rule(data=st.data())
    def probe_is_lost(self, data: st.DataObject) -> None:
        self.ledger.probe(data.draw(st.sampled_from(self.cluster.nodes)), Unanswered("TimeoutError"))

    @rule(uid=users, tier=st.sampled_from(["vip", "normal", "cold", None]))
    def somebody_chooses_a_tier(self, uid: str, tier: Tier | None) -> None:
        self.ledger.set_tier(uid, tier)

    @rule()
    def the_service_restarts(self) -> None:
        note("the service restarts")
        self.ledger.restart()
        self.questions.clear()

    # What must hold.

    @invariant()
    def every_new_event_is_lawful(self) -> None:
        if not hasattr(self, "ledger"):
            return
        for kept in self.ledger.kept[self.checked :]:
            match kept.event:
                case BreakerOpened():
                    self.breaker_open = True
                case BreakerClosed():
                    self.breaker_open = False
                case Corrected() as corrected:
                    note(f"{kept.uid}: {corrected.rule}, {corrected.status_before} -> {corrected.status_after}")
                    self.check_correction(kept, corrected)
                case Swept() as swept:
                    note(f"{kept.uid}: swept, {swept.status_before} -> {swept.status_after}")
                    (proof,) = [k.event for k in self.ledger.kept if k.position == swept.evidence]
                    assert isinstance(proof, NodeBooted)
                    assert proof.node == swept.node
                    assert swept.earliest is not None
                    assert swept.earliest < proof.earliest, "ended by a boot before its last evidence"
        self.checked = len(self.ledger.kept)

    def check_correction(self, kept: Kept, corrected: Corrected) -> None:
        """It cites its poll, stands behind its fence, and turns nobody offline on the word of one look."""
        assert kept.uid is not None
        polls = [k for k in self.ledger.kept if isinstance(k.event, PollObserved) and k.event.poll == corrected.poll]
        assert len(polls) == 1
        assert polls[0].position < kept.position
        assert polls[0].batch == kept.batch
        assert isinstance(polls[0].event, PollObserved)
        assert polls[0].event.run == corrected.run
        earlier = [k.position for k in self.ledger.kept if k.uid == kept.uid and k.position < kept.position]
        assert max(earlier, default=0) <= self.heads[corrected.poll], "corrected over something newer"
        if (corrected.status_before, corrected.status_after) != ("online", "offline"):
            return
        if corrected.rule.endswith("_after_boot"):
            return
        assert not self.breaker_open
        # What such a look has itself ended, by a boot, does not make its doubt of the rest void.
        by_them = {look.poll for look in self.missing[kept.uid]}
        others = [
            k.position
            for k in self.ledger.kept
            if k.uid == kept.uid and not (isinstance(k.event, Corrected) and k.event.poll in by_them)
        ]
        last, looks = None, 0
        for look in self.missing[kept.uid]:
            since_then = look.head >= max(others, default=0)
            if since_then and (last is None or look.asked_at - last >= round(self.policy.confirm_seconds * SECOND)):
                last, looks = look.answered_at, looks + 1
        assert looks >= self.policy.confirmations, "turned offline by too few looks"

    @invariant()
    def status_is_that_of_the_sessions(self) -> None:
        if hasattr(self, "ledger"):
            for uid, presence in self.ledger.draft.presences.items():
                sessions = [session for device in presence.devices for session in device.sessions]
                if presence.flip is not None:
                    assert (presence.status == "online") == bool(sessions), uid

    @invariant()
    def nothing_outlives_its_node(self) -> None:
        if not hasattr(self, "ledger"):
            return
        source = self.ledger.source
        for presence in self.ledger.draft.presences.values():
            for session in (session for device in presence.devices for session in device.sessions):
                boot = source.nodes[session.node].boot if source.holders_known else None
                assert boot is None or session.seen_at >= boot[0], presence.uid

    @invariant()
    def nobodys_turn_is_later_than_his_tiers_bound(self) -> None:
        if hasattr(self, "ledger"):
            for uid, presence in self.ledger.draft.presences.items():
                if uid in self.ledger.agenda:
                    due_at = self.ledger.agenda.get(uid).due_at
                    assert due_at <= self.ledger.at + round(90.1 * SECOND), uid
                    assert due_after(presence, self.ledger.source, self.ledger.at) > self.ledger.at

    # What must come to be.

    @precondition(lambda self: self.ledger.kept)
    @rule(arrives=st.booleans())
    def everything_calms_down(self, arrives: bool) -> None:
        """Faults and traffic stop; webhooks on their way arrive or are lost."""
        self.calm(arrives=arrives)

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.calm(arrives=False)
            self.check_folding()

    def calm(self, *, arrives: bool) -> None:
        note("everything calms down")
        cluster, ledger = self.cluster, self.ledger
        for node in sorted(cluster.down):
            cluster.boot(node, ledger.at, 85.0)
        cluster.denied.clear()
        while self.in_flight:
            node, item = self.in_flight.pop(0)
            if arrives:
                self.hear(node, item)
        self.answer_all()
        deadline = ledger.at + round(CALM_SECONDS * SECOND)
        if cluster.is_v3 and len(cluster.nodes) > 1:
            deadline += round(plan.ROUTE_LIFE_SECONDS * SECOND)
        while ledger.at < deadline:
            self.a_calm_second()
        self.every_new_event_is_lawful()
        for uid in sorted(ledger.draft.presences):
            if ledger.presence(uid).flip is not None:
                assert ledger.shown(uid).status == ("online" if cluster.is_online(uid) else "offline"), uid

    def a_calm_second(self) -> None:
        """Probes, then whoever is due, answered truly within the second."""
        ledger = self.ledger
        for node in self.cluster.nodes:
            self.probe(node, 0.5, 0.5)
        if any(not state.swept for state in ledger.source.nodes.values()):
            self.ask_nodes([])
        self.ask_due()
        ledger.pass_time(0.1)
        self.answer_all()
        ledger.pass_time(0.9)

    def check_folding(self) -> None:
        """The recorded events, folded anew, give the states."""
        presences: dict[str, Presence] = {}
        source = SourceState(SOURCE)
        for kept in self.ledger.kept:
            if isinstance(kept.event, UserEvent):
                assert kept.uid is not None
                presence = presences.get(kept.uid, Presence(kept.uid))
                presences[kept.uid] = evolve(presence, kept.event, kept.position)
            else:
                source = evolve_source(source, kept.event, kept.position)
        assert presences == self.ledger.draft.presences
        found = self.ledger.source
        assert (source.nodes, source.version, source.lost_node_at) == (found.nodes, found.version, found.lost_node_at)


TestReconciliation = Reconciliation.TestCase
TestReconciliation.settings = settings(max_examples=150, stateful_step_count=40)

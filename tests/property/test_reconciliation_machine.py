"""Reconciliation against a perfect model of clients and servers: whatever is lost, late or denied, its laws hold."""

import hypothesis.strategies as st
import msgspec
from hypothesis import note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.domain.look import tier_bound_seconds
from ledger.domain.observation import SECOND
from ledger.domain.override_events import Word
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Tier
from ledger.reconcile import plan
from ledger.sources.wukongim.answers import Unanswered
from tests.support.driven import Driven, Fate
from tests.support.slices import replayed, slice_of

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
        (Profile.V2_2, ("n1", "n2")),
        (Profile.V3, ("n1",)),
        (Profile.V3, ("n1", "n2")),
    ]
)
users = st.sampled_from(USERS)
some_users = st.sets(users, min_size=1)
flags = st.sampled_from([0, 0, 1, 4])
fates = st.sampled_from(list[Fate](["heard", "on its way", "lost"]))
gaps = st.sampled_from([0.05, 0.5, 1.0, 2.9, 3.0, 6.0, 20.0])


class Reconciliation(RuleBasedStateMachine):
    """Servers and clients, webhooks and polls on their way, and the ledger with its reconciler."""

    @initialize(
        cluster=clusters,
        confirmations=st.sampled_from([1, 2, 2, 2, 3]),
        connected=st.lists(st.tuples(users, flags, st.booleans()), min_size=2, max_size=6),
    )
    def begin(
        self, cluster: tuple[Profile, tuple[str, ...]], confirmations: int, connected: list[tuple[str, int, bool]]
    ) -> None:
        profile, nodes = cluster
        self.world = Driven(profile, nodes, msgspec.structs.replace(POLICY, confirmations=confirmations), USERS, note)
        self.cluster, self.ledger = self.world.cluster, self.world.ledger
        for uid, flag, on_the_last in connected:
            self.cluster.connect(uid, flag, nodes[-1 if on_the_last else 0])
        self.world.send("heard")
        self.ledger.pass_time(10.0)

    # What clients and servers do.

    @rule(uid=users, flag=flags, data=st.data(), fate=fates)
    def connects(self, uid: str, flag: int, data: st.DataObject, fate: Fate) -> None:
        node = data.draw(st.sampled_from(self.cluster.nodes))
        if node not in self.cluster.down:
            self.cluster.connect(uid, flag, node)
            self.world.send(fate)

    @rule(uid=users, data=st.data(), fate=fates)
    def closes(self, uid: str, data: st.DataObject, fate: Fate) -> None:
        if self.cluster.open[uid]:
            self.cluster.close(uid, data.draw(st.sampled_from(self.cluster.open[uid])))
            self.world.send(fate)

    @rule(data=st.data())
    def crashes(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(self.cluster.nodes))
        if node not in self.cluster.down:
            self.cluster.crash(node, self.ledger.at)

    @precondition(lambda self: not self.cluster.is_v3 and not self.cluster.down)
    @rule(data=st.data())
    def crashes_and_is_missed(self, data: st.DataObject) -> None:
        """Two probes find nobody listening, and who is on the other nodes is asked of them."""
        node = data.draw(st.sampled_from(self.cluster.nodes))
        self.cluster.crash(node, self.ledger.at)
        for _ in range(2):
            self.ledger.pass_time(1.0)
            self.world.probe(node)
        self.world.ask_nodes(USERS)

    @precondition(lambda self: bool(self.cluster.down))
    @rule(data=st.data(), wrong_seconds=st.sampled_from([0.0, 30.0, 85.0]))
    def boots(self, data: st.DataObject, wrong_seconds: float) -> None:
        """In a cluster the query is wrong for some time after."""
        node = data.draw(st.sampled_from(sorted(self.cluster.down)))
        self.cluster.boot(node, self.ledger.at, wrong_seconds)

    @rule(uids=some_users)
    def a_new_leader_denies(self, uids: set[str]) -> None:
        """The query says offline of users who are connected."""
        self.cluster.denied |= uids

    @rule()
    def the_leader_has_learnt(self) -> None:
        self.cluster.denied.clear()

    # What is on its way.

    @precondition(lambda self: bool(self.world.in_flight))
    @rule(data=st.data(), number=st.integers(1, 4))
    def arrives(self, data: st.DataObject, number: int) -> None:
        for _ in range(min(number, len(self.world.in_flight))):
            # Only v3 has senders that overtake each other.
            overtaken = self.cluster.is_v3 and data.draw(st.booleans())
            self.world.hear(*self.world.in_flight.pop(-1 if overtaken else 0))

    @precondition(lambda self: bool(self.world.delivered))
    @rule(data=st.data())
    def arrives_again(self, data: st.DataObject) -> None:
        self.world.hear(*data.draw(st.sampled_from(self.world.delivered[-3:])))

    @rule(seconds=gaps)
    def time_passes(self, seconds: float) -> None:
        self.ledger.pass_time(seconds)

    # What the service does.

    @rule()
    def asks_whoever_is_due(self) -> None:
        self.world.ask_due()

    @rule(uids=some_users)
    def asks_because_somebody_wants_to_know(self, uids: set[str]) -> None:
        self.world.ask(uids)

    @precondition(lambda self: bool(self.world.questions))
    @rule(data=st.data(), early=st.booleans())
    def is_answered(self, data: st.DataObject, early: bool) -> None:
        self.world.answer(data.draw(st.integers(0, len(self.world.questions) - 1)), early=early)

    @precondition(lambda self: bool(self.world.questions))
    @rule(data=st.data())
    def fails(self, data: st.DataObject) -> None:
        question, _ = self.world.questions.pop(data.draw(st.integers(0, len(self.world.questions) - 1)))
        self.world.fail(question)

    @rule(
        uid=users,
        before=st.sampled_from([None, "closes unheard", "is denied"]),
        between=st.sampled_from([None, "connects", "is repeated", "closes unheard", "is seen"]),
        data=st.data(),
    )
    def is_looked_at_twice(self, uid: str, before: str | None, between: str | None, data: st.DataObject) -> None:
        """Much may still happen between a first sign of drift and the second look."""
        if before == "closes unheard":
            self.closes(uid, data, "lost")
        elif before == "is denied":
            self.cluster.denied.add(uid)
        self.look_at(uid)
        if between == "connects":
            self.connects(uid, 0, data, "heard")
        elif between == "is repeated" and self.world.delivered:
            self.world.hear(*self.world.delivered[-1])
        elif between == "closes unheard":
            self.closes(uid, data, "lost")
        elif between == "is seen":
            denied = self.cluster.denied.copy()
            self.cluster.denied.clear()
            self.look_at(uid)
            self.cluster.denied |= denied
        self.ledger.pass_time(data.draw(st.sampled_from([1.0, 3.0])))
        self.look_at(uid)

    def look_at(self, uid: str) -> None:
        self.world.ask({uid})
        self.world.answer_all()

    @precondition(lambda self: not self.cluster.is_v3)
    @rule(takes=st.sampled_from([0.0, 0.1]), without=st.sampled_from([None, "n1", "n2"]), times=st.integers(1, 2))
    def asks_all_nodes(self, takes: float, without: str | None, times: int) -> None:
        """Once, or again after the time that a second look needs."""
        for _ in range(times):
            self.world.ask_nodes(USERS, takes=takes, without=without)
            self.ledger.pass_time(3.0 if times > 1 else 0.0)

    @rule(data=st.data(), early=st.sampled_from([0.0, 1.1, 2.1]), late=st.sampled_from([0.0, 1.1]))
    def probes(self, data: st.DataObject, early: float, late: float) -> None:
        self.world.probe(data.draw(st.sampled_from(self.cluster.nodes)), early, late)

    @rule(data=st.data())
    def probe_is_lost(self, data: st.DataObject) -> None:
        self.ledger.probe(data.draw(st.sampled_from(self.cluster.nodes)), Unanswered("TimeoutError"))

    @rule(uid=users, tier=st.sampled_from(["vip", "normal", "cold", None]))
    def somebody_chooses_a_tier(self, uid: str, tier: Tier | None) -> None:
        self.ledger.set_tier(uid, tier)

    @rule(uid=users, status=st.sampled_from(["online", "offline"]), ends=st.booleans(), until_evidence=st.booleans())
    def somebody_overrides(self, uid: str, status: Word, ends: bool, until_evidence: bool) -> None:
        """Every law holds as if there were none: by evidence alone."""
        if self.ledger.presence(uid).flip is None:
            return
        self.ledger.override(uid, status, 5.0, until_evidence=until_evidence)
        if ends:
            self.ledger.end_override(uid, "deleted")

    @rule()
    def the_service_restarts(self) -> None:
        self.ledger.restart()
        self.world.questions.clear()

    @rule(arrives=st.booleans())
    def everything_calms_down(self, arrives: bool) -> None:
        self.world.calm_down(CALM_SECONDS, arrives=arrives)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.calm_down(CALM_SECONDS, arrives=False)
            self.world.laws.check_folding()
            self.check_replays()

    def check_replays(self) -> None:
        """Whatever was recorded is judged the same again, from the beginning and from the middle on."""
        for start in (0, self.ledger.draft.head // 2):
            again = replayed(slice_of(self.ledger.kept, start))
            assert not again.differing, [each.as_dict() for each in again.examples]
            assert not again.side_by_side.differing_seconds

    # What must hold.

    @invariant()
    def every_new_event_is_lawful(self) -> None:
        if hasattr(self, "world"):
            self.world.check_events()

    @invariant()
    def the_states_are_sound(self) -> None:
        if hasattr(self, "world"):
            self.world.laws.check_states()

    @invariant()
    def nobodys_turn_is_later_than_his_bound(self) -> None:
        if hasattr(self, "world"):
            longest = max(POLICY.tier_cold_seconds, POLICY.breaker_hold_seconds)
            longest = max(longest, plan.ROUTE_LIFE_SECONDS) if self.world.is_cluster_of_v3 else longest
            agenda = self.ledger.agenda
            late = {
                uid for uid in USERS if uid in agenda and agenda.get(uid).due_at > self.ledger.at + longest * SECOND
            }
            assert not late

    @invariant()
    def a_tier_that_somebody_chose_holds(self) -> None:
        if hasattr(self, "world") and not self.world.is_cluster_of_v3:
            for uid in USERS:
                tier, agenda = self.ledger.presence(uid).tier, self.ledger.agenda
                # Whose question is under way has no turn: its answer, or its failure, makes the next one.
                if tier is None or uid in self.ledger.asked or uid not in agenda:
                    continue
                if agenda.get(uid).urgent is None:
                    bound = self.ledger.at + tier_bound_seconds(tier, POLICY) * SECOND
                    assert agenda.get(uid).due_at <= bound, f"{uid} of the {tier} tier waits for too long"


TestReconciliation = Reconciliation.TestCase
TestReconciliation.settings = settings(max_examples=200, stateful_step_count=50)

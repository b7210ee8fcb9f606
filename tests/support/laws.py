"""The laws of reconciliation, held against a ledger in memory and against the truth of a perfect model."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

from bench._corrections import Corrections
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.look import JudgedLook
from ledger.domain.observation import SECOND, Instant
from ledger.domain.override_events import UserOverridden
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    Corrected,
    NodeBooted,
    PollObserved,
    Swept,
    TierSet,
)
from ledger.domain.source import SourceState, evolve_source
from tests.support.clients import Cluster
from tests.support.reconciler import SOURCE, Kept, Question, Reconciler


class Missed(NamedTuple):
    """A look that did not find a user at all."""

    poll: str
    asked_at: Instant
    answered_at: Instant
    head: int


class Laws:
    """What was asked and answered so far, and whether all that was made of it is lawful."""

    def __init__(self, ledger: Reconciler, cluster: Cluster, policy: Policy) -> None:
        self._ledger, self._cluster, self._policy = ledger, cluster, policy
        self._heads: dict[str, int] = {}
        self._missed: dict[str, list[Missed]] = defaultdict(list)
        self._checked = 0
        self._breaker_open = False

    def asked(self, question: Question) -> None:
        """A question was sent."""
        self._heads[question.poll] = question.head

    def answered(self, question: Question, found: Collection[str]) -> None:
        """Its answer has come, and is not judged yet: of those asked about it names these."""
        for uid in question.watches:
            if uid in found:
                self._missed[uid].clear()
            else:
                self._missed[uid].append(Missed(question.poll, question.asked_at, self._ledger.at, question.head))

    def check_events(self) -> list[str]:
        """Every event since the last time is lawful -> what they did to users, in words."""
        told = []
        for kept in self._ledger.kept[self._checked :]:
            match kept.event:
                case BreakerOpened():
                    self._breaker_open = True
                case BreakerClosed():
                    self._breaker_open = False
                case Corrected() as corrected:
                    told.append(f"{kept.uid}: {corrected.rule}, {corrected.status_before} -> {corrected.status_after}")
                    self._check_correction(kept, corrected)
                case Swept() as swept:
                    told.append(f"{kept.uid}: swept, {swept.status_before} -> {swept.status_after}")
                    self._check_sweep(swept)
        self._checked = len(self._ledger.kept)
        return told

    def _check_sweep(self, swept: Swept) -> None:
        """It cites the boot that proves it, and ends nothing that showed signs of life since."""
        (proof,) = [kept.event for kept in self._ledger.kept if kept.position == swept.evidence]
        assert isinstance(proof, NodeBooted)
        assert proof.node == swept.node
        assert swept.earliest is not None
        assert swept.earliest < proof.earliest <= proof.latest == swept.latest, "ended by a boot before its evidence"

    def _check_correction(self, kept: Kept, corrected: Corrected) -> None:
        """It cites its poll, stands behind its fence, and turns nobody offline on the word of one look."""
        (cited,) = [
            k for k in self._ledger.kept if isinstance(k.event, PollObserved) and k.event.poll == corrected.poll
        ]
        assert isinstance(cited.event, PollObserved)
        assert cited.position < kept.position
        assert (cited.batch, cited.event.run) == (kept.batch, corrected.run)
        # An operator's word or choice of a tier tells nothing of how the user is.
        told = [k for k in self._ledger.kept if not isinstance(k.event, UserOverridden | TierSet)]
        before = [k for k in told if k.uid == kept.uid and k.position < kept.position]
        newest = max((k.position for k in before), default=0)
        assert newest <= self._heads[corrected.poll], "corrected over something newer"
        turned_offline = (corrected.status_before, corrected.status_after) == ("online", "offline")
        if turned_offline and not corrected.rule.endswith("_after_boot"):
            assert not self._breaker_open, "turned offline while the breaker is open"
            assert kept.uid is not None
            assert self._confirmations(kept.uid, before) >= self._policy.confirmations, "turned offline by few looks"

    def _confirmations(self, uid: str, before: list[Kept]) -> int:
        """How many looks in a row, far enough apart, have missed the user, with nothing recorded of them in between."""
        missed = self._missed[uid]
        # What such a look has itself ended, by a boot, does not make its doubt of the rest void.
        by_them = {look.poll for look in missed}
        others = [k.position for k in before if not (isinstance(k.event, Corrected) and k.event.poll in by_them)]
        last: Instant | None = None
        number = 0
        for look in missed:
            apart = last is None or look.asked_at - last >= round(self._policy.confirm_seconds * SECOND)
            if look.head >= max(others, default=0) and apart:
                last, number = look.answered_at, number + 1
        return number

    def check_rows(self, judged: Mapping[str, JudgedLook], rows: Mapping[str, Mapping[int, int]]) -> None:
        """A corrected user has as many sessions as the answer said, on the same devices; no fewer, where absence
        says nothing."""
        for uid, look in judged.items():
            if look.finding is not None and look.finding.outcome == "corrected":
                held: Counter[int | None] = Counter()
                for device in self._ledger.presence(uid).devices:
                    held[device.device_flag] += len(device.sessions)
                said = Counter(rows.get(uid, {}))
                is_right = +held == said if self._ledger.source.absence_tells else held >= said
                assert is_right, f"{uid} was corrected to something else"

    def check_connections(
        self, before: Mapping[str, Presence], judged: Mapping[str, JudgedLook], answered: Collection[str]
    ) -> None:
        """Nodes' own connections are the truth: nobody is said to be offline who is connected to one that answered, or
        by a connection that we knew of to one that did not.
        """
        for uid, look in judged.items():
            event = look.event
            if event is None:
                continue
            if event.status_after == "offline":
                known = [session for device in before[uid].devices for session in device.sessions]
                for held in self._cluster.open[uid]:
                    if not self._cluster.is_unmistakable(uid, held):
                        # An offline of another one of its number may have been taken for its own.
                        continue
                    ours = any(s.conn_id == held.conn_id and s.held_by in (None, held.node) for s in known)
                    told = held.node in answered or ours or event.status_before == "unknown"
                    assert not told, f"{uid} is offline, since a node said nothing"
            if event.rule == "connz_after_boot":
                self._check_after_boot(before[uid], event)

    def _check_after_boot(self, before: Presence, event: Corrected) -> None:
        boots = [node.boot[0] for node in self._ledger.source.nodes.values() if node.boot is not None]
        # One without a name may have been closed because a connection took its place.
        for gone, number in Counter(each for each in event.closed if each.conn_id is not None).items():
            device = before.device(SOURCE, gone.scope, gone.device_flag)
            assert device is not None
            seen = sorted(session.seen_at for session in device.sessions if session.conn_id == gone.conn_id)
            assert seen[number - 1] < max(boots), "ended by a boot before its last evidence"

    def check_told_by(self, nodes: Collection[str]) -> None:
        """A user connected to a node that has just said so is shown online, unless that node is down for us."""
        trusted = {node for node in nodes if self._ledger.source.nodes[node].down_since is None}
        for uid, connections in self._cluster.open.items():
            if any(held.node in trusted and self._cluster.is_unmistakable(uid, held) for held in connections):
                assert self._ledger.shown(uid).status == "online", f"{uid} is connected to a node that said so"

    def check_states(self) -> None:
        """A status is that of the sessions; none outlives its node; nobody's turn is too late."""
        source = self._ledger.source
        for uid, presence in self._ledger.draft.presences.items():
            sessions = [(device, session) for device in presence.devices for session in device.sessions]
            assert presence.flip is None or (presence.status == "online") == bool(sessions), uid
            for device, session in sessions if source.holders_known else ():
                holder = source.holder(device, session)
                boot = None if holder is None else source.nodes[holder].boot
                assert boot is None or session.seen_at >= boot[0], f"a session of {uid} outlives its node"

    def check_folding(self) -> None:
        """The recorded events, folded from scratch, give the states; no correction among them was made before."""
        presences: dict[str, Presence] = {}
        source = SourceState(SOURCE)
        corrections = Corrections()
        for kept in self._ledger.kept:
            faults = corrections.take(kept.position, kept.uid, kept.event)
            assert not faults, faults
            if isinstance(kept.event, UserEvent):
                assert kept.uid is not None
                presence = presences.get(kept.uid, Presence(kept.uid))
                presences[kept.uid] = evolve(presence, kept.event, kept.position)
            else:
                source = evolve_source(source, kept.event, kept.position)
        assert presences == self._ledger.draft.presences
        found = self._ledger.source
        assert (source.nodes, source.version, source.lost_node_at) == (found.nodes, found.version, found.lost_node_at)

    def check_calm(self) -> None:
        """Everybody who was ever observed is shown as they are."""
        for uid, presence in sorted(self._ledger.draft.presences.items()):
            held = self._cluster.open[uid]
            if presence.flip is not None and all(self._cluster.is_unmistakable(uid, each) for each in held):
                status = "online" if self._cluster.is_online(uid) else "offline"
                assert self._ledger.shown(uid).status == status, uid

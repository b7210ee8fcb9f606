"""Does the share of webhooks that were lost lie in the interval that is told? Simulated worlds, on a virtual clock.

The rules judge what is left of the webhooks, the reconciler looks as its plan says, and what `GET /v1/loss` counts is
counted of the events. Of each transition it is known whether its own webhook was lost.
"""

import json
from collections import Counter
from random import Random
from typing import Literal, NamedTuple, get_args

from bench._report import Bar, Options, Report, main, progress
from ledger.domain.event_types import UserEvent
from ledger.domain.loss import CONFIDENCE, Interval, interval
from ledger.domain.observation import Claim, parse_item
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.untold import PROVEN, UserTransitions
from ledger.reconcile import plan
from ledger.simulator.events import Arrival
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.plan import Profile as SimulatedProfile
from ledger.simulator.world import SimulatedWorld
from ledger.sources.wukongim.answers import NodeConnection, NodeConnections
from tests.support.reconciler import Reconciler

Manner = Literal["items", "bodies"]
"""What is lost at once: one item, or all that a POST holds."""

SHARES = (0.0, 0.001, 0.01, 0.1)
PROFILES: tuple[SimulatedProfile, ...] = ("v1", "v2.1", "v2.2", "v3")
ENOUGH = 0.9
NODE = "n1"


class Amount(NamedTuple):
    """How much is simulated, and how often."""

    users: int
    seconds: int
    stay_seconds: int
    """How long a user stays online or offline, on the average."""
    seeds: int


class Outcome(NamedTuple):
    """One world: what was so, and what was told."""

    transitions: int
    lost: int
    told: Counter[str]
    """The transitions counted, by how they were learnt."""

    @property
    def true_share(self) -> float:
        return self.lost / self.transitions

    @property
    def counted_lost(self) -> int:
        return sum(number for by, number in self.told.items() if by not in ("webhook", "retired", *PROVEN))

    @property
    def interval(self) -> Interval:
        return interval(self.counted_lost, self.counted_lost + self.told["webhook"])

    def holds(self, share: float) -> bool:
        """Whether a share lies in the interval."""
        return self.interval.lower <= share <= self.interval.upper


class LossyWorld:
    """Clients, a node and a reconciler; of what the node posts a share never arrives."""

    def __init__(self, profile: SimulatedProfile, share: float, manner: Manner, amount: Amount, seed: int) -> None:
        # A change is drawn for a user at random, who comes or goes.
        rate = amount.users / amount.stay_seconds
        self._world = SimulatedWorld(
            Plan(nodes=(NodePlan(NODE),), profile=profile, users=amount.users, seconds=None, rate=rate, seed=seed)
        )
        self._share, self._manner, self._amount = share, manner, amount
        self._random = Random(f"{seed}:lost")
        self._policy = Policy()
        self._reconciler = Reconciler(Profile(profile), (NODE,), self._policy)
        self._may_scan = profile != "v3"
        self._counts_itself = profile != "v2.1"
        self._transitions: Counter[bool] = Counter()
        """Whether their webhook was lost."""

    def run(self) -> Outcome:
        """Let time pass, then until everybody has been looked at."""
        self._live(self._amount.seconds)
        self._world.calm(traffic=False)
        self._live(round(self._policy.tier_cold_seconds) + 10)
        return Outcome(self._transitions.total(), self._transitions[True], self._count())

    def _live(self, seconds: int) -> None:
        for _ in range(seconds):
            now = int(self._world.now) + 1
            while (t := self._world.next_at()) is not None and t <= now:
                for happened in self._world.advance(t):
                    if isinstance(happened, Arrival):
                        self._arrive(happened)
            self._world.advance(now)
            self._reconciler.pass_time(1.0)
            self._look(now)

    def _arrive(self, arrival: Arrival) -> None:
        items = json.loads(arrival.body)
        whole = self._manner == "bodies" and self._random.random() < self._share
        kept = []
        for item in items:
            is_lost = whole or (self._manner == "items" and self._random.random() < self._share)
            if self._is_transition(item):
                self._transitions[is_lost] += 1
            if not is_lost:
                kept.append(item)
        if kept:
            self._reconciler.hear(NODE, *kept)
        self._world.answered(arrival, arrival.t + 0.002, "ok")

    def _is_transition(self, item: str) -> bool:
        """Whether the user came with this connection, or went: with one node its total tells."""
        claim = parse_item(item)
        alone = isinstance(claim, Claim) and claim.online and self._counts_itself
        return isinstance(claim, Claim) and claim.total_count == alone

    def _look(self, now: int) -> None:
        if self._may_scan and now % round(plan.scan_seconds(self._policy)) == 0:
            question = self._reconciler.ask_nodes()
            sockets = self._world.cluster.nodes[NODE].sockets.values()
            rows = [NodeConnection(each.uid, each.conn_id, _labelled(each.device_flag), None) for each in sockets]
            self._reconciler.answer_nodes(question, {NODE: NodeConnections(rows, len(rows))})
        due = self._reconciler.take_due()
        if due:
            routes = self._world.cluster.nodes[NODE].routes
            found = {uid: Counter(each.device_flag for each in routes.get(uid)) for uid in due}
            self._reconciler.answer(self._reconciler.ask(due), {uid: rows for uid, rows in found.items() if rows})

    def _count(self) -> Counter[str]:
        """What the product counts of the events."""
        users: dict[str, UserTransitions] = {}
        for kept in self._reconciler.kept:
            if kept.uid is not None and isinstance(kept.event, UserEvent):
                users.setdefault(kept.uid, UserTransitions(kept.uid)).take(kept.event, kept.position)
        counts: Counter[str] = Counter()
        for user in users.values():
            counts.update(each.by for each in user.told)
            counts.update(each.learnt_by for each in user.changed.values() if each.state != "supposed")
        return counts


def _labelled(device_flag: int) -> int | None:
    """What `/connz` tells of a device flag."""
    return device_flag if device_flag in (0, 1, 2) else None


def measure(options: Options) -> Report:
    """Worlds of each profile, share and manner; how often the true share lies in the interval."""
    amount = Amount(options.pick(250, 100), options.pick(10_800, 2_400), 900, options.pick(10, 1))
    report = Report(
        f"The share of webhooks lost and the interval told, in {amount.seeds} worlds of each kind: "
        f"{amount.users:,} users, {amount.seconds / 60:g} min, {amount.stay_seconds / 60:g} min from one change of a "
        "user to the next on the average, default policy; lost were single items, or whole bodies",
        "no database",
        ("profile", "lost", "of", "transitions", "in truth", "told (of the first)", "truth within", "chance within"),
    )
    kinds = [(profile, share, manner) for profile in PROFILES for share, manner in _KINDS]
    within = [_add(report, *kind, amount, options.seed) for kind in kinds]
    worlds = amount.seeds * len(kinds)
    report.bars.append(Bar("worlds whose true share is within", sum(within) / worlds, ENOUGH, at_least=True))
    report.bars.append(Bar("of the worst kind", min(within) / amount.seeds, ENOUGH, at_least=True, speed=True))
    report.notes.append(f"`chance` is what was drawn with, which {CONFIDENCE:.0%} of the intervals are to hold.")
    return report


_KINDS: list[tuple[float, Manner]] = [
    (share, manner) for share in SHARES for manner in (get_args(Manner) if share else get_args(Manner)[:1])
]


def _add(report: Report, profile: SimulatedProfile, share: float, manner: Manner, amount: Amount, seed: int) -> int:
    """Worlds of one kind as a row; in how many the true share lies in the interval."""
    progress(f"{profile}, {share:.1%} of {manner}")
    outcomes = [LossyWorld(profile, share, manner, amount, seed + number).run() for number in range(amount.seeds)]
    within = [each.holds(each.true_share) for each in outcomes]
    by_chance = [each.holds(share) for each in outcomes]
    first = outcomes[0]
    lower, upper = first.interval
    report.rows.append(
        (
            profile,
            f"{share:.1%}",
            manner,
            f"{first.transitions:,}",
            f"{first.true_share:.3%}",
            f"{lower:.3%} to {upper:.3%}",
            f"{sum(within)} of {len(outcomes)}",
            f"{sum(by_chance)} of {len(outcomes)}",
        )
    )
    return sum(within)


if __name__ == "__main__":
    main("loss", "loss.md", measure)

"""One run of chaos: a simulation in which everything goes wrong, the service next to it, and the reference's rules."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, NamedTuple

import httpx2

from bench._rebuilt import Held, held_against_rebuilt
from bench._reference import Reference
from bench._report import progress
from bench._same import project
from bench._service import SEAL_KEY
from bench._shown import Shown
from bench._simulated import Answered, Reconciling, answers, at_work
from bench._truth import as_lines
from ledger.simulator.events import AnsweredWebhook, SimulatedEvent
from ledger.simulator.node_faults import DOWN_SECONDS
from ledger.simulator.plan import Fault, Plan, Profile
from ledger.simulator.runtime import Simulation
from ledger.store.ledger import Ledger
from tests.support.recordings import score

FAULTS: frozenset[Fault] = frozenset(
    ("drop", "duplicate", "reorder", "delay", "api-errors", "api-slow", "api-odd", "leader-change")
)
FAULT_SHARE = 0.3
EMPTY_SECONDS = (2.0, 8.0)
"""After a boot the query API may say for so long that nobody is there."""

STOP_SHARE, EMPTY_SHARE = 1 / 3, 1 / 2
"""Of the restarts: stops instead of crashes; boots after which the query API says so."""

ASK_SECONDS = 5.0
"""How long the reference's check waits for an answer."""

MET_SECONDS = 3.0
"""By then the service has probed every node: of one that boots before, it cannot know that it had run."""

CHECK_SECONDS = 0.25
RIGHT_CHECKS, RIGHT_EVERY_SECONDS = 3, 1.0
"""Everybody is right once so many looks in a row, so far apart, found nobody wrong."""


class Chaos(NamedTuple):
    """What a run is to be; `scale` is how much shorter than usual tiers and the reference's periods are."""

    profile: Profile
    nodes: int
    users: int
    seconds: float
    rate: float
    start_online: float
    restarts: int
    kills: int
    scale: float
    hold_seconds: float
    seed: int
    patience: float = 1.0
    """How often the longest tier's bound is waited for until everybody is right."""

    @property
    def tiers(self) -> dict[str, float]:
        """The bounds of the tiers in seconds; a vip's is not below what two looks take."""
        normal = 300 / self.scale
        return {
            "vip": max(30 / self.scale, min(5.0, normal)),
            "normal": normal,
            "cold": 3600 / self.scale,
        }

    @property
    def policy(self) -> dict[str, float]:
        """What differs from the default policy."""
        tiers = {f"tier_{name}_seconds": seconds for name, seconds in self.tiers.items()}
        return tiers | {"breaker_hold_seconds": self.hold_seconds}

    @property
    def longest_tier_seconds(self) -> float:
        """The bound within which everybody is to be right once all is calm."""
        return max(self.tiers.values())

    def reference(self) -> Reference:
        """The reference server's rules, its period and its age shortened as the tiers are."""
        return Reference(period_seconds=300 / self.scale, age_seconds=60 / self.scale)

    def instants(self, number: int, purpose: str) -> list[float]:
        """So many instants, one at random in each equal part of the run, none before the nodes are met."""
        random = Random(f"{self.seed}:{purpose}")
        part = 0.95 * (self.seconds - MET_SECONDS) / max(1, number)
        return [MET_SECONDS + part * (place + random.random()) for place in range(number)]


class Figures(NamedTuple):
    """User-seconds as the fixtures' scorer counts them, and users wrong at the end."""

    user_seconds: float
    wrong: float
    late: float
    unknown: float
    wrong_at_end: int


@dataclass
class Outcome:
    """What a run came to."""

    chaos: Chaos
    ours: Figures
    reference: Figures
    right_after: float
    """Seconds from the calm until nobody was wrong; infinite where somebody was after all the patience."""
    wrong_left: list[str]
    misfolded: int
    """Users whose last status as folded from the ledger is not what the service answered."""
    looked: int
    corrected: int
    webhooks: int
    reference_asked: int
    dead_seconds: float
    kinds: Mapping[str, int] = field(default_factory=dict)
    rebuilt: Sequence[Held] = ()
    """Each projection of the run's ledger, held against a fresh fold of it."""


class _Run:
    """One run at work."""

    def __init__(self, chaos: Chaos, service: Reconciling) -> None:
        self._chaos = chaos
        self._service = service
        self._reference = chaos.reference()
        self._webhooks = 0
        self._dead_seconds = 0.0
        self._simulation = Simulation(self._plan(), self._happened)
        self._started_at = 0.0

    def _plan(self) -> Plan:
        chaos = self._chaos
        return Plan(
            target=self._service.url,
            nodes=self._service.nodes,
            profile=chaos.profile,
            users=chaos.users,
            seconds=None,
            rate=chaos.rate,
            faults=FAULTS,
            fault_share=FAULT_SHARE,
            start_online=chaos.start_online,
            seed=chaos.seed,
        )

    def _happened(self, event: SimulatedEvent) -> None:
        """The reference takes each webhook that the service answered with 200."""
        if isinstance(event, AnsweredWebhook) and event.answer == "ok":
            self._webhooks += 1
            self._reference.webhook(event.t, event.arrival.body)

    async def go(self) -> "_End":
        """The chaos, and then the calm until everybody is right."""
        chaos = self._chaos
        async with at_work(self._simulation) as simulation, httpx2.AsyncClient(timeout=ASK_SECONDS) as asker:
            self._started_at = time.time() - simulation.elapsed
            checks = asyncio.create_task(self._check(asker))
            async with asyncio.TaskGroup() as troubles:
                troubles.create_task(self._restart_nodes())
                troubles.create_task(self._kill_service())
                troubles.create_task(self._until(chaos.seconds))
            checks.cancel()
            await asyncio.gather(checks, return_exceptions=True)
            truth, end = simulation.truth(), simulation.elapsed
            progress(f"{end:.0f} s of chaos, {self._webhooks} webhooks taken; now calm")
            simulation.calm(traffic=False)
            return await self._calm_down(truth, end)

    async def _until(self, t: float) -> None:
        await asyncio.sleep(max(0.0, t - self._simulation.elapsed))

    async def _restart_nodes(self) -> None:
        """One node at a time is killed or stopped, and is back some seconds later."""
        random = Random(f"{self._chaos.seed}:restarts")
        for t in self._chaos.instants(self._chaos.restarts, "instants of restarts"):
            node = random.choice(self._service.nodes).name
            stops, lies = random.random() < STOP_SHARE, random.random() < EMPTY_SHARE
            seconds = random.uniform(*EMPTY_SECONDS)
            await self._until(t)
            (self._simulation.shut_down if stops else self._simulation.crash)(node)
            progress(f"{t:.0f} s: {node} is {'stopped' if stops else 'killed'}")
            if lies:
                await asyncio.sleep(DOWN_SECONDS)
                self._simulation.lies.empty_list(seconds=seconds, node=node)

    async def _kill_service(self) -> None:
        """kill -9, and a new start at once."""
        for t in self._chaos.instants(self._chaos.kills, "instants of kills"):
            await self._until(t)
            killed_at = time.monotonic()
            await asyncio.to_thread(self._service.kill)
            await asyncio.to_thread(self._service.start)
            self._dead_seconds += time.monotonic() - killed_at
            progress(f"{t:.0f} s: the service was killed, and is back after {time.monotonic() - killed_at:.1f} s")

    async def _check(self, asker: httpx2.AsyncClient) -> None:
        """The reference's checks, through the first node's API, which lies to it as it does to us."""
        simulation, reference = self._simulation, self._reference
        url = f"{simulation.api_urls[self._service.nodes[0].name]}/user/onlinestatus"
        while True:
            if rows := reference.question(simulation.elapsed):
                uids = list(dict.fromkeys(uid for uid, _ in rows))
                try:
                    answer = await asker.post(url, json=uids)
                except httpx2.TransportError:
                    continue
                reference.answer(simulation.elapsed, rows, answer.status_code, answer.content)
            await asyncio.sleep(CHECK_SECONDS)

    async def _calm_down(self, truth: dict[str, list[tuple[float, float]]], end: float) -> "_End":
        began, right_since, rights = time.monotonic(), 0.0, 0
        async with self._service.client() as client:
            while True:
                asked_at = time.monotonic()
                found = await answers(client, self._simulation.truth())
                wrong = _wrong(found, set(self._simulation.world.online()))
                right_since = asked_at if not rights else right_since
                rights = 0 if wrong else rights + 1
                late = time.monotonic() - began > self._chaos.patience * self._chaos.longest_tier_seconds
                if rights == RIGHT_CHECKS or (late and not rights):
                    break
                await asyncio.sleep(RIGHT_EVERY_SECONDS)
        right_after = float("inf") if wrong else right_since - began
        return _End(truth, end, self._started_at, right_after, wrong, found)

    def outcome(self, end: "_End", ledger: Ledger) -> Outcome:
        """The figures of both, on the same truth."""
        lines = as_lines(end.truth, end.seconds)
        shown = Shown(ledger, end.started_at)
        misfolded = 0
        for position in sorted({answer.position for answer in end.found.values()}):
            shown.fold(position)
            then = [uid for uid, answer in end.found.items() if answer.position == position]
            misfolded += sum(shown.status(uid) != end.found[uid].status for uid in then)
        shown.fold()
        reference = {
            uid: {"transitions": [(t, status) for t, status in told["transitions"] if t <= end.seconds]}
            for uid, told in self._reference.result().items()
        }
        return Outcome(
            chaos=self._chaos,
            ours=_figures(lines, shown.result(end.seconds)),
            reference=_figures(lines, reference),
            right_after=end.right_after,
            wrong_left=end.wrong,
            misfolded=misfolded,
            looked=shown.looked,
            corrected=shown.corrected,
            webhooks=self._webhooks,
            reference_asked=self._reference.asked,
            dead_seconds=self._dead_seconds,
            kinds=shown.kinds,
        )


class _End(NamedTuple):
    """A run's end: what really happened up to its calm, and what the service answered last."""

    truth: dict[str, list[tuple[float, float]]]
    seconds: float
    started_at: float
    right_after: float
    wrong: list[str]
    found: dict[str, Answered]


def _wrong(found: Mapping[str, Answered], online: set[str]) -> list[str]:
    """Users shown other than they are. Of one who came and went without any trace nothing can be known."""
    return [
        uid
        for uid, answer in found.items()
        if answer.status != ("online" if uid in online else "offline")
        and not (answer.reason == "never_observed" and uid not in online)
    ]


def _figures(lines: list[dict[str, Any]], users: Mapping[str, Any]) -> Figures:
    found = score(lines, users)
    return Figures(found["user_seconds"], found["wrong"], found["late"], found["unknown"], len(found["wrong_at_end"]))


def run(chaos: Chaos, service: Reconciling, database_url: str) -> Outcome:
    """One run on a service that is not started yet; it is stopped at the end."""
    service.start()
    try:
        at_work_now = _Run(chaos, service)
        end = asyncio.run(at_work_now.go())
        service.check()
    finally:
        service.stop()
    ledger = Ledger(database_url, SEAL_KEY)
    try:
        outcome = at_work_now.outcome(end, ledger)
    finally:
        ledger.close()
    project(database_url)
    return replace(outcome, rebuilt=held_against_rebuilt(database_url))


def ratio(ours: float, reference: float) -> float:
    """Ours as a share of the reference's."""
    return ours / reference if reference else float("inf") if ours else 0.0

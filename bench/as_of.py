"""Is a live answer, asked again later by its `as_of`, the same? Two instances, faults, another policy, a restart."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx2
import psycopg

from bench._chaos import FAULT_SHARE, FAULTS
from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, percentile, progress
from bench._service import SECRET
from bench._simulated import SOURCE, Reconciling, amounts, at_work, new_nodes, nobody_listens
from ledger.domain.instants import from_datetime
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.runtime import Simulation

POLICY = {
    "tier_vip_seconds": 2.0,
    "tier_normal_seconds": 5.0,
    "tier_cold_seconds": 30.0,
    "dark_seconds": 20.0,
    "breaker_hold_seconds": 5.0,
}
OTHER_POLICY = {**POLICY, "grace_seconds": 2.0, "confirm_seconds": 1.0}
"""The policy that everybody follows from the middle on."""

AT_ONCE = 50
"""Users of a bulk question, one of four."""

COMMIT_SECONDS = 1.0
"""A commit is taken to last no longer; where the webhooks pause it takes milliseconds."""

VARIES = ("verified_at",)
"""Fields outside of the promise: the one fact that no event tells."""


class Kept(NamedTuple):
    """A presence as it was said live."""

    uid: str
    said: dict[str, Any]

    @property
    def as_of(self) -> dict[str, Any]:
        found: dict[str, Any] = self.said["as_of"]
        return found


class Sampler:
    """Asks both instances at random instants and keeps what they say, each user's presence once more."""

    def __init__(
        self, services: Sequence[Reconciling], simulation: Simulation, seconds: float, number: int, seed: int
    ) -> None:
        self._services = services
        self._simulation = simulation
        self._seconds = seconds
        self._number = number
        self._draw = Random(seed)
        self.kept: list[Kept] = []

    async def run(self) -> None:
        """Until enough are kept and the time is over; an instance that is away is passed over."""
        async with httpx2.AsyncClient(timeout=5.0, trust_env=False) as http:
            while len(self.kept) < self._number or self._simulation.elapsed < self._seconds:
                await asyncio.sleep(self._draw.expovariate(self._number / self._seconds))
                service = self._draw.choice(self._services)
                try:
                    await self._ask(http, service)
                except httpx2.TransportError:
                    continue

    async def _ask(self, http: httpx2.AsyncClient, service: Reconciling) -> None:
        headers = service.headers
        users = [*self._simulation.truth(), "nobody"]
        if self._draw.random() < 0.25:
            uids = self._draw.sample(users, min(AT_ONCE, len(users)))
            url = f"{service.url}/v1/presence/query"
            answer = await http.post(url, json={"uids": uids}, headers=headers)
            if answer.status_code == httpx2.codes.OK:
                said = self._draw.choice(answer.json()["items"])
                self.kept.append(Kept(said["uid"], said))
        else:
            uid = self._draw.choice(users)
            answer = await http.get(f"{service.url}/v1/users/{uid}/presence", headers=headers)
            if answer.status_code == httpx2.codes.OK:
                self.kept.append(Kept(uid, answer.json()))


class Differences(NamedTuple):
    """Answers that differ: by instant and position; by the instant alone, each with how long before it the first event
    was recorded that the live answer did not know."""

    by_both: list[tuple[Kept, dict[str, Any]]]
    by_instant: list[float]


def _compare(service: Reconciling, url: str, kept: Sequence[Kept]) -> Differences:
    by_both, by_instant = [], []
    with (
        httpx2.Client(headers=service.headers, timeout=30.0, trust_env=False) as http,
        psycopg.connect(url) as database,
    ):
        for each in kept:
            at = each.as_of["at"]
            path = f"{service.url}/v1/users/{each.uid}/presence"
            again = http.get(path, params={"at": at, "position": each.as_of["position"]}).raise_for_status().json()
            if _promised(again) != _promised(each.said) or again["as_of"] != each.as_of:
                by_both.append((each, again))
            known = http.get(path, params={"at": at, "known_at": at}).raise_for_status().json()
            if {**_promised(known), "as_of": None} != {**_promised(each.said), "as_of": None}:
                by_instant.append(_overlooked_seconds(database, each))
    return Differences(by_both, by_instant)


def _promised(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in VARIES}


def _overlooked_seconds(database: psycopg.Connection[Any], kept: Kept) -> float:
    """Seconds from when the first event that the answer did not know was recorded to the answer."""
    query = "SELECT recorded_at FROM events WHERE position > %s ORDER BY position LIMIT 1"
    row = database.execute(query, (kept.as_of["position"],)).fetchone()
    asked = database.execute("SELECT %s::timestamptz", (kept.as_of["at"],)).fetchone()
    if row is None or asked is None:
        return float("inf")
    return (from_datetime(asked[0]) - from_datetime(row[0])) / 1_000_000


async def _live(
    services: tuple[Reconciling, Reconciling], simulation: Simulation, seconds: float, number_kept: int, seed: int
) -> list[Kept]:
    """Traffic and questions; in the middle both instances start again, one after the other, with another policy."""
    first, second = services
    sampler = Sampler(services, simulation, seconds, number_kept, seed)
    async with at_work(simulation):
        asking = asyncio.create_task(sampler.run())
        await asyncio.sleep(seconds / 2)
        for service in (second, first):
            await asyncio.to_thread(service.stop)
            service.set_policy(OTHER_POLICY)
            await asyncio.to_thread(service.start)
            progress(f"{len(sampler.kept)} answers kept; an instance has started again with another policy")
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(first.start)
        await asking
    return sampler.kept


@contextmanager
def _two_instances(folder: Path, url: str) -> Iterator[tuple[Reconciling, Reconciling]]:
    nodes = new_nodes(2)
    first = Reconciling(folder / "first", url, "v2.2", nodes, POLICY)
    second = Reconciling(folder / "second", url, "v2.2", nodes, POLICY)
    try:
        first.start()
        second.start()
        yield first, second
    finally:
        first.stop()
        second.stop()


def measure(options: Options) -> Report:
    """`--set users= seconds= answers= rate=`."""
    given, options = amounts(
        options,
        users="60" if options.short else "400",
        seconds="5" if options.short else "90",
        answers="40" if options.short else "1000",
        rate="15" if options.short else "40",
    )
    with server(options) as postgres, postgres.database() as url:
        with _two_instances(postgres.folder, url) as services:
            plan = _plan(options, services, int(given["users"]), float(given["rate"]))
            simulation = Simulation(plan, nobody_listens)
            kept = asyncio.run(
                _live(services, simulation, float(given["seconds"]), int(given["answers"]), options.seed)
            )
            found = _compare(services[1], url, kept)
        kinds = _kinds(url)
        return _report(options, given, postgres.describe(), kept, found, kinds)


def _plan(options: Options, services: tuple[Reconciling, Reconciling], users: int, rate: float) -> Plan:
    """Each node posts to an instance of its own."""
    nodes = tuple(
        NodePlan(node.name, api_port=node.api_port, hook=f"{service.url}/hooks/{SOURCE}/{node.name}/{SECRET}")
        for node, service in zip(services[0].nodes, services, strict=True)
    )
    return Plan(
        nodes=nodes,
        profile="v2.2",
        users=users,
        seconds=None,
        rate=rate,
        faults=FAULTS | {"restart"},
        fault_share=FAULT_SHARE,
        start_online=0.5,
        seed=options.seed,
    )


def _kinds(url: str) -> dict[str, int]:
    with psycopg.connect(url) as database:
        return dict(database.execute("SELECT kind, count(*) FROM events GROUP BY kind").fetchall())


def _report(
    options: Options,
    given: dict[str, str],
    described: str,
    kept: Sequence[Kept],
    found: Differences,
    kinds: dict[str, int],
) -> Report:
    for each, again in found.by_both[:3]:
        progress(f"differs: {json.dumps(each.said)}\nagain:   {json.dumps(again)}")
    statuses = {
        status: sum(each.said["status"] == status for each in kept) for status in ("online", "offline", "unknown")
    }
    longest = max(found.by_instant, default=0.0)
    report = Report(
        f"Live answers about {given['users']} users kept at random instants of {given['seconds']} s and asked again at "
        f"the end. Two instances, faults as in chaos, node restarts; in the middle both start again with another "
        f"policy (a grace period), and one is killed. `verified_at` is left out. Seed {options.seed}",
        described,
        ("asked again by", "answers", "differ"),
    )
    report.rows.append(("`at` and `position`", f"{len(kept):,}", str(len(found.by_both))))
    report.rows.append(("the instant alone", f"{len(kept):,}", str(len(found.by_instant))))
    report.bars += [
        Bar("answers that differ, by both", len(found.by_both), 0, at_least=False),
        Bar("answers kept", len(kept), int(given["answers"]), at_least=True),
        Bar(
            "longest time a differing answer overlooked", longest, COMMIT_SECONDS, at_least=False, unit="s", speed=True
        ),
    ]
    report.notes.append(
        f"of the answers {statuses['online']} said online, {statuses['offline']} offline, {statuses['unknown']} "
        "unknown; "
        f"in the ledger {kinds.get('corrected.v1', 0)} corrections, {kinds.get('swept.v1', 0)} sweeps, "
        f"{kinds.get('node_down.v1', 0)} nodes down, {kinds.get('configured.v1', 0)} configurations"
    )
    if found.by_instant:
        report.notes.append(
            "by the instant alone, answers overlooked events recorded up to "
            f"{number(percentile(found.by_instant, 0.5) * 1000)} ms before them (median), "
            f"{number(longest * 1000)} ms (most)"
        )
    return report


if __name__ == "__main__":
    main("as_of", "reliability.md", measure)

"""A service with a simulated cluster, both at work, and how what is shown is held against how users really are."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx2

from bench import _client
from bench._postgres import server
from bench._report import Options
from bench._simulated import SOURCE, Reconciling, answers, at_work, nobody_listens
from bench.outside._cases import Trial
from ledger.simulator.plan import Fault, Plan
from ledger.simulator.runtime import Simulation

POLICY = {"tier_vip_seconds": 2.0, "tier_normal_seconds": 6.0, "confirm_seconds": 1.0, "breaker_minimum": 1000.0}
"""Tiers shortened, so that what waits for its turn is seen within seconds."""
SETTLED_SECONDS = 45.0


class Live(NamedTuple):
    """A service with the cluster that it reconciles with, both at work."""

    service: Reconciling
    simulation: Simulation
    client: httpx2.AsyncClient

    async def wrong(self, *, but_unknown: bool = False) -> list[str]:
        """Who is not shown as they really are."""
        truth, online = self.simulation.truth(), set(self.simulation.world.online())
        shown = await answers(self.client, sorted(truth))
        return sorted(
            uid
            for uid in truth
            if shown[uid].status != ("online" if uid in online else "offline")
            and not (but_unknown and shown[uid].status == "unknown")
        )

    async def until_right(self) -> float:
        """Wait until everybody is shown as they are -> the seconds it took. Raises AssertionError with who is not."""
        began = time.monotonic()
        while wrong := await self.wrong():
            shown = await answers(self.client, wrong)
            told = {uid: (shown[uid].status, shown[uid].reason) for uid in wrong[:5]}
            assert time.monotonic() - began < SETTLED_SECONDS, f"{len(wrong)} wrong after {SETTLED_SECONDS:g} s: {told}"
            await asyncio.sleep(0.2)
        return time.monotonic() - began

    async def source(self) -> dict[str, Any]:
        """The source as `GET /v1/sources` has it."""
        (found,) = (await self.client.get("/v1/sources")).raise_for_status().json()["items"]
        return dict(found)

    async def runs(self) -> list[dict[str, Any]]:
        """Its runs."""
        answer = await self.client.get(f"/v1/sources/{SOURCE}/runs", params={"limit": 100})
        return list(answer.raise_for_status().json()["items"])

    async def events(self, uid: str) -> list[dict[str, Any]]:
        """A user's history."""
        answer = await self.client.get(f"/v1/users/{uid}/events", params={"limit": 1000})
        return list(answer.raise_for_status().json()["items"])

    async def ended(self, path: str) -> dict[str, Any]:
        """A run, once it has ended."""
        for _ in range(600):
            run = (await self.client.get(path)).raise_for_status().json()
            if run["state"] != "running":
                return dict(run)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{path} does not end")

    def calm(self) -> None:
        self.simulation.calm(traffic=False)


@asynccontextmanager
async def _live(
    trial: Trial,
    *,
    nodes: int = 2,
    token: str = "",
    rate: float = 8.0,
    start_online: float = 0.5,
    faults: frozenset[Fault] = frozenset(),
) -> AsyncIterator[Live]:
    with server(Options(trial.short, "", False, 0)) as postgres, postgres.database() as url:
        service = Reconciling(trial.folder / "service", url, "v2.2", nodes, POLICY, token)
        service.start()
        try:
            plan = Plan(
                service.url,
                SOURCE,
                service.nodes,
                "v2.2",
                users=40,
                seconds=None,
                rate=rate,
                seed=7,
                token=token,
                start_online=start_online,
                faults=faults,
            )
            async with at_work(Simulation(plan, nobody_listens)) as simulation, service.client() as client:
                yield Live(service, simulation, client)
            service.check()
        finally:
            service.stop()


def held(trial: Trial, check: Callable[[Live], Awaitable[str]], **how: Any) -> str:
    """Check something while both are at work -> what was seen."""

    async def run() -> str:
        async with _live(trial, **how) as live:
            return await check(live)

    return _client.run(run())

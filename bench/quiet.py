"""Does any alert begin while nothing is wrong? Users come and go, the service has its usual settings."""

import asyncio
from collections import Counter

import httpx2

from bench._postgres import server
from bench._report import Bar, Options, Report, main, progress
from bench._simulated import Reconciling, amounts, at_work, nobody_listens, profile_for
from ledger.simulator.plan import Plan
from ledger.simulator.runtime import Simulation

OF_THE_MACHINE = frozenset({"disk_low", "clock_skew"})
"""Whether these are on is the machine's to say."""
EVERY_SECONDS = 10.0


def measure(options: Options) -> Report:
    """`--set users= seconds= rate= nodes= profile=v2.2`."""
    given, options = amounts(
        options,
        users="300" if options.short else "10000",
        seconds="10" if options.short else "600",
        rate="50",
        nodes="2",
        profile="v2.2",
    )
    profile = profile_for(given["profile"])
    with server(options) as postgres, postgres.database() as url:
        service = Reconciling(postgres.folder / "service", url, profile, int(given["nodes"]), {})
        plan = Plan(
            target=service.url,
            nodes=service.nodes,
            profile=profile,
            users=int(given["users"]),
            seconds=None,
            rate=float(given["rate"]),
            start_online=0.5,
            seed=options.seed,
        )
        service.start()
        try:
            alerts, changes = asyncio.run(_quiet(service, plan, float(given["seconds"])))
        finally:
            service.stop()
        report = Report(
            f"{given['seconds']} s in which {given['users']} users come and go, {given['rate']} changes a second, on "
            f"{given['nodes']} nodes of {profile}; the settings are the defaults. Seed {options.seed}",
            postgres.describe(),
            ("webhook items", "alerts"),
        )
        names = ", ".join(f"{name} {number}" for name, number in sorted(alerts.items())) or "none"
        report.rows.append((f"{changes:,}", names))
        told = sum(number for name, number in alerts.items() if name not in OF_THE_MACHINE)
        report.bars.append(Bar("alerts that began", told, 0, at_least=False))
        return report


async def _quiet(service: Reconciling, plan: Plan, seconds: float) -> tuple[Counter[str], int]:
    """The alerts that began, by name, and how many items the ledger has."""
    async with (
        at_work(Simulation(plan, nobody_listens)) as simulation,
        httpx2.AsyncClient(base_url=service.url, headers=service.headers, timeout=60) as client,
    ):
        while simulation.elapsed < seconds:
            await asyncio.sleep(min(EVERY_SECONDS, seconds - simulation.elapsed))
            progress(f"{simulation.elapsed:.0f} s: {await _names(client) or 'no alert'}")
        head = (await client.get("/health/ready")).json()["head"]
        return Counter(await _names(client)), head


async def _names(client: httpx2.AsyncClient) -> list[str]:
    answer = (await client.get("/v1/alerts", params={"limit": 10_000})).raise_for_status()
    return [str(each["name"]) for each in answer.json()["items"]]


if __name__ == "__main__":
    main("quiet", "reliability.md", measure)

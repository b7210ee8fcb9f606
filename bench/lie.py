"""Is anybody turned offline when, after a leader change, the query says so of many who are connected?"""

import asyncio
import time
from dataclasses import dataclass
from typing import NamedTuple

import httpx2
import psycopg

from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, progress
from bench._simulated import SOURCE, Reconciling, amounts, answers, at_work, nobody_listens, profile_for
from ledger.domain.policy import DEFAULT_POLICY
from ledger.simulator.plan import Plan
from ledger.simulator.runtime import Simulation

SHARE = 0.3
ALL_ONLINE_SECONDS = 120.0
LOOK_SECONDS = 0.2
ENOUGH_LOOKS = 3
"""At each user."""

# As the looks of users who came at different times are, after some hours.
_SPREAD = """
UPDATE looks SET due_at = extract(epoch FROM clock_timestamp()) * 1000000 + random() * %s * 1000000 WHERE source = %s
"""

_HEAD = "SELECT coalesce(max(position), 0) FROM events"
_TURNED_OFFLINE = """
SELECT count(*) FROM ledger_events
 WHERE position > %s AND stream LIKE 'user:%%'
   AND payload ->> 'status_before' = 'online' AND payload ->> 'status_after' <> 'online'
"""
_KINDS = """
SELECT kind, recorded_at FROM events
 WHERE position > %s AND kind IN ('breaker_opened.v1', 'breaker_closed.v1') ORDER BY position
"""
_UNFINISHED = "SELECT count(*) FROM drifts WHERE state IN ('open', 'held')"
_BEHIND = """
SELECT (SELECT position FROM events ORDER BY position DESC LIMIT 1) - position FROM projections WHERE name = 'drift'
"""
_LOOKS = "SELECT coalesce(sum((health ->> 'users_asked')::bigint), 0) FROM node_health WHERE source = %s AND node <> ''"


class Lie(NamedTuple):
    """One lie: to how many connected users, how long, and by which tier they are looked at.

    `spread`: their looks are spread over the tier's bound, as in a service that has run for long; else all are due
    together, in the middle of the lie at the latest.
    """

    users: int
    seconds: float
    tier_normal_seconds: float
    hold_seconds: float
    spread: bool
    seed: int
    ends_early: bool
    """Whether it ends once the breaker was seen open, or everybody was looked at so often that none will open."""


@dataclass
class Found:
    """What became of it. Instants in seconds after the lie began."""

    turned_offline: int
    opened_after: list[float]
    closed_after: list[float]
    shown: bool
    """Whether `/v1/sources` said that the breaker is open."""
    measured: bool
    """Whether `/metrics` did."""
    looks: int
    """Users asked about while the lie lasted."""
    unfinished: int
    online: int
    """Users shown online in the end."""


def measure(options: Options) -> Report:
    """One lie for each number of users, with the usual tiers and with short ones: `--set users=100,2000 seconds= …`."""
    given, options = amounts(
        options,
        users="120" if options.short else "100,2000,20000",
        seconds="120" if options.short else "20",
        tiers="4" if options.short else f"{DEFAULT_POLICY.tier_normal_seconds:g},15",
        hold_seconds="6" if options.short else f"{DEFAULT_POLICY.breaker_hold_seconds:g}",
        profile="v2.2",
    )
    lies = [
        Lie(
            int(users),
            float(given["seconds"]),
            float(tier),
            float(given["hold_seconds"]),
            spread,
            options.seed,
            options.short,
        )
        for users in given["users"].split(",")
        for tier in given["tiers"].split(",")
        for spread in ((True,) if options.short else (True, False))
    ]
    with server(options) as postgres:
        report = Report(
            f"Users who are all connected, of three slots in ten of whom the query says for {given['seconds']} s that "
            f"they are offline ({given['profile']}, one node; the breaker holds for {given['hold_seconds']} s, tiers "
            f"shortened where said, the rest as usual). Seed {options.seed}",
            postgres.describe(),
            (
                "users",
                "tier, s",
                "looks due",
                "asked about meanwhile",
                "breaker opened after, s",
                "times",
                "turned offline",
                "closed for good after, s",
            ),
        )
        every = []
        for place, lie in enumerate(lies):
            progress(f"lie {place + 1} of {len(lies)}: {lie}")
            with postgres.database() as url:
                policy = {
                    "tier_normal_seconds": lie.tier_normal_seconds,
                    "breaker_hold_seconds": lie.hold_seconds,
                }
                service = Reconciling(postgres.folder / f"s{place}", url, profile_for(given["profile"]), 1, policy)
                every.append((lie, _run(lie, service, url, given["profile"])))
    report.rows += [_row(lie, found) for lie, found in every]
    report.bars += _bars([found for _, found in every], sum(lie.users for lie in lies))
    return report


def _row(lie: Lie, found: Found) -> tuple[str, ...]:
    return (
        f"{lie.users:,}",
        f"{lie.tier_normal_seconds:g}",
        "spread" if lie.spread else "together",
        f"{found.looks:,}",
        number(found.opened_after[0]) if found.opened_after else "never",
        str(len(found.opened_after)),
        f"{found.turned_offline:,}",
        number(found.closed_after[-1]) if found.closed_after else "never",
    )


def _bars(found: list[Found], users: int) -> list[Bar]:
    return [
        Bar("users turned offline", sum(f.turned_offline for f in found), 0, at_least=False),
        # Of few users a full scan may have settled all doubts before they were enough.
        Bar("lies at which no breaker opened", sum(not f.opened_after for f in found), 0, at_least=False, speed=True),
        Bar("breakers that stayed open", sum(len(f.opened_after) != len(f.closed_after) for f in found), 0, False),
        Bar("lies that /v1/sources did not show", sum(not f.shown for f in found), 0, at_least=False, speed=True),
        Bar("lies that /metrics did not show", sum(not f.measured for f in found), 0, at_least=False, speed=True),
        Bar("drifts left unfinished", sum(f.unfinished for f in found), 0, at_least=False),
        Bar("users shown online in the end", sum(f.online for f in found), users, at_least=True),
    ]


def _run(lie: Lie, service: Reconciling, url: str, profile: str) -> Found:
    service.start()
    try:
        found = asyncio.run(_lie(lie, service, url, profile))
        service.check()
        return found
    finally:
        service.stop()


async def _lie(lie: Lie, service: Reconciling, url: str, profile: str) -> Found:
    plan = Plan(
        target=service.url,
        nodes=service.nodes,
        profile=profile_for(profile),
        users=lie.users,
        seconds=None,
        rate=1.0,
        start_online=1.0,
        seed=lie.seed,
    )
    simulation = Simulation(plan, nobody_listens)
    simulation.calm(traffic=False)
    async with at_work(simulation), service.client() as client:
        await _all_online(client, simulation, lie.users)
        with psycopg.connect(url, autocommit=True) as connection:
            # The last to come was followed by then.
            await asyncio.sleep(1.0)
            connection.execute(_SPREAD, (lie.tier_normal_seconds if lie.spread else 0.0, SOURCE))
            return await _told(lie, connection, client, simulation)


async def _all_online(client: httpx2.AsyncClient, simulation: Simulation, users: int) -> int:
    """Wait until everybody is shown online; gives how many are, after a while."""
    deadline = time.monotonic() + ALL_ONLINE_SECONDS
    while True:
        found = await answers(client, simulation.world.online())
        online = sum(answer.status == "online" for answer in found.values())
        if online == users or time.monotonic() > deadline:
            return online
        await asyncio.sleep(LOOK_SECONDS)


async def _told(
    lie: Lie, connection: psycopg.Connection[tuple[object, ...]], client: httpx2.AsyncClient, simulation: Simulation
) -> Found:
    head, looks_before = _number(connection, _HEAD), _number(connection, _LOOKS, SOURCE)
    began, began_at = time.monotonic(), time.time()
    simulation.lies.leader_change(SHARE, seconds=lie.seconds)
    shown = measured = False
    lying, looks = True, 0
    # The breaker's last hold begins with the lie's end at the latest; each is closed, and its users looked at, after.
    patience = lie.seconds + 2 * lie.hold_seconds + 3 * DEFAULT_POLICY.confirm_seconds + ALL_ONLINE_SECONDS
    while time.monotonic() - began < patience:
        shown = shown or await _source_shows(client)
        measured = measured or await _metrics_show(client)
        lying = lying and time.monotonic() - began < lie.seconds
        looks = _number(connection, _LOOKS, SOURCE) - looks_before if lying else looks
        if lie.ends_early and lying and ((shown and measured) or looks > ENOUGH_LOOKS * lie.users):
            simulation.calm(traffic=False)
            lying = False
        if not lying and _is_calm(connection, head):
            break
        await asyncio.sleep(LOOK_SECONDS)
    online = await _all_online(client, simulation, lie.users)
    changes = [(str(kind), at.timestamp() - began_at) for kind, at in connection.execute(_KINDS, (head,))]  # type: ignore[attr-defined]
    return Found(
        turned_offline=_number(connection, _TURNED_OFFLINE, head),
        opened_after=[t for kind, t in changes if kind.startswith("breaker_opened")],
        closed_after=[t for kind, t in changes if kind.startswith("breaker_closed")],
        shown=shown,
        measured=measured,
        looks=looks,
        unfinished=_number(connection, _UNFINISHED),
        online=online,
    )


def _is_calm(connection: psycopg.Connection[tuple[object, ...]], head: int) -> bool:
    """Whether the breaker is closed and no drift is open or held."""
    kinds = [kind for kind, _ in connection.execute(_KINDS, (head,))]
    closed = len(kinds) % 2 == 0
    return closed and _number(connection, _BEHIND) == 0 and _number(connection, _UNFINISHED) == 0


async def _source_shows(client: httpx2.AsyncClient) -> bool:
    answer = await client.get("/v1/sources")
    answer.raise_for_status()
    source = next(item for item in answer.json()["items"] if item["name"] == SOURCE)
    return bool(source.get("breaker", {}).get("open"))


async def _metrics_show(client: httpx2.AsyncClient) -> bool:
    answer = await client.get("/metrics")
    answer.raise_for_status()
    return f'presence_ledger_breaker_open{{source="{SOURCE}"}} 1.0' in answer.text


def _number(connection: psycopg.Connection[tuple[object, ...]], query: str, *parameters: object) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return int(str(row[0]))


if __name__ == "__main__":
    main("lie", "reliability.md", measure)

"""Do two busy instances on one database take more webhooks than one? What of it is judged twice?"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from bench import _client, _service
from bench._load import items_repeated
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._serve import TIMES_PATH
from bench._service import Service
from bench._simulated import amounts
from bench.ingest import bodies_of

BODY_ITEMS = 512
ONE, TWO = "one instance", "two instances"
STEPS = ("judge", "encode states", "load states", "transaction")
"""Those of `_serve` that are looked at, each by the processor of its thread."""


class Ingested(NamedTuple):
    """One round: items a second, and microseconds an item, of all instances together."""

    speed: float
    service: float
    postgres: float
    steps: dict[str, float]


def measure(options: Options) -> Report:
    """Rounds of one and of two in turn, each on a database of its own; a round's ratio is of neighbours in time.

    `--set items= rounds=`
    """
    given, options = amounts(options, items=str(options.pick(200_000, 3_000)), rounds=str(options.pick(7, 1)))
    items, rounds = int(given["items"]), int(given["rounds"])
    found: dict[str, list[Ingested]] = {ONE: [], TWO: []}
    wrong = 0
    with server(options) as postgres:
        for each in range(rounds):
            for way in (ONE, TWO) if each % 2 else (TWO, ONE):
                ingested, unlike = _round(postgres, way, items, each)
                progress(f"{way}: {ingested.speed:,.0f} items/s")
                found[way].append(ingested)
                wrong += unlike
        described = postgres.describe()
    report = Report(
        f"{items:,} items a round in bodies of {BODY_ITEMS} from {_service.NODES} nodes at once, all to one instance, "
        f"or each half of the nodes, whose users are others, to one of two; one database; medians of {rounds} rounds",
        described,
        ("", "items/s", "µs of processor an item, services", "PostgreSQL", *(f"to {step}" for step in STEPS)),
    )
    for way, of in found.items():
        figures = [median([each.speed for each in of]), median([each.service for each in of])]
        figures += [median([each.postgres for each in of])]
        report.rows.append((way, *map(number, figures), *(number(_step(of, step)) for step in STEPS)))
    ratio = median([two.speed / one.speed for one, two in zip(found[ONE], found[TWO], strict=True)])
    report.bars += [
        Bar("items that are not once in the ledger", wrong, 0, at_least=False),
        Bar("two instances, of the speed of one (above it, decision 0055 is to be thought over)", ratio, 1.0,
            at_least=False, speed=True),
    ]  # fmt: skip
    report.notes += _on_paper(found)
    return report


def _round(postgres: Server, way: str, items: int, seed: int) -> tuple[Ingested, int]:
    """-> (what it came to, how many items are not once in the ledger)"""
    number_of = 1 if way == ONE else 2
    bodies = bodies_of(BODY_ITEMS, items, seed)
    with postgres.database() as url, ExitStack() as stack:
        folders = [postgres.folder / f"{way[:3]}-{seed}-{each}" for each in range(number_of)]
        services = [
            stack.enter_context(_service.running(folder, url, _service.WITH_EXTRAS, BENCH_PROFILE="1"))
            for folder in folders
        ]
        postgres.settle()
        before = _processor(services), postgres.cpu_seconds()
        seconds = _client.run(_drive(services, bodies))
        after = _processor(services), postgres.cpu_seconds()
        micro = 1_000_000 / items
        steps = _client.run(_steps(services))
        wrong = items_repeated(url) + abs(_stored(url) - items)
        spent = (after[0] - before[0]) * micro, (after[1] - before[1]) * micro
    return Ingested(items / seconds, *spent, {step: value * micro for step, value in steps.items()}), wrong


def _stored(url: str) -> int:
    """Items in the ledger."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM events WHERE kind = 'webhook_observed.v2'").fetchone()
    assert row is not None
    stored: int = row[0]
    return stored


async def _drive(services: Sequence[Service], bodies: Sequence[Sequence[bytes]]) -> float:
    """Each node posts to one of the instances."""
    share = len(bodies) // len(services)
    halves = [range(each * share, (each + 1) * share) for each in range(len(services))]
    requests = [
        [iter([service.webhook(body, node) for body in bodies[node]]) for node in nodes]
        for service, nodes in zip(services, halves, strict=True)
    ]
    return max(await asyncio.gather(*(_client.drive(s.port, each) for s, each in zip(services, requests, strict=True))))


def _processor(services: Sequence[Service]) -> float:
    return sum(process_cpu_seconds(service.pid) for service in services)


async def _steps(services: Sequence[Service]) -> dict[str, float]:
    """Seconds by step, of all instances."""
    total = dict.fromkeys(STEPS, 0.0)
    for service in services:
        connection = await _client.connect(service.port)
        told = json.loads((await connection.exchange(_client.get(TIMES_PATH, _service.KEY))).body)
        connection.close()
        for step in STEPS:
            total[step] += told[step][1] if step in told else 0.0
    return total


def _step(of: Sequence[Ingested], step: str) -> float:
    return median([each.steps[step] for each in of])


def _on_paper(found: dict[str, list[Ingested]]) -> list[str]:
    """What cores to spare would give: one instance judges alongside its commits, two judge again within them."""
    one, two = found[ONE], found[TWO]
    service, written = (median([each.service for each in one]), median([each.postgres for each in one]))
    committing = _step(one, "transaction") + written
    judging = sum(_step(one, step) for step in STEPS[:-1])
    again = _step(two, "judge") / _step(one, "judge") - 1
    alone, several = number(1e6 / max(service, committing)), number(1e6 / (committing + judging))
    return [
        f"judged twice by two instances: {again:.0%} of the items",
        (
            f"on paper, with cores to spare: one instance is bound by its interpreter, {service:.1f} µs an item, or by "
            f"its commits, {committing:.1f}: {alone} items/s; busy ones, however many, by commits within which all is "
            f"judged again, {committing + judging:.1f} µs: {several} items/s"
        ),
    ]


if __name__ == "__main__":
    main("instances", "performance.md", measure)

"""Metrics, alerts and the console: how fast do webhooks become durable with all of them looked at, and without?"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench import _client, _service
from bench._in_turn import Costs, in_turn
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, number
from bench.console import log_in
from bench.ingest import bodies_of

BODY_ITEMS = 512
WATCHED, UNWATCHED = "with them", "without"
SCRAPE_SECONDS, PAGE_SECONDS = 5.0, 2.0
"""A Prometheus that looks often, and somebody who opens the first page again and again."""
METRICS = ("presence_ledger_webhook_items_total", "presence_ledger_alerts")


def measure(options: Options) -> Report:
    """Rounds of both in turn, each on a database of its own; the ratio of a round is of neighbours in time."""
    items, rounds, warm_up = options.pick(200_000, 2_000), options.pick(9, 1), options.pick(1, 0)
    with server(options) as postgres:
        report = Report(
            f"{items:,} items a round in bodies of {BODY_ITEMS} from {_service.NODES} nodes at once, to durable and "
            "projected: counted, with alerts evaluated, `/metrics` of both listeners read every "
            f"{SCRAPE_SECONDS:g} s and the console's first page every {PAGE_SECONDS:g} s; and with the same front, but "
            f"nothing counted, evaluated or read, in turn; medians of {rounds} rounds after {warm_up} to warm up",
            postgres.describe(),
            ("", "ingest, events/s", "of processor, service, µs an event"),
        )
        found = in_turn((WATCHED, UNWATCHED), rounds, warm_up, lambda way, seed: _round(postgres, way, items, seed))
    report.rows += [(way, *map(number, found.medians(way))) for way in (WATCHED, UNWATCHED)]
    speed, cost = found.speed_ratio(WATCHED, UNWATCHED), found.cost_ratio(WATCHED, UNWATCHED)
    report.bars.append(Bar("speed with them, of that without", speed, 0.95, at_least=True, speed=True))
    report.bars.append(Bar("processor with them, of that without", cost, 1.05, at_least=False, speed=True))
    return report


def _round(postgres: Server, which: str, items: int, seed: int) -> tuple[float, Costs]:
    """Events a second, and microseconds of processor an event in the service."""
    folder = postgres.folder / f"service-{seed}-{which.rsplit(maxsplit=1)[-1]}"
    extras = {"BENCH_UNWATCHED": "1"} if which == UNWATCHED else {}
    with (
        postgres.database() as url,
        _service.running_with_front(folder, url, _service.WITH_EXTRAS, **extras) as service,
    ):
        requests = [
            [service.webhook(body, node) for body in of] for node, of in enumerate(bodies_of(BODY_ITEMS, items, seed))
        ]
        postgres.settle()
        before = process_cpu_seconds(service.pid)
        seconds = _client.run(_driven(service, requests, watched=which == WATCHED))
        after = process_cpu_seconds(service.pid)
    return items / seconds, ((after - before) * 1_000_000 / items,)


async def _driven(service: _service.Service, requests: list[list[bytes]], *, watched: bool) -> float:
    each = [iter(of) for of in requests]
    if not watched:
        return await _client.drive(service.port, each)
    async with _watching(service):
        return await _client.drive(service.port, each)


@asynccontextmanager
async def _watching(service: _service.Service) -> AsyncIterator[None]:
    """Whoever reads figures and pages meanwhile. Raises RuntimeError where they are told nothing."""
    scrape = _client.get("/metrics", _service.KEY)
    cookie = await asyncio.to_thread(log_in, service.front_port)
    page = f"GET / HTTP/1.1\r\nHost: console\r\nCookie: {cookie}\r\n\r\n".encode()
    told = [
        await _asked(service.port, scrape, *METRICS),
        await _asked(service.front_port, scrape, "presence_ledger_streams"),
        await _asked(service.front_port, page, "<h1>"),
    ]
    tasks = [
        asyncio.create_task(_again(service.port, scrape, SCRAPE_SECONDS)),
        asyncio.create_task(_again(service.front_port, scrape, SCRAPE_SECONDS)),
        asyncio.create_task(_again(service.front_port, page, PAGE_SECONDS)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not all(told):
        raise RuntimeError(f"not everything that is looked at is there: {told}")


async def _asked(port: int, request: bytes, *wanted: str) -> bool:
    connection = await _client.connect(port)
    try:
        answer = await connection.exchange(request)
        return all(re.search(each, answer.body.decode()) for each in wanted)
    finally:
        connection.close()


async def _again(port: int, request: bytes, seconds: float) -> None:
    connection = await _client.connect(port)
    try:
        while True:
            await connection.exchange(request)
            await asyncio.sleep(seconds)
    finally:
        connection.close()


if __name__ == "__main__":
    main("watched", "performance.md", measure)

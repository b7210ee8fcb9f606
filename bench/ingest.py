"""How fast do webhooks become durable, projected events, against binary COPY of the same rows into the same tables?"""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench import _client, _copy, _service
from bench._crowd import Crowd
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._serve import TIMES_PATH

BODY_ITEMS = (512, 1000)
USERS = 24_000
GOAL = 0.5


class Ingested(NamedTuple):
    """One round: events a second over HTTP and by COPY; seconds of processor of the service and of PostgreSQL."""

    events: int
    seconds: float
    copied_seconds: float
    service_cpu: float
    postgres_cpu: float
    times: dict[str, tuple[float, float]]

    @property
    def ratio(self) -> float:
        return self.copied_seconds / self.seconds


def measure(options: Options) -> Report:
    """Rounds of both in turn, each on a database of its own; the ratio of a round is of neighbours in time."""
    items, rounds = options.pick(200_000, 3_000), options.pick(5, 1)
    with server(options) as postgres:
        report = Report(
            f"Webhooks of {USERS:,} users who come and go, {_service.NODES} nodes posting at once, to durable and "
            f"projected; COPY binary of the same rows of `events` and `current`, {_copy.BLOCK_ROWS:,} a transaction, "
            f"one connection; {items:,} items a round, medians of {rounds} rounds",
            postgres.describe(),
            ("items a body", "ingest, events/s", "COPY, events/s", "ratio", "lowest", "highest"),
        )
        for body_items in BODY_ITEMS:
            done = [_round(postgres, body_items, items, number, options) for number in range(rounds)]
            report.rows.append(
                (
                    f"{body_items:,}",
                    number(median([r.events / r.seconds for r in done])),
                    number(median([r.events / r.copied_seconds for r in done])),
                    number(median([r.ratio for r in done])),
                    number(min(r.ratio for r in done)),
                    number(max(r.ratio for r in done)),
                )
            )
            ratio = median([r.ratio for r in done])
            report.bars.append(
                Bar(f"ratio with {body_items:,} items a body (goal {GOAL})", ratio, 0.25, at_least=True, speed=True)
            )
            report.notes += _where_time_goes(done[-1], body_items)
    return report


def _round(postgres: Server, body_items: int, items: int, number: int, options: Options) -> Ingested:
    bodies = bodies_of(body_items, items, number)
    with postgres.database() as url:
        with _service.running(
            postgres.folder / f"service-{body_items}-{number}",
            url,
            _service.WITH_EXTRAS if options.profile else _service.PRODUCT,
            BENCH_PROFILE="1" if options.profile else "",
        ) as service:
            requests = [[service.webhook(body, node) for body in of] for node, of in enumerate(bodies)]
            postgres.settle()
            before = process_cpu_seconds(service.pid), postgres.cpu_seconds()
            seconds = _client.run(_client.drive(service.port, [iter(of) for of in requests]))
            after = process_cpu_seconds(service.pid), postgres.cpu_seconds()
            times = _client.run(_times(service)) if options.profile else {}
        events = _check(url, items)
        blocks = _copy.blocks_of(url)
    copied = _copied_seconds(postgres, blocks, events)
    done = Ingested(items, seconds, copied, after[0] - before[0], after[1] - before[1], times)
    progress(f"{body_items} items a body: {items / seconds:,.0f} against {items / copied:,.0f} events/s")
    return done


def bodies_of(body_items: int, items: int, seed: int) -> Sequence[Sequence[bytes]]:
    """Each node's bodies, together exactly so many items."""
    crowds = [Crowd(node, USERS // _service.NODES, seed) for node in range(_service.NODES)]
    bodies: list[list[bytes]] = [[] for _ in crowds]
    for count, size in enumerate(_sizes(body_items, items)):
        bodies[count % len(crowds)].append(crowds[count % len(crowds)].body(size))
    return bodies


def _sizes(body_items: int, items: int) -> Iterator[int]:
    for start in range(0, items, body_items):
        yield min(body_items, items - start)


def _check(url: str, items: int) -> tuple[int, int]:
    """Everything is in the ledger: an event an item, alongside those of deliveries, start and configuration."""
    rows = _copy.counts(url)
    if rows[0] < items:
        raise RuntimeError(f"{rows[0]} events of {items} items are in the ledger")
    return rows


def _copied_seconds(postgres: Server, blocks: list[_copy.Block], rows: tuple[int, int]) -> float:
    with postgres.database() as url:
        postgres.settle()
        seconds = _copy.copy_seconds(url, blocks)
        if _copy.counts(url) != rows:
            raise RuntimeError("COPY did not bring the same rows")
    return seconds


async def _times(service: _service.Service) -> dict[str, tuple[float, float]]:
    connection = await _client.connect(service.port)
    answer = await connection.exchange(_client.get(TIMES_PATH, _service.KEY))
    times: dict[str, tuple[float, float]] = json.loads(answer.body)
    return times


def _where_time_goes(done: Ingested, body_items: int) -> list[str]:
    """Microseconds an event: of the processor, and of each step where it was measured."""
    micro = 1_000_000 / done.events
    clock, service, postgres = (x * micro for x in (done.seconds, done.service_cpu, done.postgres_cpu))
    lines = [
        (
            f"{body_items:,} items a body, microseconds an event: {clock:.1f} on the clock; of processor time "
            f"{service:.1f} in the service, {postgres:.1f} in PostgreSQL"
        )
    ]
    if done.times:
        steps = [
            f"{step} {wall * micro:.1f} ({cpu * micro:.1f} of processor)"
            for step, (wall, cpu) in sorted(done.times.items())
        ]
        inner = ("parse", "judge", "load states", "transaction")
        rest = done.service_cpu - sum(done.times[step][1] for step in inner if step in done.times)
        lines.append(f"  by step: {'; '.join(steps)}; HTTP and all else {rest * micro:.1f} of processor")
    return lines


if __name__ == "__main__":
    main("ingest", "performance.md", measure)

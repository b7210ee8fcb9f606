"""What does sealing cost the append: how fast do webhooks become durable with seals, against the same without?"""

import psycopg

from bench import _client, _service
from bench._in_turn import in_turn
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, number
from bench.ingest import bodies_of

BODY_ITEMS = 512
SEALED, UNSEALED = "with seals", "without"


def measure(options: Options) -> Report:
    """Rounds of both in turn, each on a database of its own; the ratio of a round is of neighbours in time."""
    items, rounds, warm_up = options.pick(200_000, 2_000), options.pick(9, 1), options.pick(1, 0)
    with server(options) as postgres:
        report = Report(
            f"{items:,} items a round in bodies of {BODY_ITEMS} from {_service.NODES} nodes at once, to durable and "
            f"projected, with seals and without in turn; medians of {rounds} rounds after {warm_up} to warm up",
            postgres.describe(),
            ("", "ingest, events/s", "of processor, service, µs an event", "of processor, PostgreSQL"),
        )
        found = in_turn((SEALED, UNSEALED), rounds, warm_up, lambda way, seed: _round(postgres, way, items, seed))
    report.rows += [(way, *map(number, found.medians(way))) for way in (SEALED, UNSEALED)]
    ratio = found.speed_ratio(SEALED, UNSEALED)
    report.bars.append(Bar("speed with seals, as a share of that without", ratio, 0.9, at_least=True, speed=True))
    return report


def _round(postgres: Server, which: str, items: int, seed: int) -> tuple[float, tuple[float, float]]:
    """Events a second, and microseconds of processor an event in the service and in PostgreSQL."""
    folder = postgres.folder / f"service-{seed}-{which[:5].strip()}{len(which)}"
    extras = {"BENCH_UNSEALED": "1"} if which == UNSEALED else {}
    with postgres.database() as url:
        with _service.running(folder, url, _service.WITH_EXTRAS, **extras) as service:
            requests = [
                [service.webhook(body, node) for body in of]
                for node, of in enumerate(bodies_of(BODY_ITEMS, items, seed))
            ]
            postgres.settle()
            before = process_cpu_seconds(service.pid), postgres.cpu_seconds()
            seconds = _client.run(_client.drive(service.port, [iter(of) for of in requests]))
            after = process_cpu_seconds(service.pid), postgres.cpu_seconds()
        _check(url, which)
    micro = 1_000_000 / items
    return items / seconds, ((after[0] - before[0]) * micro, (after[1] - before[1]) * micro)


def _check(url: str, which: str) -> None:
    """Every event is sealed, or none is."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT coalesce(sum(last_position - first_position + 1), 0) FROM seals").fetchone()
        head = connection.execute("SELECT max(position) FROM events").fetchone()
    assert row is not None
    assert head is not None
    if row[0] != (head[0] if which == SEALED else 0):
        raise RuntimeError(f"{which}: {row[0]} of {head[0]} events are sealed")


if __name__ == "__main__":
    main("seal_cost", "performance.md", measure)

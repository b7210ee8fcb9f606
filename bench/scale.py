"""Does an event cost more in a ledger of ten million events than in one of a hundred thousand?"""

from typing import NamedTuple

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder

BODY_ITEMS = 512


class Cost(NamedTuple):
    """Microseconds an event: on the clock, and of processor time in the service and in PostgreSQL."""

    clock: float
    service: float
    postgres: float


def measure(options: Options) -> Report:
    """One crowd's ledger of each size, made by the product's own rules and COPY; then the same load on each in turn."""
    sizes = (options.pick(100_000, 2_000), options.pick(10_000_000, 4_000))
    items, rounds, users = options.pick(200_000, 8_192), options.pick(5, 1), options.pick(20_000, 800)
    warm_up = options.pick(1, 0)
    with server(options) as postgres, postgres.database() as small, postgres.database() as large:
        urls, costs = (small, large), tuple[list[Cost], list[Cost]](([], []))
        crowds = [seeded(url, size, users) for url, size in zip(urls, sizes, strict=True)]
        for round_number in range(rounds + warm_up):
            for which, url in enumerate(urls):
                folder = f"service-{round_number}-{which}"
                costs[which].append(load(postgres, folder, url, crowds[which], items))
                progress(f"{sizes[which]:,} events: {costs[which][-1].clock:.1f} microseconds an event")
        report = Report(
            f"{items:,} items a round in bodies of {BODY_ITEMS} from {_service.NODES} nodes, {users:,} users who come "
            f"and go, into ledgers of two sizes in turn, medians of {rounds} rounds after {warm_up} to warm up",
            postgres.describe(),
            ("events in the ledger", "microseconds an event", "of processor, service", "of processor, PostgreSQL"),
        )
    medians = [Cost(*(median(column) for column in zip(*each[warm_up:], strict=True))) for each in costs]
    report.rows += [(f"{size:,}", *(number(x) for x in cost)) for size, cost in zip(sizes, medians, strict=True)]
    ratio = median([b.clock / a.clock for a, b in zip(costs[0][warm_up:], costs[1][warm_up:], strict=True)])
    report.bars.append(Bar("cost in the larger ledger, as a multiple", ratio, 1.3, at_least=False, speed=True))
    return report


def seeded(url: str, events: int, users: int) -> list[Crowd]:
    """Make a ledger of so many events by these users, half of them at each node -> the crowds, as they are then."""
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    progress(f"making a ledger of {events:,} events")
    seeder = Seeder(url, crowds)
    seeder.everybody_online()
    seeder.come_and_go(events - users, BODY_ITEMS)
    return crowds


def load(postgres: Server, folder: str, url: str, crowds: list[Crowd], items: int) -> Cost:
    """Post so many items to a service of its own on a database -> what each of them cost."""
    with _service.running(postgres.folder / folder, url) as service:
        bodies = items // BODY_ITEMS // _service.NODES
        requests = [[service.webhook(c.body(BODY_ITEMS), node) for _ in range(bodies)] for node, c in enumerate(crowds)]
        postgres.settle()
        before = process_cpu_seconds(service.pid), postgres.cpu_seconds()
        seconds = _client.run(_client.drive(service.port, [iter(each) for each in requests]))
        after = process_cpu_seconds(service.pid), postgres.cpu_seconds()
    micro = 1_000_000 / (bodies * BODY_ITEMS * _service.NODES)
    return Cost(seconds * micro, (after[0] - before[0]) * micro, (after[1] - before[1]) * micro)


if __name__ == "__main__":
    main("scale", "performance.md", measure)

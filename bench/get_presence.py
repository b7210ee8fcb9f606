"""What does a GET of a random user cost, read fresh from the database, against a route that returns a constant?"""

import random
from collections.abc import Iterator

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder
from bench._serve import CONSTANT_PATH

CONNECTIONS = 32


def measure(options: Options) -> Report:
    """Rounds of both in turn on one service; the ratio of a round is of neighbours in time."""
    users, requests = options.pick(100_000, 2_000), options.pick(60_000, 200)
    rounds = options.pick(7, 1)
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    uids = [uid for crowd in crowds for uid in crowd.uids]
    constant = _client.get(CONSTANT_PATH, _service.KEY)
    choice = random.Random(options.seed)
    rates: list[tuple[float, float]] = []
    spent: list[float] = []
    with server(options) as postgres, postgres.database() as url:
        Seeder(url, crowds).everybody_online()
        with _service.running(postgres.folder / "service", url, _service.WITH_EXTRAS) as service:
            for count in range(rounds + 1):
                paths = [f"/v1/users/{uid}/presence" for uid in choice.choices(uids, k=requests)]
                gets = [_client.get(path, _service.KEY) for path in paths]
                before = process_cpu_seconds(service.pid)
                read = requests / _client.run(_client.drive(service.port, _shared(gets)))
                spent.append((process_cpu_seconds(service.pid) - before) / requests)
                empty = requests / _client.run(_client.drive(service.port, _shared([constant] * requests)))
                progress(f"{read:,.0f} against {empty:,.0f} requests/s{'' if count else ' (warming up)'}")
                rates.append((read, empty))
        described = postgres.describe()
    rates, spent = rates[1:], spent[1:]
    ratios = [read / empty for read, empty in rates]
    report = Report(
        f"GET /v1/users/{{uid}}/presence of random ones of {users:,} users, and a route of the same server that gives "
        f"a constant under the same authentication; {CONNECTIONS} connections, {requests:,} requests a round, medians "
        f"of {rounds} rounds",
        described,
        ("presence, requests/s", "constant, requests/s", "ratio", "lowest", "highest"),
    )
    read, empty = median([read for read, _ in rates]), median([empty for _, empty in rates])
    report.rows.append(tuple(number(x) for x in (read, empty, median(ratios), min(ratios), max(ratios))))
    report.bars.append(Bar("ratio", median(ratios), 0.35, at_least=True, speed=True))
    report.notes.append(f"processor time of the service a presence: {median(spent) * 1e6:.0f} microseconds")
    return report


def _shared(requests: list[bytes]) -> list[Iterator[bytes]]:
    """One iterator for all connections: the one that is free takes the next."""
    each = iter(requests)
    return [each] * CONNECTIONS


if __name__ == "__main__":
    main("get_presence", "performance.md", measure)

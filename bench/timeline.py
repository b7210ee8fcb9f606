"""What does the first page of the timeline of a user with 100,000 events cost, against a route of constant answer?"""

import json
import time
from collections.abc import Iterator

from bench import _client, _service
from bench._crowd import Crowd, as_body
from bench._postgres import process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder
from bench._serve import CONSTANT_PATH

UID = "busy"
PATH = f"/v1/users/{UID}/timeline"
ITEMS_A_BODY = 100
FOLLOW_SECONDS = 300.0


def measure(options: Options) -> Report:
    """Pages and constants in turn over one connection."""
    events, asks = options.pick(100_000, 2_000), options.pick(2_000, 20)
    crowds = [Crowd(node, options.pick(50_000, 400) // _service.NODES) for node in range(_service.NODES)]
    with server(options) as postgres, postgres.database() as url:
        seeder = Seeder(url, crowds)
        seeder.everybody_online()
        seeder.webhooks(((0, body) for body in busy_bodies(events)), ago_seconds=60)
        with _service.running(postgres.folder / "service", url, _service.WITH_EXTRAS) as service:
            _follow(service)
            # The first few find neither statements prepared nor connections open.
            _client.run(_in_turns(service.port, asks // 10))
            before = process_cpu_seconds(service.pid)
            timed = _client.run(_in_turns(service.port, asks))
            spent = process_cpu_seconds(service.pid) - before
        described = postgres.describe()
    report = Report(
        f"The first page (100 entries) of the timeline of a user with {events:,} events, most of which are entries of "
        f"their own, oldest and newest first, and a route of the same server that gives a constant under the same "
        f"authentication; one connection, {asks:,} of each in turn, medians",
        described,
        ("page", "ms", "constant, ms", "ratio", "KiB"),
    )
    constant = median([seconds for _, _, seconds in timed])
    for which, name in enumerate(("oldest first", "newest first")):
        page = median([pages[which] for pages, _, _ in timed])
        size = timed[0][1][which] / 1024
        row = (name, number(page * 1000), number(constant * 1000), number(page / constant), number(size))
        report.rows.append(row)
        report.bars.append(Bar(f"{name}, times the constant's time", page / constant, 5, at_least=False, speed=True))
    report.notes.append(f"processor time of the service for the three requests: {spent / asks * 1e6:.0f} microseconds")
    return report


def busy_bodies(events: int) -> Iterator[bytes]:
    """Two devices that come and go in turn, each now and then a second time: what is told again is folded."""
    items = _items()
    for _ in range(events // ITEMS_A_BODY):
        yield as_body(next(items) for _ in range(ITEMS_A_BODY))


def _items() -> Iterator[str]:
    conn_id = 0
    while True:
        conn_id += 2
        app, web = conn_id - 1, conn_id
        yield f"{UID}-0-1-{app}-1-1"
        yield f"{UID}-1-1-{web}-1-2"
        yield f"{UID}-0-0-{app}-0-1"
        yield f"{UID}-1-0-{web}-0-0"
        if conn_id % 10 == 0:
            yield f"{UID}-1-0-{web}-0-0"


def _follow(service: _service.Service) -> None:
    """Wait until the projection has taken every event."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while lag := json.loads(_client.run(_ask(service.port)).body)["lag"]:
        service.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{lag} events are still to be followed after {FOLLOW_SECONDS:g} s")
        progress(f"{lag:,} events still to be followed")
        time.sleep(1.0)


async def _ask(port: int) -> _client.Answer:
    connection = await _client.connect(port)
    try:
        return await connection.exchange(_client.get(f"{PATH}?limit=1", _service.KEY))
    finally:
        connection.close()


async def _in_turns(port: int, asks: int) -> list[tuple[tuple[float, float], tuple[int, int], float]]:
    """Seconds and bytes of both pages, and seconds of the constant."""
    connection = await _client.connect(port)
    oldest = _client.get(PATH, _service.KEY)
    newest = _client.get(f"{PATH}?order=desc", _service.KEY)
    constant = _client.get(CONSTANT_PATH, _service.KEY)
    timed = []
    for _ in range(asks):
        seconds, sizes = [], []
        for request in (oldest, newest, constant):
            started = time.perf_counter()
            answer = await connection.exchange(request)
            seconds.append(time.perf_counter() - started)
            sizes.append(len(answer.body))
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
        timed.append(((seconds[0], seconds[1]), (sizes[0], sizes[1]), seconds[2]))
    connection.close()
    return timed


if __name__ == "__main__":
    main("timeline", "performance.md", measure)

"""What does the first page of the timeline of a user with 100,000 events cost, against a route of constant answer?"""

import itertools
import time
from collections.abc import Iterator

import psycopg

from bench import _client, _service
from bench._crowd import Crowd, as_body
from bench._postgres import process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import Seeder
from bench._serve import CONSTANT_PATH
from ledger.domain.instants import from_datetime, to_text
from ledger.store.mapper import user_stream
from projections.engine import checkpoints

UID, REPEATED = "busy", "repeated"
PATH = f"/v1/users/{UID}/timeline"
MAX_MS = 100
ITEMS_A_BODY = 100
FOLLOW_SECONDS = 300.0

_MIDDLE = """
SELECT position, recorded_at FROM events
 WHERE stream = %(stream)s AND version = (SELECT max(version) / 2 FROM events WHERE stream = %(stream)s)
"""


def measure(options: Options) -> Report:
    """Pages and constants in turn over one connection."""
    events, asks = options.pick(100_000, 2_000), options.pick(2_000, 20)
    crowds = [Crowd(node, options.pick(50_000, 400) // _service.NODES) for node in range(_service.NODES)]
    with server(options) as postgres, postgres.database() as url:
        seeder = Seeder(url, crowds)
        seeder.everybody_online()
        seeder.webhooks(((0, body) for body in busy_bodies(events)), ago_seconds=60)
        seeder.webhooks(((0, body) for body in _repeated_bodies(events)), ago_seconds=60)
        with _service.running(postgres.folder / "service", url, _service.WITH_EXTRAS) as service:
            _follow(service, url)
            # The first few find neither statements prepared nor connections open.
            _client.run(_in_turns(service.port, asks // 10))
            before = process_cpu_seconds(service.pid)
            timed = _client.run(_in_turns(service.port, asks))
            spent = process_cpu_seconds(service.pid) - before
            others = {name: _client.run(_median(service.port, path, asks // 10)) for name, path in _others(url).items()}
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
    for name, (seconds, size) in others.items():
        report.rows.append((name, number(seconds * 1000), "", "", number(size / 1024)))
        report.bars.append(Bar(name, seconds * 1000, MAX_MS, at_least=False, unit="ms", speed=True))
    report.notes.append(f"processor time of the service for the three requests: {spent / asks * 1e6:.0f} microseconds")
    return report


def busy_bodies(events: int) -> Iterator[bytes]:
    """Two devices that come and go in turn, each now and then a second time: what is told again is folded."""
    items = _items()
    for _ in range(events // ITEMS_A_BODY):
        yield as_body(next(items) for _ in range(ITEMS_A_BODY))


def _repeated_bodies(events: int) -> Iterator[bytes]:
    """A device that is told of again and again: all of it is folded."""
    body = as_body([f"{REPEATED}-0-1-1-1-1"] * ITEMS_A_BODY)
    return itertools.repeat(body, events // ITEMS_A_BODY)


def _others(url: str) -> dict[str, str]:
    """Pages that do not begin at an end, and such as have a bounded number of events on them."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_MIDDLE, {"stream": user_stream(UID)}).fetchone()
    assert row is not None
    position, instant = row[0], to_text(from_datetime(row[1]))
    repeated = PATH.replace(UID, REPEATED)
    return {
        "from the middle on": f"{PATH}?after={position}",
        "from the middle back": f"{PATH}?after={position}&order=desc",
        "from an instant on": f"{PATH}?from={instant}",
        "1,000 entries": f"{PATH}?limit=1000",
        "of a user whose events all fold": repeated,
        "the same, newest first": f"{repeated}?order=desc",
    }


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


def _follow(service: _service.Service, url: str) -> None:
    """Wait until the projections have taken every event."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    while lag := _lag(url):
        service.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{lag} events are still to be followed after {FOLLOW_SECONDS:g} s")
        progress(f"{lag:,} events still to be followed")
        time.sleep(1.0)


def _lag(url: str) -> int:
    with psycopg.connect(url) as connection:
        return max(each.lag for each in checkpoints.read(connection))


async def _median(port: int, path: str, asks: int) -> tuple[float, int]:
    """-> (seconds at the median, bytes)"""
    connection = await _client.connect(port)
    request, timed, size = _client.get(path, _service.KEY), [], 0
    for _ in range(max(3, asks)):
        started = time.perf_counter()
        answer = await connection.exchange(request)
        timed.append(time.perf_counter() - started)
        size = len(answer.body)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
    connection.close()
    return median(timed), size


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

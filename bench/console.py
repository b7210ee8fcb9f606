"""How long do the console's pages take on a ledger of a million events while items flow, one of 100,000 events too?"""

import asyncio
import json
import time
from collections.abc import Sequence

import httpx2

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import server
from bench._report import Bar, Options, Report, main, number, percentile, progress
from bench._seed import Seeder
from bench.timeline import UID, busy_bodies

ITEMS_A_SECOND = 2_000
BODY_ITEMS = 100
PAGE_MS, BUSY_MS = 300, 1_000
FOLLOW_SECONDS = 900.0
OK = 200


def measure(options: Options) -> Report:
    """Each page in turn, again and again, by one reader who is logged in."""
    users, events = options.pick(100_000, 800), options.pick(800_000, 2_000)
    busy, rounds = options.pick(100_000, 1_000), options.pick(40, 2)
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    with server(options) as postgres, postgres.database() as url:
        seeder = Seeder(url, crowds)
        seeder.everybody_online()
        seeder.come_and_go(events, over_seconds=86_400)
        seeder.webhooks(((0, body) for body in busy_bodies(busy)), ago_seconds=60)
        with _service.running_with_front(postgres.folder / "service", url) as service:
            _client.run(_follow(service))
            postgres.settle()
            cookie = log_in(service.front_port)
            pages = dict(_client.run(_pages(service, crowds[0].uids[0])))
            took, late = _client.run(_measured(service, crowds, cookie, list(pages.values()), rounds))
        described = postgres.describe()
    report = Report(
        f"The console's pages on a ledger of {users + events + busy:,} events and {users:,} users, while "
        f"{ITEMS_A_SECOND:,} items/s flow in POSTs of {BODY_ITEMS}; each page {rounds} times, in milliseconds",
        described,
        ("page", "median", "p95", "longest", "KiB"),
    )
    for (name, path), taken in zip(pages.items(), took, strict=True):
        seconds = [each for each, _ in taken]
        p95 = 1000 * percentile(seconds, 0.95)
        size = taken[0][1] / 1024
        report.rows.append(
            (name, *(number(1000 * percentile(seconds, share)) for share in (0.5, 0.95, 1.0)), number(size))
        )
        bound = BUSY_MS if path.startswith(f"/users/{UID}") else PAGE_MS
        report.bars.append(Bar(f"{name}, p95", p95, bound, at_least=False, unit="ms", speed=True))
    report.notes.append(f"answers to webhooks meanwhile: p99 {1000 * percentile(late, 0.99):.0f} ms")
    return report


async def _follow(service: _service.Service) -> None:
    """Wait until the projections have taken every event."""
    connection = await _client.connect(service.port)
    deadline = time.monotonic() + FOLLOW_SECONDS
    while True:
        ready = json.loads((await connection.exchange(_client.get("/health/ready", _service.KEY))).body)
        lag = max((each["lag"] for each in ready.get("projections", {}).values()), default=1)
        if not lag:
            break
        service.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{lag} events are still to be followed after {FOLLOW_SECONDS:g} s")
        progress(f"{lag:,} events still to be followed")
        await asyncio.sleep(2.0)
    connection.close()


def log_in(port: int) -> str:
    """-> the session's cookie."""
    answer = httpx2.post(f"http://127.0.0.1:{port}/login", data={"key": _service.KEY}, trust_env=False)
    assert answer.status_code == httpx2.codes.SEE_OTHER, answer
    return answer.headers["set-cookie"].partition(";")[0]


async def _pages(service: _service.Service, uid: str) -> Sequence[tuple[str, str]]:
    """The pages by what they are called here."""
    connection = await _client.connect(service.port)
    request = _client.get(f"/v1/users/{UID}/events?order=desc&limit=1", _service.KEY)
    [last] = json.loads((await connection.exchange(request)).body)["items"]
    connection.close()
    then = last["recorded_at"]
    return [
        ("overview", "/"),
        ("users", "/users"),
        ("users by their beginning", f"/users?q={uid[:2]}"),
        ("users who are online", "/users?status=online"),
        ("a user", f"/users/{uid}"),
        ("a user of 100,000 events", f"/users/{UID}"),
        ("the same, then", f"/users/{UID}?at={then}"),
        ("live", "/live"),
        ("drift", "/drift"),
        ("runs", "/runs"),
        ("a delivery", f"/deliveries/{last['delivery']}"),
        ("an event", f"/events/{last['position']}"),
        ("sources", "/sources"),
        ("alerts", "/alerts"),
        ("sinks", "/sinks"),
        ("lists", "/lists"),
        ("settings", "/settings"),
    ]


async def _measured(
    service: _service.Service, crowds: Sequence[Crowd], cookie: str, paths: Sequence[str], rounds: int
) -> tuple[list[list[tuple[float, int]]], list[float]]:
    """Seconds and bytes of each page, and the seconds of the webhooks' answers meanwhile."""
    ended = asyncio.Event()
    flowing = asyncio.create_task(_flow(service, crowds, ended))
    took: list[list[tuple[float, int]]] = [[] for _ in paths]
    connection = await _client.connect(service.front_port)
    try:
        for turn in range(rounds + 1):
            for number_of_page, path in enumerate(paths):
                request = f"GET {path} HTTP/1.1\r\nHost: console\r\nCookie: {cookie}\r\n\r\n".encode()
                started = time.perf_counter()
                answer = await connection.exchange(request)
                seconds = time.perf_counter() - started
                if answer.status != OK:
                    raise RuntimeError(f"{path} answered {answer.status}: {answer.body[:500]!r}")
                # In the first turn templates are read and connections opened.
                if turn:
                    took[number_of_page].append((seconds, len(answer.body)))
            progress(f"turn {turn} of {rounds}")
    finally:
        ended.set()
        connection.close()
    return took, await flowing


async def _flow(service: _service.Service, crowds: Sequence[Crowd], ended: asyncio.Event) -> list[float]:
    """Webhooks at an even pace; a node's next one goes out after the answer to its last -> seconds of each answer."""
    connections = [await _client.connect(service.port) for _ in crowds]
    took: list[float] = []
    due = time.perf_counter()
    while not ended.is_set():
        node = len(took) % len(crowds)
        due += BODY_ITEMS / ITEMS_A_SECOND
        await asyncio.sleep(due - time.perf_counter())
        answer = await connections[node].exchange(service.webhook(crowds[node].body(BODY_ITEMS), node))
        if answer.status != OK:
            raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
        took.append(time.perf_counter() - due)
    for connection in connections:
        connection.close()
    return took


if __name__ == "__main__":
    main("console", "performance.md", measure)

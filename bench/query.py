"""What does asking about 1,000 users at once cost, against the raw SELECT of the same rows?"""

import json
import random
import time
from typing import LiteralString

import psycopg

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import process_cpu_seconds, server
from bench._rebuilt import wait_for_followers
from bench._report import Bar, Options, Report, main, median, number
from bench._seed import Seeder

UIDS = 1000
PATH = "/v1/presence/query"

_SELECT: LiteralString = "SELECT uid, state FROM current WHERE uid = ANY(%b::text[])"


def measure(options: Options) -> Report:
    """The same users asked for both ways, one after the other, on one connection each."""
    users, asks = options.pick(100_000, 2_000), options.pick(400, 10)
    crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
    uids = [uid for crowd in crowds for uid in crowd.uids]
    choice = random.Random(options.seed)
    with server(options) as postgres, postgres.database() as url:
        seeder = Seeder(url, crowds)
        seeder.everybody_online()
        seeder.come_and_go(users)
        with _service.running(postgres.folder / "service", url) as service:
            # What was seeded is news to those who follow the ledger, and would be measured too.
            wait_for_followers(url)
            chosen = [choice.sample(uids, UIDS) for _ in range(asks)]
            before = process_cpu_seconds(service.pid)
            timed = _client.run(_both(service.port, url, chosen))
            cpu = (process_cpu_seconds(service.pid) - before) / asks
        described = postgres.describe()
    # The first few find neither statements prepared nor connections open.
    timed = timed[asks // 10 :]
    asked, selected = median([a for a, _ in timed]), median([s for _, s in timed])
    ratio = median([s / a for a, s in timed])
    report = Report(
        f"POST {PATH} of {UIDS:,} random ones of {users:,} users, and SELECT of their rows (uid and state, binary, "
        f"fetched and not decoded); one connection each, {asks} of both in turn, medians",
        described,
        ("query, ms", "SELECT, ms", "ratio", "users/s"),
    )
    report.rows.append((number(asked * 1000), number(selected * 1000), number(ratio), number(UIDS / asked)))
    report.bars.append(Bar("ratio", ratio, 0.5, at_least=True, speed=True))
    report.notes.append(f"processor time of the service a query: {cpu * 1000:.2f} ms")
    return report


async def _both(port: int, url: str, chosen: list[list[str]]) -> list[tuple[float, float]]:
    """Seconds of the query and of the SELECT, for each set of users."""
    connection = await _client.connect(port)
    timed = []
    with psycopg.connect(url, autocommit=True) as database:
        for uids in chosen:
            request = _client.post(PATH, json.dumps({"uids": uids}).encode(), _service.KEY)
            started = time.perf_counter()
            answer = await connection.exchange(request)
            asked = time.perf_counter() - started
            if answer.status != 200 or len(json.loads(answer.body)["items"]) != UIDS:
                raise RuntimeError(f"answered {answer.status}")
            started = time.perf_counter()
            rows = database.cursor(binary=True).execute(_SELECT, (uids,)).fetchall()
            timed.append((asked, time.perf_counter() - started))
            if len(rows) != UIDS:
                raise RuntimeError(f"{len(rows)} rows of {UIDS} users")
    return timed


if __name__ == "__main__":
    main("query", "performance.md", measure)

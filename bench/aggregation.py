"""What is written for an item: commits, WAL and rows, where items come one by one, in large bodies, and of one user."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import psycopg

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import Server, server
from bench._report import Bar, Options, Report, main, median, number, progress
from ledger.working_state import followers
from projections.engine import checkpoints

SENDERS, ITEMS_A_SECOND, BODY_ITEMS = 64, 500, 512
USERS = 2_000
FOLLOW_SECONDS = 300.0
COUNTED_SECONDS = 12
"""A session of PostgreSQL that is idle tells what it has counted within ten."""

TABLES = ("events", "seals", "current", "source_states", "looks", "sessions", "snapshots", "projections")

# Of every table: rows that were inserted, and such as replaced another version of themselves.
_ROWS = """
SELECT regexp_replace(relname, '^events_from_.*', 'events'), sum(n_tup_ins + n_tup_upd)::bigint
  FROM pg_stat_user_tables GROUP BY 1
"""
_COUNTS = """
SELECT (SELECT count(*) FROM seals), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
       (SELECT count(*) FROM events WHERE kind = 'webhook_observed.v2')
"""


class Written(NamedTuple):
    """What a database has written so far."""

    commits: int
    """Of the ledger: each has one seal."""
    wal_bytes: int
    items: int
    rows: dict[str, int]


class Load(NamedTuple):
    """A way in which items come: what it is called, and what each sender posts."""

    name: str
    items: int
    senders: Sequence[Iterator[bytes]]
    """Of each the requests, in turn."""
    pause_seconds: float
    """Between two requests of a sender, from one's begin to the next one's."""


def measure(options: Options) -> Report:
    """Each load on a database of its own, until everything that follows the ledger has followed."""
    seconds, counted = options.pick(60, 2), options.pick(COUNTED_SECONDS, 1)
    report = Report(
        f"What PostgreSQL writes for an item: {SENDERS} senders with single items, {ITEMS_A_SECOND} a second together, "
        f"bodies of {BODY_ITEMS} items as fast as they are taken, and one user who comes and goes, each of whose "
        f"webhooks is answered before the next; {USERS:,} users, all that follows the ledger included",
        "",
        ("", "items", "ledger's commits an item", "WAL bytes an item", "rows an item", *TABLES),
    )
    with server(options) as postgres:
        report.server = postgres.describe()
        for make in (_singles, _bodies, _flapping):
            _measure_one(postgres, make, (seconds, counted), report)
    report.notes.append(
        "a POST that is alone waits for the group that is being committed and the one judged meanwhile, and no others"
    )
    return report


def _measure_one(
    postgres: Server, make: Callable[[_service.Service, int], Load], lasts: tuple[int, int], report: Report
) -> None:
    """`lasts`: the seconds of the load, and those that PostgreSQL has to count it."""
    seconds, counted = lasts
    with postgres.database() as url, _service.running(postgres.folder / make.__name__, url) as service:
        load = make(service, seconds)
        wait_until_followed(url, counted)
        before = _written(postgres, url)
        waits = _client.run(_drive(service.port, load))
        wait_until_followed(url, counted)
        after = _written(postgres, url)
    items = after.items - before.items
    rows = {name: after.rows[name] - before.rows.get(name, 0) for name in after.rows}
    each = [number(rows.get(name, 0) / items) for name in TABLES]
    progress(f"{load.name}: {items:,} items, {rows}")
    report.rows.append(
        (
            load.name,
            f"{items:,}",
            number((after.commits - before.commits) / items),
            number((after.wal_bytes - before.wal_bytes) / items),
            number(sum(rows.values()) / items),
            *each,
        )
    )
    report.bars.append(Bar(f"{load.name}: items lost or doubled", abs(items - load.items), 0, at_least=False))
    commits = after.commits - before.commits
    # The service may put something of its own on record.
    report.bars.append(Bar(f"{load.name}: commits of the ledger for each POST", commits / len(waits), 1.1, False))
    for name in ("current", "looks"):
        report.bars.append(Bar(f"{load.name}: rows of `{name}` an item", rows.get(name, 0) / items, 1.0, False))
    # A session begins with one item and ends with another; a few are heard of in between.
    report.bars.append(Bar(f"{load.name}: rows of `sessions` an item", rows.get("sessions", 0) / items, 1.25, False))
    middle, most = number(median(waits) * 1000), number(max(waits) * 1000)
    report.notes.append(f"{load.name}: a POST waited {middle} ms at the median, {most} ms at most")


def _singles(service: _service.Service, seconds: int) -> Load:
    crowds = [Crowd(node, USERS // _service.NODES) for node in range(_service.NODES)]
    posts = seconds * ITEMS_A_SECOND // SENDERS
    senders = [
        iter([service.webhook(crowds[each % len(crowds)].body(1), each % len(crowds)) for _ in range(posts)])
        for each in range(SENDERS)
    ]
    return Load("single items", posts * SENDERS, senders, SENDERS / ITEMS_A_SECOND)


def _bodies(service: _service.Service, seconds: int) -> Load:
    # A body of each node is more than a few seconds are to bring.
    crowds = [Crowd(node, USERS // _service.NODES) for node in range(min(_service.NODES, 2 * seconds))]
    posts = max(1, seconds * ITEMS_A_SECOND // BODY_ITEMS // len(crowds))
    senders = [
        iter([service.webhook(crowd.body(BODY_ITEMS), node) for _ in range(posts)]) for node, crowd in enumerate(crowds)
    ]
    return Load(f"bodies of {BODY_ITEMS}", posts * len(crowds) * BODY_ITEMS, senders, 0.0)


def _flapping(service: _service.Service, seconds: int) -> Load:
    flips = seconds * 20
    numbers = itertools.count(1)
    items = [
        f'["flapping-0-{online}-{connection}-{online}-{online}"]'.encode()
        for connection in itertools.islice(numbers, flips // 2)
        for online in (1, 0)
    ]
    return Load("one user flapping", len(items), [iter([service.webhook(item) for item in items])], 0.0)


async def _drive(port: int, load: Load) -> list[float]:
    """Post everything -> how long each answer took, in seconds."""
    loop, waits = asyncio.get_running_loop(), list[float]()
    began = loop.time()

    async def sender(place: int, requests: Iterator[bytes]) -> None:
        connection = await _client.connect(port)
        due = began + load.pause_seconds * place / len(load.senders)
        for request in requests:
            await asyncio.sleep(max(0.0, due - loop.time()))
            sent = loop.time()
            answer = await connection.exchange(request)
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}")
            waits.append(loop.time() - sent)
            due += load.pause_seconds
        connection.close()

    await asyncio.gather(*(sender(place, each) for place, each in enumerate(load.senders)))
    return waits


def wait_until_followed(url: str, counted: int) -> None:
    """Until projections and the agenda have come as far as the ledger, and PostgreSQL has counted it."""
    deadline = time.monotonic() + FOLLOW_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            followed = checkpoints.read(connection)
            head = max(each.head for each in followed)
            behind = [each.name for each in followed if each.lag] + ["agenda"] * (followers.followed(connection) < head)
            if not behind:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"behind after {FOLLOW_SECONDS:g} s: {', '.join(behind)}")
            time.sleep(0.1)
    time.sleep(counted)


def _written(postgres: Server, url: str) -> Written:
    # The first change of a page after a checkpoint writes the page whole.
    postgres.settle()
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(_COUNTS).fetchone()
        assert row is not None
        commits, wal_bytes, items = row
        return Written(commits, wal_bytes, items, dict(connection.execute(_ROWS).fetchall()))


if __name__ == "__main__":
    main("aggregation", "performance.md", measure)

"""How many items a second for ever, while everything that follows the ledger keeps up with it?

Bodies as fast as they are answered, held back while a projection or the agenda is too far behind: so what is taken is
what is followed. `--against TREE` measures another checkout in the same run, in turn with this one (its `ledger` has to
run in this environment).
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench import _client, _service
from bench._crowd import Crowd
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench.ingest import USERS
from ledger.service.projector import FAR_BEHIND

BODY_ITEMS = 512
MAX_LAG = FAR_BEHIND
"""Events that what follows may be behind before senders are held back: from there on the projector rests no more."""
LOOK_SECONDS = 0.2
GOAL = 20_000
RATIO = 1.7
LATER_SETTINGS = ("front_listen", "front_connections", "spool_bytes")
"""Settings of every bench's service that an older tree may not know."""

_BEHIND = """
SELECT (SELECT max(position) FROM events),
       least((SELECT min(position) FROM projections), (SELECT min(position) FROM followers))
"""


class Sustained(NamedTuple):
    """One round of a tree: items, the seconds until all had been followed, and those of processor by process."""

    items: int
    seconds: float
    lags: Sequence[int]
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        return self.items / self.seconds


class Lag:
    """How far what follows is behind, looked at now and then; `small` and `none` are set while that is so."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[int, int]]) -> None:
        self._connection = connection
        self.small, self.none = asyncio.Event(), asyncio.Event()
        self.seen: list[int] = []

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            row = await (await self._connection.execute(_BEHIND)).fetchone()
            assert row is not None
            head, followed = row
            self.seen.append(head - followed)
            (self.small.set if self.seen[-1] <= MAX_LAG else self.small.clear)()
            (self.none.clear if self.seen[-1] else self.none.set)()
            await asyncio.sleep(LOOK_SECONDS)


def measure(options: Options, against: Path | None = None) -> Report:
    """Rounds of this tree, and of the other in turn."""
    seconds, rounds = options.pick(300, 2), 1 if against is None else options.pick(2, 1)
    seconds = seconds if against is None else options.pick(75, 2)
    trees = {"this tree": None} if against is None else {"this tree": None, "the other": against}
    done: dict[str, list[Sustained]] = {name: [] for name in trees}
    with server(options) as postgres:
        for turn in range(rounds):
            for name, tree in trees.items():
                done[name].append(_round(postgres, f"{turn}-{name.split()[-1]}", tree, seconds))
                progress(f"{name}: {done[name][-1].rate:,.0f} items/s")
        report = Report(
            f"Bodies of {BODY_ITEMS} items of {USERS:,} users who come and go, from {_service.NODES} nodes, as fast as "
            f"they are answered, held back while projections or agenda are {MAX_LAG:,} events behind; "
            f"{seconds} s a round, and until all is followed; medians of {rounds} rounds",
            postgres.describe(),
            ("", "items/s", "longest lag, events", "µs of processor an item, service", "projector", "PostgreSQL"),
        )
    for name, of in done.items():
        each = [number(median([one.cpu[part] / one.items * 1e6 for one in of])) for part in of[0].cpu]
        report.rows.append((name, _rate(of), number(max(max(one.lags) for one in of)), *each))
    own = done["this tree"]
    rate = median([one.rate for one in own])
    if against is None:
        report.bars.append(Bar("items/s", rate, GOAL, at_least=True, speed=True))
    else:
        ratio = median([one.rate / other.rate for one, other in zip(own, done["the other"], strict=True)])
        report.bars.append(Bar("of the other's items/s", ratio, RATIO, at_least=True, speed=True))
    return report


def _rate(done: Sequence[Sustained]) -> str:
    return number(median([one.rate for one in done]))


def _round(postgres: Server, name: str, tree: Path | None, seconds: int) -> Sustained:
    with postgres.database(migrated=tree is None) as url:
        path = _service.REPOSITORY if tree is None else tree.resolve()
        service = _service.Service(postgres.folder / f"service-{name}", url, PYTHONPATH=str(path))
        if tree is not None:
            lines = service.settings.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(LATER_SETTINGS)]
            service.settings.write_text("".join(kept), encoding="utf-8")
        service.start()
        try:
            postgres.settle()
            return _client.run(_flow(postgres, url, service, seconds))
        finally:
            service.stop()


async def _flow(postgres: Server, url: str, service: _service.Service, seconds: int) -> Sustained:
    before = _spent(postgres, service)
    async with _watched(url) as lag:
        await lag.none.wait()
        began = time.monotonic()
        senders = [_send(service, node, lag, began + seconds) for node in range(_service.NODES)]
        items = sum(await asyncio.gather(*senders))
        lag.none.clear()
        await lag.none.wait()
        ended, after = time.monotonic(), _spent(postgres, service)
        cpu = {part: after[part] - before[part] for part in after}
        return Sustained(items, ended - began, lag.seen, cpu)


@asynccontextmanager
async def _watched(url: str) -> AsyncIterator[Lag]:
    async with await psycopg.AsyncConnection[tuple[int, int]].connect(url, autocommit=True) as connection:
        lag = Lag(connection)
        watching = asyncio.create_task(lag.watch())
        try:
            yield lag
        finally:
            watching.cancel()
            await asyncio.wait([watching])


async def _send(service: _service.Service, node: int, lag: Lag, until: float) -> int:
    """One node's bodies, one after another -> the items that were answered."""
    crowd = Crowd(node, USERS // _service.NODES)
    connection = await _client.connect(service.port)
    items = 0
    try:
        while time.monotonic() < until:
            await lag.small.wait()
            answer = await connection.exchange(service.webhook(crowd.body(BODY_ITEMS), node))
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
            items += BODY_ITEMS
    finally:
        connection.close()
    return items


def _spent(postgres: Server, service: _service.Service) -> dict[str, float]:
    """Seconds of processor so far, by process."""
    projector = service.child("ledger.service.projector") or service.child("ledger.http.projector")
    return {
        "service": process_cpu_seconds(service.pid),
        "projector": 0.0 if projector is None else process_cpu_seconds(projector.pid),
        "PostgreSQL": postgres.cpu_seconds(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn with this one")
    given, sys.argv[1:] = parser.parse_known_args()
    main(
        "sustained" if given.against is None else "sustained_against",
        "performance.md",
        lambda options: measure(options, given.against),
    )

"""Does a projector that is killed at random instants under load miss an event, or take one twice?"""

import asyncio
import random
import time

import psutil
import psycopg

from bench import _client, _service
from bench._load import Load
from bench._postgres import server
from bench._rebuilt import held_against_rebuilt
from bench._report import Bar, Options, Report, main, median, number, progress
from projections.engine import checkpoints
from projections.models.registry import FOLLOWING

BODY_ITEMS = 50
KILL_SECONDS = (0.02, 1.0)
BURST_SECONDS, PAUSE_SECONDS = 0.3, 0.5
"""Webhooks come in bursts, so that the projector has batches of every size to take."""
RESTART_SECONDS = 120.0
LOOK_SECONDS = 0.01

_COUNT = "SELECT count(*) FROM events"
_CONNECTED = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'presence-ledger projector'
"""


def measure(options: Options) -> Report:
    """One service under load, its projector killed again and again; then everything is folded from scratch."""
    kills = options.pick(50, 2)
    choice = random.Random(options.seed)
    with server(options) as postgres, postgres.database() as url:
        with _service.running(postgres.folder / "service", url) as service:
            lags, moved = _client.run(_kill_under_load(service, url, kills, choice))
        # The last events are the service's own: another one follows them.
        with _service.running(postgres.folder / "service-after", url):
            held = held_against_rebuilt(url)
        with psycopg.connect(url) as connection:
            row = connection.execute(_COUNT).fetchone()
        assert row is not None
        described = postgres.describe()
    report = Report(
        f"The projector's process killed (SIGKILL) {kills} times at random instants, each after "
        f"{KILL_SECONDS[0]:g} to {KILL_SECONDS[1]:g} s of its work, under bursts from {_service.NODES} nodes in bodies "
        f"of {BODY_ITEMS}, {row[0]:,} events in all, seed {options.seed}; then each projection against a fresh fold",
        described,
        ("projection", "rows", "rows that differ from a fresh fold"),
    )
    report.rows += [(each.projection, f"{each.rows:,}", f"{each.different:,}") for each in held]
    different = sum(each.different for each in held)
    report.bars += [
        Bar("rows that differ from a fresh fold", different, 0, at_least=False),
        Bar("kills between which projections moved", moved, kills * 0.8, at_least=True, speed=True),
    ]
    report.notes.append(f"positions behind at a kill: median {number(median(lags))}, most {number(max(lags))}")
    return report


async def _kill_under_load(
    service: _service.Service, url: str, kills: int, choice: random.Random
) -> tuple[list[float], int]:
    """-> (positions behind at each kill, kills before which some projection had moved since the one before)"""
    ended = asyncio.Event()
    load = Load(service, BODY_ITEMS, users=64)
    loading = asyncio.create_task(_bursts(load, ended))
    lags, moved, before, killed = list[float](), 0, 0, 0
    try:
        for kill in range(kills):
            victim = await _projector(service, killed)
            killed = victim.pid
            await asyncio.to_thread(_until_connected, url)
            await asyncio.sleep(choice.uniform(*KILL_SECONDS))
            victim.kill()
            lag, sum_of_positions = await asyncio.to_thread(_standing, url)
            lags.append(lag)
            moved += sum_of_positions > before
            before = sum_of_positions
            progress(f"kill {kill + 1}: {lag} positions behind")
    finally:
        ended.set()
        await loading
    return lags, moved


async def _bursts(load: Load, ended: asyncio.Event) -> None:
    while not ended.is_set():
        until = time.monotonic() + BURST_SECONDS
        await load.run(lambda until=until: time.monotonic() > until, reconnect=True)  # type: ignore[misc]
        await asyncio.sleep(PAUSE_SECONDS)


def _until_connected(url: str) -> None:
    """Wait until the new one works: one that is killed before that has nothing to lose."""
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + RESTART_SECONDS
        while connection.execute(_CONNECTED).fetchone() == (0,):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the projector does not connect within {RESTART_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)


async def _projector(service: _service.Service, killed: int) -> psutil.Process:
    """The projector's process, as soon as there is another than the one killed last. Raises RuntimeError."""
    deadline = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < deadline:
        service.check()
        child = service.child("ledger.service.projector")
        if child is not None and child.pid != killed:
            return child
        await asyncio.sleep(LOOK_SECONDS)
    raise RuntimeError(f"no projector within {RESTART_SECONDS:g} s")


def _standing(url: str) -> tuple[int, int]:
    """-> (positions that the last projection is behind, positions of all of them together)"""
    with psycopg.connect(url) as connection:
        found = [each for each in checkpoints.read(connection) if each.name in FOLLOWING]
    return max(each.lag for each in found), sum(each.position for each in found)


if __name__ == "__main__":
    main("projector_kills", "reliability.md", measure)

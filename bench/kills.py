"""Is anything lost, halved or doubled by kill -9 of the service, or its PostgreSQL, under load? How soon is it back?"""

import asyncio
import random
import time
from itertools import chain

from bench import _client
from bench._load import Load, Verdicts, items_repeated, seconds_until_served, verdict_bars, verdict_notes
from bench._postgres import describe, scratch_folder
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._service import NODES, Service
from ledger.store.embedded import EmbeddedPostgres

BODY_ITEMS = 200
LOAD_SECONDS = (0.1, 2.0)
SHORT_LOAD_SECONDS = (0.05, 0.5)
SERVE_WITHIN_SECONDS = 120.0
VICTIMS = ("service", "PostgreSQL", "service and PostgreSQL", "postmaster, then service")
NOBODY = "nobody: service stopped and started"


def measure(options: Options) -> Report:
    """One ledger through all kills, every second one of the service alone, and plain restarts. Instants are by lot."""
    kills, restarts = options.pick(50, 2), options.pick(5, 1)
    choice = random.Random(options.seed)
    found: list[Verdicts] = []
    back: dict[str, list[float]] = {victim: [] for victim in (*VICTIMS, NOBODY)}
    with scratch_folder() as folder:
        service = Service(folder)
        postgres = EmbeddedPostgres(folder / "data")
        try:
            service.start()
            load = Load(service, options.pick(BODY_ITEMS, 50))
            for count in range(kills + restarts):
                victim = VICTIMS[0] if count % 2 == 0 else VICTIMS[1 + count // 2 % 3]
                if count >= kills:
                    victim = NOBODY
                lot = choice.uniform(*(SHORT_LOAD_SECONDS if options.short else LOAD_SECONDS)), choice.random()
                back[victim].append(_client.run(_kill(service, load, victim, lot, count)))
                found.append(load.check(postgres.url()))
                progress(
                    f"kill {count + 1}, {victim}: back after {back[victim][-1]:.2f} s; {found[-1].acknowledged} kept"
                )
            repeated = items_repeated(postgres.url())
            described = describe(postgres.url())
        finally:
            service.stop()
            postgres.stop("immediate")
    report = Report(
        f"{kills} times kill -9 under load ({BODY_ITEMS} items a POST, {NODES} nodes) at random instants, one "
        f"ledger through all of them, seed {options.seed}",
        f"{described}, embedded",
        ("killed", "times", "serving again after, median s", "longest s"),
    )
    report.rows += [(victim, str(len(s)), number(median(s)), number(max(s))) for victim, s in back.items() if s]
    longest = max(chain(*(back[victim] for victim in VICTIMS)))
    report.bars.append(Bar("serving again after, longest", longest, 5, at_least=False, unit="s", speed=True))
    stopped = Bar(
        "refusing while stopped and started, longest", max(back[NOBODY]), 4, at_least=False, unit="s", speed=True
    )
    report.bars.append(stopped)
    report.bars += verdict_bars(found, repeated)
    report.notes += verdict_notes(found)
    return report


async def _kill(service: Service, load: Load, victim: str, lot: tuple[float, float], count: int) -> float:
    """Load for some time, then the blow; gives how long from there, or from the new start, until a POST is answered.

    Where nobody is killed, from the signal to stop.
    """
    load_seconds, pause = lot
    ended = asyncio.Event()
    loading = asyncio.create_task(load.run(ended.is_set, reconnect=False))
    await asyncio.sleep(load_seconds)
    began = time.monotonic()
    if victim == NOBODY:
        await asyncio.to_thread(service.stop)
        service.spawn()
    else:
        await _blow(service, victim, pause)
        began = time.monotonic()
    body = f'["after-kill-{count}-0-1-{count + 1}-1-1"]'.encode()
    await seconds_until_served(service, body, 0, SERVE_WITHIN_SECONDS)
    seconds = time.monotonic() - began
    ended.set()
    await loading
    return seconds


async def _blow(service: Service, victim: str, pause: float) -> None:
    if victim != "service":
        service.kill_postgres(only_postmaster=victim.startswith("postmaster"))
    if victim.startswith("postmaster"):
        await asyncio.sleep(pause)
    if victim != "PostgreSQL":
        service.kill()
        service.spawn()


if __name__ == "__main__":
    main("kills", "reliability.md", measure)

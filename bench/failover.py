"""Is anything lost where PostgreSQL's primary dies under load and its standby takes over? How long is nothing taken?"""

import asyncio
import json
import time
from itertools import pairwise
from typing import NamedTuple

import psycopg
from psycopg import sql

from bench import _client, _service
from bench._load import Load, Verdicts, items_repeated, verdict_bars, verdict_notes
from bench._postgres import describe, scratch_folder
from bench._replicas import Replicas
from bench._report import Bar, Options, Report, main, median, number, progress
from bench.outside._product import ask, until
from ledger.store import migrate

BODY_ITEMS = 50
SERVE_WITHIN_SECONDS = 120.0
DATABASE = "ledger"


class Found(NamedTuple):
    """What the fail-overs of one kind came to."""

    silent: list[float]
    """Of each, the longest time from one 200 to the next, in seconds."""
    verdicts: list[Verdicts]
    repeated: int
    server: str
    went_back: bool
    """Whether the service says at the end that the ledger did."""

    @property
    def lost(self) -> int:
        """POSTs that were answered 200 and are not, or not whole, in the ledger."""
        return sum(len(each.wrong) for each in self.verdicts)


def measure(options: Options) -> Report:
    """Fail-overs with a standby that each commit waits for, and with one that is sent what has been committed."""
    kinds = {True: 10, False: 3} if not options.short else {True: 1}
    report = Report(
        f"kill -9 of the primary under load ({BODY_ITEMS} items a POST, {_service.NODES} nodes), its standby promoted "
        "at once, the service left alone with both in its URL",
        "",
        ("standby", "fail-overs", "without a 200, median s", "longest s", "acknowledged POSTs", "of them lost"),
    )
    for synchronous, number_of in kinds.items():
        kind = "synchronous" if synchronous else "asynchronous"
        found = _fail_over(synchronous, number_of, options)
        report.server = found.server
        acknowledged = sum(each.acknowledged for each in found.verdicts)
        longest = max(found.silent)
        amounts = (str(number_of), number(median(found.silent)), number(longest), f"{acknowledged:,}", str(found.lost))
        report.rows.append((kind, *amounts))
        report.bars.append(Bar(f"{kind}: without a 200, longest", longest, 5, at_least=False, unit="s", speed=True))
        if synchronous:
            report.bars += verdict_bars(found.verdicts, found.repeated)
            report.notes += verdict_notes(found.verdicts)
        else:
            said = int(found.went_back or not found.lost)
            report.bars.append(Bar(f"{kind}: where something is lost, the service says so", said, 1, at_least=True))
    return report


def _fail_over(synchronous: bool, times: int, options: Options) -> Found:
    silent, verdicts = [], []
    with scratch_folder() as folder:
        replicas = Replicas(folder / "pg", {}, synchronous=synchronous)
        try:
            replicas.start()
            _make_database(replicas.primary_url("postgres"))
            migrate.apply(replicas.primary_url(DATABASE))
            with _service.running(folder / "service", replicas.url(DATABASE)) as service:
                load = Load(service, BODY_ITEMS)
                for count in range(times):
                    if count:
                        replicas.repair()
                    silent.append(_client.run(_under_load(load, replicas, options.pick(20, 3) / 10)))
                    verdicts.append(load.check(replicas.primary_url(DATABASE)))
                    progress(f"fail-over {count + 1}: {silent[-1]:.2f} s, {verdicts[-1].acknowledged} POSTs kept")
                went_back = _went_back(service)
            repeated = items_repeated(replicas.primary_url(DATABASE))
            return Found(silent, verdicts, repeated, describe(replicas.primary_url(DATABASE)), went_back)
        finally:
            replicas.stop()


def _went_back(service: _service.Service) -> bool:
    until(lambda: ask(service, "GET", "/health/ready").status == 200, "the service is ready", SERVE_WITHIN_SECONDS)
    return json.loads(ask(service, "GET", "/health/ready").body)["ledger"].get("went_back") is not None


def _make_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(DATABASE)))


async def _under_load(load: Load, replicas: Replicas, seconds: float) -> float:
    """One fail-over -> the longest time from one 200 to the next."""
    ended = asyncio.Event()
    began = time.monotonic()
    loading = asyncio.create_task(load.run(ended.is_set, reconnect=True))
    await load.until_taken(began, SERVE_WITHIN_SECONDS)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(replicas.fail_over)
    await load.until_taken(time.monotonic(), SERVE_WITHIN_SECONDS)
    await asyncio.sleep(seconds)
    ended.set()
    await loading
    good = sorted(at for at, status in load.answered_at if status == 200 and at >= began)
    return max(after - before for before, after in pairwise(good))


if __name__ == "__main__":
    main("failover", "reliability.md", measure)

"""Is anything lost or halved when an external PostgreSQL is away for 20 s under load, and does the service recover?"""

import asyncio
import time
from typing import NamedTuple

from bench import _client, _service
from bench._load import Load, items_repeated, verdict_bars, verdict_notes
from bench._postgres import Server, scratch_folder
from bench._report import Bar, Options, Report, main, number, progress
from tests.support.external import ExternalPostgres

BODY_ITEMS = 200
SERVE_WITHIN_SECONDS = 120.0


class Outage(NamedTuple):
    """Instants by the monotonic clock: PostgreSQL told to stop, and started again."""

    stopped_at: float
    started_at: float


def measure(options: Options) -> Report:
    """One outage in each way that an operator or a crash ends PostgreSQL."""
    away, load_seconds = options.pick(20, 1), options.pick(4, 1)
    report = Report(
        f"An external PostgreSQL away for {away} s under load ({BODY_ITEMS} items a POST, {_service.NODES} nodes that "
        "post on meanwhile), the service left alone",
        "",
        ("stopped by", "acknowledged before", "while away", "after", "refused (503)", "first 200 once it is back, s"),
    )
    for mode in ("fast", "immediate"):
        with scratch_folder() as folder:
            postgres = ExternalPostgres(folder / "external")
            try:
                server = Server(postgres.start(), folder, None)
                report.server = server.describe()
                with server.database() as url, _service.running(folder / "service", url) as service:
                    outage, load = _client.run(_under_load(service, postgres, mode, away, load_seconds))
                    _judge(report, outage, load, mode, url)
            finally:
                postgres.stop("immediate")
    return report


def _judge(report: Report, outage: Outage, load: Load, mode: str, url: str) -> None:
    good = [at for at, status in load.answered_at if status == 200]
    before = sum(at < outage.stopped_at for at in good)
    after = [at for at in good if at >= outage.started_at]
    verdicts = load.check(url)
    recovered = after[0] - outage.started_at if after else float("inf")
    report.rows.append(
        (
            mode,
            str(before),
            str(len(good) - before - len(after)),
            str(len(after)),
            str(verdicts.refused),
            number(recovered),
        )
    )
    report.bars.append(Bar(f"{mode}: first 200 once it is back", recovered, 5, at_least=False, unit="s", speed=True))
    report.bars.append(Bar(f"{mode}: POSTs acknowledged once it is back", len(after), 1, at_least=True))
    bars = verdict_bars([verdicts], items_repeated(url))
    report.bars += [bar._replace(what=f"{mode}: {bar.what}") for bar in bars]
    report.notes += [f"{mode}: {note}" for note in verdict_notes([verdicts])]
    progress(f"{mode}: back after {recovered:.2f} s")


async def _under_load(
    service: _service.Service, postgres: ExternalPostgres, mode: str, away: int, load_seconds: int
) -> tuple[Outage, Load]:
    load = Load(service, BODY_ITEMS)
    ended = asyncio.Event()
    loading = asyncio.create_task(load.run(ended.is_set, reconnect=True))
    await asyncio.sleep(load_seconds)
    stopped_at = time.monotonic()
    await asyncio.to_thread(postgres.stop, mode)
    await asyncio.sleep(away)
    await asyncio.to_thread(postgres.start)
    started_at = time.monotonic()
    await asyncio.sleep(load_seconds)
    await load.until_taken(started_at, SERVE_WITHIN_SECONDS)
    ended.set()
    await loading
    return Outage(stopped_at, started_at), load


if __name__ == "__main__":
    main("pg_stop", "reliability.md", measure)

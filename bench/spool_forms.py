"""What does it cost to spool webhooks in a file of ours, against SQLite in WAL mode, each durable by one fsync?"""

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench._crowd import Crowd
from bench._report import Bar, Options, Report, main, number, percentile
from ledger.spool.files import SpoolFiles
from ledger.spool.format import SpooledWebhook

BODY_ITEMS = 50
GROUPS = (1, 40, 400)
BATCH = 200
"""Webhooks that are given back at a time: 10,000 items."""


def measure(options: Options) -> Report:
    """Webhooks written in groups, as they wait for the disk, then all of them given back and deleted."""
    times = options.pick(100, 5)
    report = Report(
        f"Webhooks of {BODY_ITEMS} items written {times} times in groups, one fsync each, and given back in batches; "
        "medians of the writes (and p99) in ms, µs a webhook given back, bytes on disk a webhook",
        "no database",
        ("a group", "file: write", "SQLite: write", "file: back", "SQLite: back", "file: bytes", "SQLite: bytes"),
    )
    folder = Path(tempfile.mkdtemp(prefix="ledger-bench-"))
    try:
        for group in GROUPS:
            webhooks = _webhooks(group)
            own = _own(folder / f"own-{group}", webhooks, times)
            other = _sqlite(folder / f"{group}.sqlite", webhooks, times)
            cells = [f"{number(each[0])} ({number(each[1])})" for each in (own, other)]
            cells += [number(each[2]) for each in (own, other)] + [number(each[3]) for each in (own, other)]
            report.rows.append((str(group), *cells))
            report.bars.append(Bar(f"{group}: bytes, of SQLite's", own[3] / other[3], 1, at_least=False))
    finally:
        shutil.rmtree(folder)
    return report


def _webhooks(group: int) -> list[SpooledWebhook]:
    crowd = Crowd(0, 1000)
    return [SpooledWebhook(f"{n:036}", "main", "n1", n, crowd.body(BODY_ITEMS)) for n in range(group)]


def _own(folder: Path, webhooks: Sequence[SpooledWebhook], times: int) -> tuple[float, float, float, float]:
    files = SpoolFiles(folder, 1 << 40, "bench")
    median, longest = _timed(lambda: files.append(webhooks), times)
    size, total = files.contents.size, times * len(webhooks)
    started = time.perf_counter()
    while (batch := files.read(BATCH * BODY_ITEMS, 1 << 23)) is not None:
        files.settle(batch)
    files.close_empty()
    return median, longest, 1e6 * (time.perf_counter() - started) / total, size / total


def _sqlite(path: Path, webhooks: Sequence[SpooledWebhook], times: int) -> tuple[float, float, float, float]:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("CREATE TABLE spool (id INTEGER PRIMARY KEY, delivery, source, node, received_at, body)")
    rows = [(each.delivery, each.source, each.node, each.received_at, each.body) for each in webhooks]

    def write() -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO spool VALUES (NULL, ?, ?, ?, ?, ?)", rows)
        database.execute("COMMIT")

    median, longest = _timed(write, times)
    size, total = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*")), times * len(webhooks)
    started, last = time.perf_counter(), 0
    while found := database.execute("SELECT * FROM spool WHERE id > ? ORDER BY id LIMIT ?", (last, BATCH)).fetchall():
        last = found[-1][0]
        database.execute("DELETE FROM spool WHERE id <= ?", (last,))
    seconds = time.perf_counter() - started
    database.close()
    return median, longest, 1e6 * seconds / total, size / total


def _timed(write: Callable[[], object], times: int) -> tuple[float, float]:
    """Milliseconds: the median, and p99."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        write()
        took.append(1000 * (time.perf_counter() - started))
    return percentile(took, 0.5), percentile(took, 0.99)


if __name__ == "__main__":
    main("spool_forms", "decisions/0046-webhooks-are-spooled-in-a-file-of-ours.md", measure)

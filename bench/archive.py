"""Does anybody's commit wait while a million events are archived, and how fast is all of it verified afterwards?"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import msgspec
import psycopg
from eventsourcing.persistence import StoredEvent

from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._service import SEAL_KEY
from bench.scale import seeded
from ledger.service.archive_process import ArchiveOrders, ArchiveOutcome
from ledger.store import session
from ledger.store.archive import files, table
from ledger.store.ledger import Ledger
from ledger.store.seal import seal_keys
from ledger.store.verified import Extent
from ledger.store.verify import snapshot, verify
from tests.support.divided import divide

KEYS = seal_keys([SEAL_KEY.text])
EVERY_SECONDS = 0.01
FETCHED_ROWS = 5_000
BEFORE_SECONDS = 5.0

_ROWS = "SELECT position, recorded_at, version, stream, kind, payload FROM events ORDER BY position"
_FOLLOWED = "UPDATE {} SET position = (SELECT max(position) FROM events)"


class _Commits:
    """One event a commit, about a hundred a second, each timed."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger(url, SEAL_KEY, 1)
        self._version = 0
        self._is_over = False
        self.seconds: list[float] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._is_over = True
            thread.join()
            self._ledger.close()

    def _run(self) -> None:
        while not self._is_over:
            self._version += 1
            began = time.perf_counter()
            self._ledger.events_recorder.insert_events([StoredEvent("user:beside", self._version, "k.v1", b"{}")])
            self.seconds.append(time.perf_counter() - began)
            time.sleep(EVERY_SECONDS)


def measure(options: Options) -> Report:
    """A partition of so many events is archived by the product's own process while others commit; then all is verified.

    `--set events=` for other sizes.
    """
    settings = dict(options.settings)
    events, rounds = int(settings.pop("events", options.pick(1_000_000, 3_000))), options.pick(3, 1)
    options = Options(options.short, options.database_url, options.profile, options.seed, settings)
    with server(options) as postgres, postgres.database() as url:
        folder = postgres.folder / "archive"
        divide(url, events, 2)
        seeded(url, events + events // 10, options.pick(20_000, 400))
        with psycopg.connect(url) as connection:
            for name in ("projections", "followers"):
                connection.execute(_FOLLOWED.format(name).encode())
        whole = _size(url)
        commits = _Commits(url)
        with commits.going_on():
            time.sleep(options.pick(int(BEFORE_SECONDS), 1))
            usual, began = len(commits.seconds), time.perf_counter()
            outcome = _archived(url, folder)
            took = time.perf_counter() - began
        before, meanwhile = commits.seconds[:usual], commits.seconds[usual:]
        left, filed = _size(url), _archived_size(url)
        speeds = [(_read(url, folder), _verified(url, folder)) for _ in range(rounds)]
        report = Report(
            f"{outcome.events:,} events archived in {took:,.1f} s while others commit an event about a hundred times "
            f"a second; then all of the ledger read, from table and file, and verified, medians of {rounds}",
            postgres.describe(),
            ("", "median", "longest"),
        )
    report.rows.append(("a commit before, ms", number(median(before) * 1000), number(max(before) * 1000)))
    report.rows.append(("a commit meanwhile, ms", number(median(meanwhile) * 1000), number(max(meanwhile) * 1000)))
    reading, verifying = (median(each) for each in zip(*speeds, strict=True))
    report.notes.append(f"read: {number(reading)} events/s, verified: {number(verifying)} events/s")
    of_each = [number(size / events) for size in (whole, left, filed)]
    report.notes.append("bytes an event in the database {}, of which {} stay; in the file {}".format(*of_each))
    report.bars.append(Bar("events archived", outcome.events, events - 1, at_least=True))
    pause = max(meanwhile) * 1000
    report.bars.append(Bar("the longest commit meanwhile", pause, 100, at_least=False, unit="ms", speed=True))
    ratio = verifying / reading
    report.bars.append(Bar("speed of verifying, as a share of reading", ratio, 0.5, at_least=True, speed=True))
    return report


def _archived(url: str, folder: Path) -> ArchiveOutcome:
    # Whatever is older than tomorrow.
    orders = ArchiveOrders(url, SEAL_KEY.text, str(folder), -1.0, [], "warning", "auto")
    with subprocess.Popen(
        [sys.executable, "-m", "ledger.service.archive_process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        process.stdin.flush()
        outcome = msgspec.json.decode(process.stdout.readline(), type=ArchiveOutcome)
        process.stdin.close()
    if outcome.failed is not None:
        raise RuntimeError(outcome.failed)
    progress(f"archived: {outcome.events:,} events")
    return outcome


def _size(url: str) -> int:
    """Bytes that the partition takes, its indexes included."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_total_relation_size('events_from_1')").fetchone()
        assert row is not None
        size: int = row[0]
        return size


def _archived_size(url: str) -> int:
    """Bytes that its files take."""
    with session.connect(url) as connection:
        return sum(each.size for each in table.read(connection))


def _read(url: str, folder: Path) -> float:
    """Events a second, read into Python from the files and, by a server-side cursor, from the table."""
    number_, began = 0, time.perf_counter()
    with psycopg.connect(url) as connection:
        for manifest in table.read(connection):
            number_ += sum(1 for _ in files.rows(files.groups(folder, manifest)))
        with connection.cursor("read", binary=True) as cursor:
            cursor.execute(_ROWS)
            while fetched := cursor.fetchmany(FETCHED_ROWS):
                number_ += len(fetched)
    speed = number_ / (time.perf_counter() - began)
    progress(f"read: {speed:,.0f} events/s")
    return speed


def _verified(url: str, folder: Path) -> float:
    began = time.perf_counter()
    with psycopg.connect(url, autocommit=True) as connection, snapshot(connection):
        found = verify(connection, KEYS, lambda _done, _total: None, Extent(archive=folder))
    if found.altered is not None:
        raise RuntimeError(f"altered at {found.altered.position:,}: {found.altered.what}")
    speed = found.events / (time.perf_counter() - began)
    progress(f"verified: {speed:,.0f} events/s")
    return speed


if __name__ == "__main__":
    main("archive", "performance.md", measure)

"""Is every kind of tampering found, and its first position named? And how fast are ten million events verified?"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench._crowd import Crowd
from bench._postgres import server
from bench._report import Bar, Options, Report, main, median, number, progress
from bench._seed import SEALED_ROWS, Seeder
from bench._service import SEAL_KEY
from bench._tamperings import Connection, runs_of, tamperings
from ledger.store.seal import seal_keys
from ledger.store.seal_head import SealHead
from ledger.store.verified import Extent, Verified
from ledger.store.verify import snapshot, verify

NODES = 4
FETCHED_ROWS = 5_000
KEYS = seal_keys([SEAL_KEY.text])
EVENTS = "SELECT position, stream, version, kind, payload, recorded_at FROM events ORDER BY position"


def measure(options: Options) -> Report:
    """Tampering with a ledger, each time undone; then a large one read in both ways in turn."""
    events, rounds = options.pick(10_000_000, 1_000), options.pick(3, 1)
    users, tampered = options.pick(20_000, 4_000), options.pick(20_000, 2_000)
    with server(options) as postgres:
        report = Report(
            f"Tampering with a ledger of some {users + tampered:,} events, {SEALED_ROWS:,} under a seal, in SQL, its "
            "triggers switched off; the position that is altered first, and the one that `verify` names",
            postgres.describe(),
            ("what", "altered", "named", "as"),
        )
        with postgres.database() as url:
            _seeded(url, users, tampered)
            named = _tamper(url, report)
        report.bars.append(Bar("tamperings whose first position was named", named, len(report.rows), at_least=True))
        with postgres.database() as url:
            began = time.perf_counter()
            _seeded(url, users, events)
            progress(f"{events:,} sealed events written in {time.perf_counter() - began:,.0f} s")
            postgres.settle()
            speeds = [(_fetched(url), _verified(url)) for _ in range(rounds)]
    fetching, verifying = (median(each) for each in zip(*speeds, strict=True))
    ratio = median([each[1] / each[0] for each in speeds])
    report.notes.append(
        f"{events:,} events verified: {number(verifying)} events/s; merely fetched (a server-side cursor, binary, "
        f"{FETCHED_ROWS:,} rows at a time): {number(fetching)} events/s; medians of {rounds} rounds in turn"
    )
    report.bars.append(Bar("speed of verifying, as a share of mere fetching", ratio, 0.5, at_least=True, speed=True))
    return report


def _seeded(url: str, users: int, events: int) -> None:
    seeder = Seeder(url, [Crowd(node, users // NODES) for node in range(NODES)])
    seeder.everybody_online()
    seeder.come_and_go(events)


def _tamper(url: str, report: Report) -> int:
    """Puts a row for each tampering into the report; returns how many were named as they should."""
    named = 0
    with psycopg.connect(url, autocommit=True) as connection, snapshot(connection):
        whole = _verify(connection)
        runs = runs_of(connection)
    if whole.altered is not None:
        raise RuntimeError(f"the ledger is not intact to begin with: {whole.altered}")
    for tampering in tamperings(runs):
        with _unguarded(url) as connection:
            tampering.do(connection)
            named += _row(report, tampering.what, tampering.position, _verify(connection))
    with _unguarded(url) as connection:
        first = runs.late[0]
        connection.execute("DELETE FROM events WHERE position >= %s", (first,))
        connection.execute("DELETE FROM seals WHERE first_position >= %s", (first,))
        what = "the tail cut off, events and seals, against a head"
        named += _row(report, what, first, _verify(connection, whole.head))
    return named


def _row(report: Report, what: str, position: int, found: Verified) -> bool:
    named, why = 0, ""
    if found.altered is not None:
        named, why = found.altered.position, found.altered.what
    elif found.missing is not None:
        named, why = found.missing.first, f"the key {found.missing.key_id.hex()} is not here"
    report.rows.append((what, f"{position:,}", f"{named:,}" if named else "nothing", why))
    return named == position


def _verify(connection: Connection, expected: SealHead | None = None) -> Verified:
    return verify(connection, KEYS, lambda _done, _total: None, Extent(expected=expected))


@contextmanager
def _unguarded(url: str) -> Iterator[Connection]:
    """A transaction in which everything may be changed, undone at its end."""
    with psycopg.connect(url) as connection:
        for table in ("events", "seals"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        yield connection
        connection.rollback()


def _fetched(url: str) -> float:
    """Rows a second, each one dropped."""
    with psycopg.connect(url) as connection, connection.cursor("events", binary=True) as cursor:
        began, rows = time.perf_counter(), 0
        cursor.execute(EVENTS)
        while fetched := cursor.fetchmany(FETCHED_ROWS):
            rows += len(fetched)
        speed = rows / (time.perf_counter() - began)
    progress(f"fetched: {speed:,.0f} events/s")
    return speed


def _verified(url: str) -> float:
    """Events a second, all of them intact."""
    with psycopg.connect(url, autocommit=True) as connection, snapshot(connection):
        began = time.perf_counter()
        found = _verify(connection)
        speed = found.events / (time.perf_counter() - began)
    if found.altered is not None:
        raise RuntimeError(f"the ledger is not intact: {found.altered}")
    progress(f"verified: {speed:,.0f} events/s")
    return speed


if __name__ == "__main__":
    main("tamper", "reliability.md", measure)

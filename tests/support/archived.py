"""A ledger in small partitions with users' lives in it, and its archiving."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from operator import attrgetter

import psycopg

from ledger.archive_folder import Folder
from ledger.ingest.archiving import Archived, Archiving, Retention
from ledger.ingest.clock import Clock
from ledger.store.ledger import Ledger
from ledger.store.recorder import StoredRow
from ledger.store.rows import Rows
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from tests.support.divided import divide
from tests.support.following import connect, follow_all
from tests.support.ledgers import configure, opened, running

SIZE = 50
USERS = ("ann", "bob", "用户")
ONCE = "once"
"""A user of whom only the first partition tells."""


def live(ledger: Ledger, url: str, partitions: int = 3) -> None:
    """Fill so many partitions, and one event of the next: users come and go, two in each webhook."""
    divide(url, SIZE, partitions + 1)
    configure(ledger)
    asyncio.run(_post(ledger, partitions * SIZE + 1))
    follow(url)


async def _post(ledger: Ledger, up_to: int) -> None:
    async with running(ledger) as instance:
        await instance.post(json.dumps([f"{ONCE}-0-1-1-1-1"]).encode())
        for number in count(2):
            uid, other = USERS[number % 3], USERS[(number + 1) % 3]
            state = number // 3 % 2
            items = [
                f"{uid}-0-{state}-{number // 6 * 6 + number % 3 + 2}-{state}-{state}",
                f"{other}-1-1-{9000 + number}-1-2",
            ]
            await instance.post(json.dumps(items).encode())
            with ledger.connection() as connection:
                row = connection.execute("SELECT max(position) FROM events").fetchone()
            if row is not None and row[0] >= up_to:
                return


def follow(url: str) -> None:
    """Bring every projection, and the agenda, to the head."""
    with connect(url) as connection:
        follow_all(connection, Projector(FOLLOWING))
        connection.execute("UPDATE followers SET position = (SELECT max(position) FROM events)")


def archive(
    ledger: Ledger,
    url: str,
    folder: Folder,
    *,
    sinks: Sequence[str] = (),
    step: Callable[[str], None] = lambda _: None,
    partitions: int | None = None,
) -> list[Archived]:
    """Archive all whole partitions, or so many."""
    retention = Retention(datetime.now(UTC) + timedelta(days=1), folder, sinks)
    made = Archiving(ledger, url, retention, Clock().now, step=step).run()
    done = []
    for each in made:
        done.append(each)
        if len(done) == partitions:
            break
    made.close()  # type: ignore[attr-defined]
    return done


def rows(ledger: Ledger) -> list[StoredRow]:
    """All events that the database has."""
    return ledger.events_recorder.ledger_rows(limit=100_000)


def age(url: str, days: int) -> None:
    """Have all of a ledger recorded so many days earlier, sealed as it would have been then."""
    with opened(url) as ledger:
        events = rows(ledger)
    with psycopg.connect(url) as connection:
        tables = ["seals", *(name for (name,) in connection.execute("SELECT name FROM event_partitions"))]
        for table in ("events", *tables):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
        connection.execute("TRUNCATE events, seals")
        for table in ("events", *tables):
            connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
    with opened(url) as ledger, ledger.events_recorder.commit() as commit:
        for recorded_at, of_commit in groupby(events, attrgetter("recorded_at")):
            packed, first = Rows(), 0
            for row in of_commit:
                first = first or row.position
                packed.add(row.stream, row.version, row.kind, row.payload)
            commit.append_at(packed.pack(), first, recorded_at - timedelta(days=days))

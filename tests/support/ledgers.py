"""A ledger on a database of the test's own, with a writer that takes webhooks, and what it then holds."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import NamedTuple

import psycopg

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.ingest.announce import Configuration, announce_start
from ledger.ingest.clock import Clock
from ledger.ingest.intake import Intake
from ledger.ingest.writer import Committed, Limits, Writer
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX
from ledger.store.recorder import StoredRow
from ledger.store.seal import SealKey
from projections.models import current

SOURCE = "main"
SEAL_KEY = SealKey("the-seal-key-of-the-tests-ledgers")
DEADLINE_SECONDS = 60.0
"""More than a busy machine takes, so that only the product can fail it."""


@contextmanager
def opened(url: str, pool_size: int = 8, key: SealKey = SEAL_KEY) -> Iterator[Ledger]:
    """The ledger of a database, closed afterwards."""
    ledger = Ledger(url, key, pool_size)
    try:
        yield ledger
    finally:
        ledger.close()


def configure(
    ledger: Ledger,
    instance: str = "i",
    profile: Profile = Profile.V2_2,
    sources: Sequence[str] = (SOURCE,),
    nodes: Sequence[str] = ("n1", "n2"),
) -> None:
    """Announce an instance with sources of these nodes."""
    configuration = Configuration(DEFAULT_POLICY, profile, dict.fromkeys(nodes, profile))
    announce_start(ledger, instance, "0", dict.fromkeys(sources, configuration), Clock().now())


class Instance:
    """The ingest of one instance of the service."""

    def __init__(self, name: str, ledger: Ledger, intake: Intake, writer: Writer) -> None:
        self.ledger = ledger
        self.intake = intake
        self.writer = writer
        self._name = name
        self._clock = Clock()
        self._numbers = count(1)

    def is_idle(self) -> bool:
        """Whether nothing waits here, neither for the writer nor for a commit."""
        return not self.intake.waiting.items

    async def post(self, body: bytes, node: str = "n1", source: str = SOURCE) -> str:
        """Submit a webhook and wait for its commit; returns its delivery id."""
        delivery = f"{self._name}-{next(self._numbers)}"
        await self.intake.submit(delivery, source, node, self._clock.now(), body)
        return delivery


class Bounds(NamedTuple):
    """The bounds of an instance's queue and groups."""

    queue_items: int = 200_000
    queue_bytes: int = 64 * 1024 * 1024
    wait_seconds: float = DEADLINE_SECONDS
    group_items: int = 10_000


BOUNDS = Bounds()


@asynccontextmanager
async def running(
    ledger: Ledger, name: str = "i", bounds: Bounds = BOUNDS, committed: Committed = lambda *_: None
) -> AsyncIterator[Instance]:
    """The ingest of an instance, from its start to the commit of all that it took."""
    intake = Intake(bounds.queue_items, bounds.queue_bytes, bounds.wait_seconds)
    writer = Writer(ledger, intake, Limits(bounds.group_items, 65536), committed=committed)
    writer.start()
    try:
        yield Instance(name, ledger, intake, writer)
    finally:
        intake.close()
        assert await asyncio.to_thread(writer.join, DEADLINE_SECONDS)


@contextmanager
def lock_held(url: str) -> Iterator[None]:
    """While another instance is in the middle of a commit."""
    with opened(url, pool_size=1) as other, other.events_recorder.commit():
        yield


def all_rows(ledger: Ledger) -> list[StoredRow]:
    """Every event by position, which follow one another from 1 without a gap."""
    rows: list[StoredRow] = []
    while page := ledger.events_recorder.ledger_rows(after=len(rows), limit=10_000):
        rows += page
        assert [row.position for row in page] == list(range(len(rows) - len(page) + 1, len(rows) + 1))
    return rows


def assert_consistent(ledger: Ledger) -> None:
    """Versions have no gap, instants ascend, and `current` is the fold of each user's events, and nothing else."""
    versions: dict[str, int] = defaultdict(int)
    presences: dict[str, Presence] = {}
    rows = all_rows(ledger)
    for row in rows:
        versions[row.stream] += 1
        assert row.version == versions[row.stream]
        event = ledger.event(row)
        if row.stream.startswith(USER_PREFIX):
            assert isinstance(event, UserEvent)
            uid = row.stream.removeprefix(USER_PREFIX)
            presences[uid] = evolve(presences.get(uid) or Presence(uid), event, row.position)
    instants = [row.recorded_at for row in rows]
    assert instants == sorted(instants)
    with ledger.connection() as connection:
        uids = [uid for (uid,) in connection.execute("SELECT uid FROM current")]
        assert dict(current.load(connection, uids)) == presences
        described = connection.execute("SELECT uid, version, status, since FROM current").fetchall()
    for uid, version, status, since in described:
        flip = presences[uid].flip
        assert flip is not None
        assert (version, status, since) == (presences[uid].version, flip.status, flip.since)


def items_of(ledger: Ledger) -> list[str]:
    """The raw items of all users' events, in the order of their positions."""
    events = (ledger.event(row) for row in all_rows(ledger))
    return [event.raw for event in events if isinstance(event, WebhookObserved)]


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Ask again until it is so; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.005)


OF_THIS_DATABASE = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
"""Of `pg_locks`, which tells of the whole server; tables that stem from one template have the same oid in all of it."""


def end_sessions(url: str, where: str) -> int:
    """End the sessions that a condition on `pg_stat_activity` describes; returns their number."""
    query = f"""
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND {where}
    """
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    number: int = row[0]
    return number

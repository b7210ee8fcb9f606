"""What the rule about push notifications is given: presences, looks, and what the agenda has not heard yet."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from psycopg_pool import ConnectionPool

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.domain.reach_policy import ReachPolicy
from ledger.ingest.clock import Clock
from ledger.store.ledger import Ledger
from ledger.working_state import followers, looks
from projections.queries import reach
from projections.queries.reach import ReachReader
from tests.support import pg
from tests.support.ledgers import SOURCE, configure, running

ITEMS = [
    *(f"{uid}-0-1-{n}-1-1" for n, uid in enumerate(("online", "doubted", "suspect", "old"), 1)),
    "gone-0-1-7-1-1",
    "gone-0-0-7-0-0",
    "late-0-1-8-1-1",
]


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger)
    deliver(ledger, *ITEMS)
    hear(ledger)
    return ledger


def deliver(ledger: Ledger, *items: str) -> None:
    async def run() -> None:
        async with running(ledger) as instance:
            await instance.post(json.dumps(items).encode())

    asyncio.run(run())


def hear(ledger: Ledger) -> None:
    """The agenda has heard all."""
    with ledger.connection() as connection:
        followers.note_followed(connection.cursor(), ledger.events_recorder.max_notification_id() or 0)


@pytest.fixture
def reader(ledger: Ledger, database_url: str) -> Iterator[ReachReader]:
    with ConnectionPool(database_url, min_size=0, max_size=1, kwargs={"autocommit": True}, open=True) as pool:
        yield ReachReader(pool, ledger, ReachPolicy(), Clock().now)


def because(reader: ReachReader, *uids: str) -> list[str]:
    return [answer.answer.because for answer in reader.read(uids).answers]


def look(ledger: Ledger, **watches: Watch) -> None:
    with ledger.connection() as connection:
        looks.write(connection.cursor(), SOURCE, watches)


@pg.on_every_server
def test_the_answer_is_of_the_presence_and_of_what_looks_left(ledger: Ledger, reader: ReachReader) -> None:
    now = Clock().now()
    look(
        ledger,
        doubted=Watch(now, "confirm", None, Doubt("ghost", None, now, 1)),
        suspect=Watch(now, "late_offline"),
        online=Watch(now, "overtaken", now),
    )
    asked = ["online", "doubted", "suspect", "gone", "nobody", "a\0b", "online"]
    assert because(reader, *asked) == [
        "online",
        "doubted",
        "suspect",
        "offline",
        "never_observed",
        "never_observed",
        "online",
    ]
    assert reader.read(asked).made.position == ledger.events_recorder.max_notification_id()


def test_a_look_verifies_what_webhooks_have_not_told_of_for_long(ledger: Ledger, database_url: str) -> None:
    later = Clock().now() + 3600 * SECOND
    look(ledger, old=Watch(later, None, later - SECOND))
    with ConnectionPool(database_url, min_size=0, max_size=1, kwargs={"autocommit": True}, open=True) as pool:
        reader = ReachReader(pool, ledger, ReachPolicy(), lambda: later)
        assert because(reader, "online", "old") == ["unverified", "online"]


def test_a_suspicion_counts_before_the_agenda_has_heard_of_it(ledger: Ledger, reader: ReachReader) -> None:
    deliver(ledger, "late-0-0-99-1-1", "online-0-1-50-2-2")
    assert because(reader, "late", "online") == ["suspect", "online"]
    hear(ledger)
    # Nobody has noted it on the agenda here.
    assert because(reader, "late", "online") == ["online", "online"]


def test_far_behind_whoever_has_changed_is_a_suspect(
    ledger: Ledger, reader: ReachReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(ledger, "online-0-1-51-2-2")
    monkeypatch.setattr(reach, "MAX_UNHEARD", 1)
    assert because(reader, "online", "old") == ["suspect", "online"]

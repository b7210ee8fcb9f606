"""Rebuilding `current`: every column as it is live, what differs is found, and no commit is lost at the switch."""

import asyncio
import threading
from functools import partial
from multiprocessing import Pipe

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger
from projections.engine import by_stream, rebuild, shares
from projections.models.rebuild_current import Compared, FoldFailed, RebuildCurrent, fold_partitions
from tests.support import pg
from tests.support.following import connect
from tests.support.ledgers import assert_consistent, configure, running
from tests.support.lived import USERS, lived, pour

_ROWS = "SELECT * FROM current ORDER BY uid"


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    pour(ledger, lived(5, 150).ledger.kept)
    return ledger


def head(ledger: Ledger) -> int:
    return ledger.events_recorder.max_notification_id() or 0


def quiet(done: int, of: int) -> None:
    assert 0 <= done <= of


def run(url: str) -> Compared:
    with rebuild.alone(url, "current") as connection:
        return RebuildCurrent(connection, url).run(quiet)


@pytest.mark.parametrize("alone_events", [0, 100_000], ids=["several processes", "one process"])
@pg.on_every_server
def test_a_rebuilt_one_is_the_live_one(
    ledger: Ledger,
    database_url: str,
    connection: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
    alone_events: int,
) -> None:
    monkeypatch.setattr(shares, "MAX_EVENTS_ALONE", alone_events)
    monkeypatch.setattr(by_stream, "MAX_SORTED_EVENTS", 50)
    live = connection.execute(_ROWS).fetchall()
    assert run(database_url) == Compared(head(ledger), 0, [])
    assert connection.execute(_ROWS).fetchall() == live
    assert connection.execute("SELECT count(*) FROM current_presence").fetchone() == (len(live),)
    assert_consistent(ledger)


def test_an_empty_ledger_is_rebuilt_too(database_url: str) -> None:
    assert run(database_url) == Compared(0, 0, [])


def test_every_difference_is_counted_and_set_right(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    live = connection.execute(_ROWS).fetchall()
    alice, bob, *_ = sorted(row[0] for row in live)
    connection.execute("UPDATE current SET body = body || ' ' WHERE uid = %s", (alice,))
    connection.execute("DELETE FROM current WHERE uid = %s", (bob,))
    connection.execute("INSERT INTO current VALUES ('nobody', 1, 'online', 0, '', '', '')")
    assert run(database_url) == Compared(head(ledger), 3, sorted([alice, bob, "nobody"]))
    assert connection.execute(_ROWS).fetchall() == live


def test_what_is_appended_meanwhile_is_in_it(ledger: Ledger, database_url: str) -> None:
    configure(ledger)
    ended = threading.Event()
    posted: list[str] = []

    async def post() -> None:
        async with running(ledger) as instance:
            while not ended.is_set():
                number = len(posted) + 1
                posted.append(await instance.post(f'["{USERS[number % 3]}-0-1-{number}-1-1"]'.encode()))

    posting = threading.Thread(target=asyncio.run, args=(post(),))
    posting.start()
    try:
        for _ in range(3):
            assert run(database_url).different == 0
    finally:
        ended.set()
        posting.join()
    assert posted
    assert_consistent(ledger)


def test_nobody_who_appends_waits_for_readers(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit lock is not even asked for while the table cannot be had."""
    configure(ledger)
    live = connection.execute(_ROWS).fetchall()
    reading, tried = [True], []
    attempt = RebuildCurrent._switch

    def watched(self: RebuildCurrent) -> int:
        tried.append(list(reading))
        return attempt(self)

    monkeypatch.setattr(RebuildCurrent, "_switch", watched)
    monkeypatch.setattr(rebuild, "SWITCH_LOCK_SECONDS", 0.05)
    monkeypatch.setattr(rebuild, "INITIAL_BACKOFF_SECONDS", 0.01)
    with connect(database_url) as reader:
        reader.execute("BEGIN; SELECT * FROM current LIMIT 1")

        def end_it(holders: str) -> None:
            reader.execute("COMMIT")
            reading.clear()

        with rebuild.alone(database_url, "current") as rebuilding:
            assert RebuildCurrent(rebuilding, database_url).run(quiet, end_it).different == 0
    assert tried == [[]]
    assert connection.execute(_ROWS).fetchall() == live


def test_an_event_that_cannot_be_folded_is_named(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    live = connection.execute(_ROWS).fetchall()
    connection.execute(
        "INSERT INTO events SELECT 'user:alice', 1000000, max(position) + 1, 'webhook_observed.v2', '{}', "
        "max(recorded_at) FROM events"
    )
    with pytest.raises(FoldFailed, match=f"position {head(ledger)} cannot be folded: ValidationError"):
        run(database_url)
    assert connection.execute(_ROWS).fetchall() == live


def test_a_process_that_fails_or_dies_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MAX_EVENTS_ALONE", 0)
    fold = partial(fold_partitions, "postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(StoreUnavailable):
        shares.together(fold, by_stream.partitions(2), lambda _: None)
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(shares.ProcessEnded, match="a process of the rebuild was ended"):
        shares.receive(ours)

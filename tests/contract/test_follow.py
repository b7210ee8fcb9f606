"""The projector's process: it goes on after a lost connection and a lost notification, and ends when it is told to."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.service import projector
from ledger.store.ledger import Ledger
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from tests.support.following import Noted, checkpoint
from tests.support.ledgers import end_sessions, wait_until
from tests.support.lived import Life, lived, pour

_IS_PROJECTOR = "application_name = 'presence-ledger projector'"


@pytest.fixture
def life() -> Life:
    return lived(2, 80)


@pytest.fixture
def noted(connection: Connection[TupleRow]) -> Noted:
    return Noted().create(connection)


@pytest.fixture
def following(database_url: str, noted: Noted, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process's loop in a thread, until the end of the test."""
    monkeypatch.setattr(projector, "POLL_SECONDS", 0.05)
    ended = threading.Event()
    thread = threading.Thread(
        target=projector.follow, args=(database_url, Projector({"drift": noted}, batch_events=5), ended.is_set)
    )
    thread.start()
    yield
    ended.set()
    thread.join(30)
    assert not thread.is_alive()


def arrive(connection: Connection[TupleRow]) -> None:
    wait_until(lambda: checkpoint(connection, "drift").lag == 0, "the projection has come to the head")


@pytest.mark.usefixtures("following")
def test_a_lost_connection_is_found_again_and_told_of_once(
    ledger: Ledger, connection: Connection[TupleRow], noted: Noted, life: Life, database_url: str
) -> None:
    kept = life.ledger.kept
    with structlog.testing.capture_logs() as logs:
        for end in (len(kept) // 2, len(kept)):
            pour(ledger, kept[ledger.events_recorder.max_notification_id() or 0 : end])
            arrive(connection)
            wait_until(lambda: end_sessions(database_url, _IS_PROJECTOR) == 1, "the projector is connected")
        wait_until(lambda: [each["event"] for each in logs].count("projector_connected") == 2, "it is back")
    assert noted.positions(connection) == list(range(1, len(kept) + 1))
    assert [each["event"] for each in logs] == ["projector_lost_connection", "projector_connected"] * 2


@pytest.mark.usefixtures("following")
def test_a_lost_notification_is_made_up_for(
    ledger: Ledger, connection: Connection[TupleRow], noted: Noted, life: Life
) -> None:
    pour(ledger, life.ledger.kept)
    arrive(connection)
    connection.execute(
        "INSERT INTO events SELECT stream, version + 1000000, (SELECT max(position) + 1 FROM events), kind, payload, "
        "recorded_at FROM events ORDER BY position LIMIT 1"
    )
    arrive(connection)
    assert noted.positions(connection)[-1] == len(life.ledger.kept) + 1


def test_a_database_without_tables_is_no_lost_connection(empty_database_url: str) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        projector.follow(empty_database_url, Projector(FOLLOWING))


def test_a_round_tells_how_far_the_ledger_goes_and_how_far_behind_it_began(
    ledger: Ledger, connection: Connection[TupleRow], noted: Noted, life: Life
) -> None:
    projector, half = Projector({"drift": noted}, batch_events=5), len(life.ledger.kept) // 2
    pour(ledger, life.ledger.kept[:half])
    assert projector.round(connection)
    assert (projector.head, projector.behind) == (half, half)
    pour(ledger, life.ledger.kept[half:])
    assert projector.round(connection)
    assert (projector.head, projector.behind) == (len(life.ledger.kept), len(life.ledger.kept) - 5)


def test_it_stands_back_while_it_is_asked_to_and_goes_on_from_there(
    ledger: Ledger, connection: Connection[TupleRow], database_url: str, noted: Noted, life: Life
) -> None:
    pour(ledger, life.ledger.kept)
    head, positions = len(life.ledger.kept), list[int]()

    def stands_back() -> bool:
        positions.append(checkpoint(connection, "drift").position)
        return len(positions) < 4

    projector.follow(database_url, Projector({"drift": noted}), lambda: _is_at(connection, head), stands_back)
    assert positions[:4] == [0, 0, 0, 0]
    assert noted.positions(connection) == list(range(1, head + 1))


def _is_at(connection: Connection[TupleRow], head: int) -> bool:
    return checkpoint(connection, "drift").position == head


def test_the_more_comes_and_the_nearer_it_is_the_longer_it_rests() -> None:
    assert projector.rest_seconds(0.1, grown=5_000, behind=0) == pytest.approx(0.3)
    assert projector.rest_seconds(0.1, grown=5_000, behind=projector.FAR_BEHIND // 2) == pytest.approx(0.15)
    assert projector.rest_seconds(0.1, grown=5_000, behind=3 * projector.FAR_BEHIND) == 0
    assert projector.rest_seconds(0.1, grown=10, behind=1_000) < 0.01
    assert projector.rest_seconds(0.1, grown=0, behind=1_000) == 0
    assert projector.rest_seconds(60, grown=5_000, behind=0) == projector.MAX_REST_SECONDS

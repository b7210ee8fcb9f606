"""The batch projector: exactly once, one leads, and what a projection cannot take stops that projection alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.events import ServiceStopped
from ledger.errors import StoreUnavailable
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import CURRENT_KINDS, EventMapper, Recorded
from projections.engine import checkpoints
from projections.engine.memory import Memory
from projections.engine.projection import Followed, Projection
from projections.engine.projector import Projector
from tests.support import pg
from tests.support.following import Noted, checkpoint, connect, follow_all
from tests.support.ledgers import SOURCE
from tests.support.lived import lived, pour

OLDER = EventMapper({kind: cls for kind, cls in CURRENT_KINDS.items() if cls is not ServiceStopped})
"""What a version knows that came before one kind of events."""


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """Some dozens of events."""
    pour(ledger, lived(1, 90).ledger.kept)
    return ledger


def projector(*following: Projection, batch_events: int = 7, mapper: EventMapper | None = None) -> Projector:
    return Projector({each.name: each for each in following}, mapper, batch_events)


def head(ledger: Ledger) -> int:
    found = ledger.events_recorder.max_notification_id()
    assert found is not None
    return found


@pg.on_every_server
def test_every_event_is_given_once_and_in_order(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    noted = Noted().create(connection)
    one, other = projector(noted), projector(noted, batch_events=3)
    while one.round(connection) | other.round(connection):
        pass
    assert noted.positions(connection) == list(range(1, head(ledger) + 1))
    found = checkpoint(connection, "drift")
    assert (found.position, found.lag, found.state) == (head(ledger), 0, "following")
    one.round(connection)
    append_stop(ledger)
    follow_all(connection, one)
    assert noted.positions(connection) == list(range(1, head(ledger) + 1))


def append_stop(ledger: Ledger) -> None:
    """One more event."""

    def decide(draft: Draft) -> Iterator[Recorded]:
        yield draft.append_to_source(SOURCE, ServiceStopped(at=1, instance="i"))

    append(ledger, {SOURCE: None}, (), decide)


def test_one_leads_each_projection_and_another_takes_over_at_once(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    drift, sessions = Noted("drift").create(connection), Noted("sessions").create(connection)
    with connect(database_url) as leading:
        with leading.transaction():
            assert checkpoints.lead(leading.cursor(), "drift") is not None
            follow_all(connection, projector(drift, sessions))
            assert drift.positions(connection) == []
            assert sessions.positions(connection) == list(range(1, head(ledger) + 1))
        follow_all(connection, projector(drift, sessions))
    assert drift.positions(connection) == list(range(1, head(ledger) + 1))


def test_what_dies_within_a_batch_has_done_nothing(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    class Dying(Noted):
        def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
            super().handle(cursor, events, memory)
            cursor.connection.close()

    noted = Dying().create(connection)
    with connect(database_url) as dying, pytest.raises(StoreUnavailable):
        projector(noted).round(dying)
    assert noted.positions(connection) == []
    assert checkpoint(connection, "drift").position == 0
    assert checkpoint(connection, "drift").state == "following"


@pytest.mark.parametrize("position", [1, 7, 8, 20])
def test_a_poisoned_event_stops_that_projection_alone_at_that_very_place(
    ledger: Ledger, connection: Connection[TupleRow], position: int
) -> None:
    drift, sessions = Noted("drift", {position}).create(connection), Noted("sessions").create(connection)
    follow_all(connection, projector(drift, sessions))
    assert drift.positions(connection) == list(range(1, position))
    found = checkpoint(connection, "drift")
    assert (found.position, found.stopped_position, found.state) == (position - 1, position, "stopped")
    assert found.stopped_reason == f"ValueError: cannot take {position}"
    assert sessions.positions(connection) == list(range(1, head(ledger) + 1))


def test_a_stopped_one_is_tried_again_by_the_next_process_and_not_by_this_one(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    noted = Noted("drift", {9}).create(connection)
    stopped = projector(noted)
    follow_all(connection, stopped)
    noted.stumbles.clear()
    follow_all(connection, stopped)
    assert checkpoint(connection, "drift").stopped_position == 9
    follow_all(connection, projector(noted))
    assert noted.positions(connection) == list(range(1, head(ledger) + 1))
    assert checkpoint(connection, "drift").stopped_reason is None


def test_a_skipped_event_is_left_out_and_the_projector_goes_on(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    noted = Noted("drift", {9, 11}).create(connection)
    running = projector(noted)
    follow_all(connection, running)
    with connection.transaction():
        checkpoints.skip(connection.cursor(), "drift")
    follow_all(connection, running)
    assert checkpoint(connection, "drift").stopped_position == 11
    with connection.transaction():
        checkpoints.skip(connection.cursor(), "drift")
    follow_all(connection, running)
    assert noted.positions(connection) == [n for n in range(1, head(ledger) + 1) if n not in {9, 11}]
    skipped = connection.execute("SELECT name, position, reason FROM projection_skips ORDER BY position").fetchall()
    assert skipped == [("drift", 9, "ValueError: cannot take 9"), ("drift", 11, "ValueError: cannot take 11")]


def test_a_kind_that_this_version_does_not_know_stops_it_and_a_newer_version_goes_on(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    noted = Noted().create(connection)
    # It reads none of the kinds that there are; what an unknown one says nobody can tell.
    deaf = Noted("sessions").create(connection)
    deaf.kinds = frozenset()
    noted.kinds = frozenset(CURRENT_KINDS) - {"service_stopped.v1"}
    before = head(ledger)
    append_stop(ledger)
    older, newer = projector(noted, deaf, mapper=OLDER), projector(noted, deaf)
    follow_all(connection, older)
    for name in ("drift", "sessions"):
        found = checkpoint(connection, name)
        assert (found.position, found.stopped_position) == (before, before + 1)
        assert "UnknownKind" in (found.stopped_reason or "")
        assert "service_stopped.v1" in (found.stopped_reason or "")
    follow_all(connection, newer)
    assert {checkpoint(connection, name).state for name in ("drift", "sessions")} == {"following"}


def test_a_database_that_is_away_stops_nothing(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    noted = Noted().create(connection)
    connection.execute("SET statement_timeout = '50ms'")

    class Slow(Noted):
        def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
            cursor.execute("SELECT pg_sleep(10)")

    with pytest.raises(StoreUnavailable):
        projector(Slow()).round(connection)
    connection.execute("RESET statement_timeout")
    follow_all(connection, projector(noted))
    assert noted.positions(connection) == list(range(1, head(ledger) + 1))

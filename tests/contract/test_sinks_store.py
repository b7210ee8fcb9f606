"""How far sinks have been told, on PostgreSQL: what the leader writes, and what an operator's order does to it."""

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.working_state import sinks
from ledger.working_state.sinks import SinkCheckpoint, SinkRow

HERE, THERE = SinkCheckpoint("e", 5, 3, 1, 100), SinkCheckpoint("e", 9, 4, 2, 200)


@pytest.fixture
def row(connection: Connection[TupleRow]) -> SinkRow:
    """A sink that has just begun."""
    sinks.begin(connection, "app", HERE)
    return now(connection)


def now(connection: Connection[TupleRow]) -> SinkRow:
    return sinks.read(connection)["app"]


def test_it_begins_once(connection: Connection[TupleRow], row: SinkRow) -> None:
    sinks.begin(connection, "app", THERE)
    assert now(connection) == row == SinkRow("app", HERE, 0, None, None, 0, 0, None, None, None, None)


def test_success_moves_the_checkpoint_with_what_is_remembered(connection: Connection[TupleRow], row: SinkRow) -> None:
    sinks.failed(connection, row, "away" * 1000, 20)
    sinks.failed(connection, row, "busy", 21)
    failing = now(connection)
    assert (failing.failures, failing.failing_since, failing.last_error_at) == (2, 20, 21)
    assert failing.last_error == "busy"
    sinks.succeeded(connection, row, THERE, 7, {"ann": b"1", "ben": b"2"}, 30)
    done = now(connection)
    assert (done.checkpoint, done.told, done.last_success_at, done.failing_since) == (THERE, 7, 30, None)
    assert done.last_error == "busy"
    sinks.succeeded(connection, row, THERE, 1, {"ann": b"3", "ben": None, "cy": None}, 31)
    assert sinks.remembered(connection, "app", ["ann", "ben", "cy"]) == {"ann": b"3"}
    assert sinks.remembered(connection, "other", ["ann"]) == {}


def test_nothing_to_tell_moves_it_too_and_a_receiver_may_recover_by_itself(
    connection: Connection[TupleRow], row: SinkRow
) -> None:
    sinks.move(connection, row, THERE)
    sinks.failed(connection, row, "away", 20)
    sinks.recovered(connection, row, 25)
    assert (now(connection).checkpoint, now(connection).last_success_at) == (THERE, 25)
    assert now(connection).failing_since is None


def test_an_order_wins_over_what_the_leader_writes_after_it(connection: Connection[TupleRow], row: SinkRow) -> None:
    sinks.succeeded(connection, row, HERE, 1, {"ann": b"1"}, 1)
    assert sinks.replay(connection, "app", SinkCheckpoint("e", 0, 0, 0, 0))
    sinks.succeeded(connection, row, THERE, 1, {"ann": b"2"}, 2)
    sinks.move(connection, row, THERE)
    sinks.failed(connection, row, "away", 3)
    sinks.stopped(connection, row, "gone", 4)
    after = now(connection)
    assert (after.checkpoint.position, after.told, after.failures, after.is_held) == (0, 1, 0, False)
    assert sinks.remembered(connection, "app", ["ann"]) == {}


def test_it_is_held_until_it_is_resumed(connection: Connection[TupleRow], row: SinkRow) -> None:
    assert sinks.pause(connection, "app", 10)
    assert sinks.pause(connection, "app", 11)
    assert (now(connection).paused_at, now(connection).is_held, now(connection).revision) == (10, True, 2)
    sinks.stopped(connection, now(connection), "gone", 12)
    assert (now(connection).stopped_at, now(connection).last_error) == (12, "gone")
    assert sinks.resume(connection, "app")
    assert (now(connection).is_held, now(connection).revision, now(connection).checkpoint) == (False, 4, HERE)


def test_there_is_no_order_to_one_that_has_not_begun(connection: Connection[TupleRow]) -> None:
    assert not sinks.pause(connection, "app", 1)
    assert not sinks.resume(connection, "app")
    assert not sinks.replay(connection, "app", HERE)

"""Rebuilding: the same as live, row for row; alongside the live one, which nothing touches until the switch."""

from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger
from projections.engine import by_stream, checkpoints, lock_holders, rebuild, shares
from projections.engine.filling import RebuildFailed
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from tests.support import pg
from tests.support.following import Noted, checkpoint, connect, follow_all
from tests.support.ledgers import end_sessions
from tests.support.lived import lived, pour

_SCHEMA = """
SELECT c.relname, c.relkind, c.reloptions, pg_get_indexdef(c.oid), v.definition
  FROM pg_class AS c LEFT JOIN pg_views AS v ON v.viewname = c.relname
 WHERE c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'noted%' ORDER BY c.relname
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'noted%' ORDER BY 1, 2
"""


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    pour(ledger, lived(3, 120).ledger.kept)
    return ledger


def quiet(done: int, of: int) -> None:
    assert 0 <= done <= of


def run(url: str, name: str, **options: Any) -> int:
    with rebuild.alone(url, name) as connection:
        return rebuild.Rebuild(connection, url, FOLLOWING[name], **options).run(quiet)


def schema(connection: Connection[TupleRow]) -> list[TupleRow]:
    return connection.execute(_SCHEMA).fetchall() + connection.execute(_CONSTRAINTS).fetchall()


def rows(connection: Connection[TupleRow], name: str) -> dict[str, list[TupleRow]]:
    return {
        table: connection.execute(f"SELECT * FROM {table} AS r ORDER BY r".encode()).fetchall()
        for table in FOLLOWING[name].tables
    }


@pytest.mark.parametrize("alone_events", [0, 100_000], ids=["several processes", "one process"])
@pg.on_every_server
def test_a_rebuilt_one_is_the_live_one_and_its_tables_are_what_they_were(
    ledger: Ledger,
    database_url: str,
    connection: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
    alone_events: int,
) -> None:
    monkeypatch.setattr(shares, "MAX_EVENTS_ALONE", alone_events)
    monkeypatch.setattr(by_stream, "MAX_SORTED_EVENTS", 50)
    follow_all(connection, Projector(FOLLOWING, batch_events=5))
    before = schema(connection)
    for name in FOLLOWING:
        live, place = rows(connection, name), checkpoint(connection, name).position
        assert run(database_url, name, batch_events=11) == place
        assert rows(connection, name) == live
        assert checkpoint(connection, name).position == place
    assert schema(connection) == before
    assert any(rows(connection, "drift")["drifts"])


def test_nothing_is_rebuilt_twice_at_once(ledger: Ledger, database_url: str) -> None:
    with (
        rebuild.alone(database_url, "sessions"),
        pytest.raises(rebuild.RebuildRefused, match=r"another rebuild is under way \(sessions, since "),
    ):
        run(database_url, "drift")
    run(database_url, "drift")


def test_one_that_was_killed_has_touched_nothing_and_is_cleared_away(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    follow_all(connection, Projector(FOLLOWING))
    live = rows(connection, "drift")

    def killed(done: int, of: int) -> None:
        end_sessions(database_url, "application_name LIKE 'presence-ledger rebuild%'")

    for clear in ("the next rebuild", "the next start"):
        with pytest.raises(StoreUnavailable), rebuild.alone(database_url, "drift") as rebuilding:
            rebuild.Rebuild(rebuilding, database_url, FOLLOWING["drift"], batch_events=5).run(killed)
        assert has_remains(connection)
        assert rows(connection, "drift") == live
        if clear == "the next rebuild":
            run(database_url, "sessions")
        else:
            rebuild.clear_remains(connection)
        assert not has_remains(connection)
    assert rows(connection, "drift") == live


def has_remains(connection: Connection[TupleRow]) -> bool:
    return connection.execute("SELECT to_regnamespace('rebuild')").fetchone() != (None,)


def test_what_is_under_way_is_not_cleared_away(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    with rebuild.alone(database_url, "drift") as rebuilding:
        rebuild.Rebuild(rebuilding, database_url, FOLLOWING["drift"]).build(quiet)
        rebuild.clear_remains(connection)
        assert has_remains(connection)


def test_an_event_that_cannot_be_taken_ends_it_and_the_live_one_stays(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    noted = Noted().create(connection)
    follow_all(connection, Projector({"drift": noted}))
    live = noted.positions(connection)
    noted.stumbles.add(7)
    with (
        rebuild.alone(database_url, "drift") as rebuilding,
        pytest.raises(RebuildFailed, match=r"position 7: ValueError: cannot take 7"),
    ):
        rebuild.Rebuild(rebuilding, database_url, noted, batch_events=5).run(quiet)
    assert noted.positions(connection) == live
    assert not has_remains(connection)


def test_what_was_skipped_is_tried_again(ledger: Ledger, database_url: str, connection: Connection[TupleRow]) -> None:
    noted = Noted("drift", {3, 9}).create(connection)
    projector = Projector({"drift": noted})
    for _ in range(2):
        follow_all(connection, projector)
        with connection.transaction():
            checkpoints.skip(connection.cursor(), "drift")
    follow_all(connection, projector)
    everything = range(1, checkpoint(connection, "drift").head + 1)
    assert noted.positions(connection) == [n for n in everything if n not in {3, 9}]
    noted.stumbles.remove(3)
    with rebuild.alone(database_url, "drift") as rebuilding:
        rebuild.Rebuild(rebuilding, database_url, noted, batch_events=5).run(quiet)
    assert noted.positions(connection) == [n for n in everything if n != 9]
    assert connection.execute("SELECT position FROM projection_skips").fetchall() == [(9,)]


def test_a_stopped_one_goes_on_after_it_was_rebuilt(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    noted = Noted("drift", {3}).create(connection)
    follow_all(connection, Projector({"drift": noted}))
    assert checkpoint(connection, "drift").state == "stopped"
    noted.stumbles.clear()
    with rebuild.alone(database_url, "drift") as rebuilding:
        rebuild.Rebuild(rebuilding, database_url, noted).run(quiet)
    found = checkpoint(connection, "drift")
    assert (found.state, found.lag) == ("following", 0)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "SWITCH_LOCK_SECONDS", 0.05)
    monkeypatch.setattr(rebuild, "INITIAL_BACKOFF_SECONDS", 0.01)


@pytest.mark.usefixtures("ledger", "hurried")
def test_the_switch_waits_for_readers_and_names_them(
    database_url: str, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_all(connection, Projector(FOLLOWING))
    told: list[str] = []
    with connect(database_url) as reader:
        reader.execute("SET application_name = 'a report'")

        def end_it(holders: str) -> None:
            told.append(holders)
            reader.execute("COMMIT")

        reader.execute("BEGIN; SELECT * FROM drifts LIMIT 1")
        with rebuild.alone(database_url, "drift") as rebuilding:
            rebuild.Rebuild(rebuilding, database_url, FOLLOWING["drift"]).run(quiet, end_it)
        [holder] = told
        assert holder.startswith(f"a report (pid {reader.info.backend_pid}) since ")
        monkeypatch.setattr(rebuild, "SWITCH_TIMEOUT_SECONDS", 0.1)
        reader.execute("BEGIN; SELECT * FROM drifts LIMIT 1")
        with pytest.raises(
            rebuild.RebuildRefused, match=r"a session keeps reading the live tables(?s:.)*a report \(pid"
        ):
            run(database_url, "drift")


@pytest.mark.usefixtures("ledger", "hurried")
def test_who_comes_just_before_the_switch_is_waited_for_too(
    database_url: str, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    follow_all(connection, Projector(FOLLOWING))
    live = rows(connection, "drift")
    looks = 0
    with connect(database_url) as reader:
        reader.execute("BEGIN; SELECT * FROM drifts LIMIT 1")

        def not_seen_at_first(*asked: Any) -> list[lock_holders.LockHolder]:
            nonlocal looks
            looks += 1
            if looks == 1:
                return []
            found = lock_holders.long_held(*asked)
            reader.execute("COMMIT")
            return found

        monkeypatch.setattr(rebuild, "long_held", not_seen_at_first)
        run(database_url, "drift")
    assert looks == 3
    assert rows(connection, "drift") == live
    assert not has_remains(connection)


def test_who_comes_and_goes_holds_nothing_for_long(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(database_url) as brief, connect(database_url) as long:
        for reader in (brief, long):
            reader.execute("BEGIN; SELECT * FROM drifts LIMIT 1")
        monkeypatch.setattr(
            "projections.engine.lock_holders.time.sleep", lambda _: brief.execute("COMMIT; BEGIN; TABLE drifts")
        )
        [holder] = lock_holders.long_held(connection, ("drifts", "snapshots"), 1.0)
        assert holder.pid == long.info.backend_pid
        long.execute("COMMIT; BEGIN; SELECT * FROM sessions LIMIT 1")
        brief.execute("COMMIT")
        assert lock_holders.long_held(connection, ("drifts", "snapshots"), 1.0) == []


def test_privileges_stay(ledger: Ledger, database_url: str, connection: Connection[TupleRow]) -> None:
    connection.execute("GRANT SELECT ON drifts TO PUBLIC")
    granted = connection.execute("SELECT relacl::text FROM pg_class WHERE relname = 'drifts'").fetchall()
    run(database_url, "drift")
    assert connection.execute("SELECT relacl::text FROM pg_class WHERE relname = 'drifts'").fetchall() == granted


def test_no_tables_no_rebuild(empty_database_url: str) -> None:
    with pytest.raises(rebuild.RebuildRefused, match="Run `presence-ledger migrate`"):
        run(empty_database_url, "drift")

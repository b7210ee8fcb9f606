"""Archiving on a real server: what leaves the database is whole and proven in files first, whenever it is cut off."""

import os
from pathlib import Path
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.instants import from_datetime
from ledger.domain.reconciliation_events import TierSet
from ledger.errors import StoreUnavailable
from ledger.ingest import archive_turn, archiving, unarchiving
from ledger.ingest.archive_turn import ArchiveWaits
from ledger.ingest.archiving import ArchiveRefused
from ledger.service import archive_process
from ledger.service.archive_process import ArchiveOrders, ArchiveOutcome
from ledger.store import session
from ledger.store.archive import partitions, table, writing
from ledger.store.archive.manifest import ArchiveUnwritable
from ledger.store.commit import COMMIT_LOCK, LOCK
from ledger.store.ledger import Ledger
from ledger.store.rows import Rows
from ledger.working_state import sinks
from ledger.working_state.sinks import SinkCheckpoint
from projections.engine import rebuild
from projections.engine.rebuild import Rebuild
from projections.models import current, repair_current
from projections.models.registry import FOLLOWING
from projections.queries import history
from tests.support import pg
from tests.support.archived import ONCE, SIZE, archive, rows
from tests.support.ledgers import SEAL_KEY
from tests.support.tampering import found, unguarded, verified

pytestmark = pytest.mark.usefixtures("lived")

STEPS = ("write", "prove", "snapshots", "keep", "replace", "drop")
TIER = TierSet(received_at=1, tier="vip", by="ops", status_before="unknown", status_after="unknown")
PARTITIONS = {"events_from_1", *(f"events_from_{SIZE * number}" for number in range(1, 4))}


class Killed(BaseException):
    """What no `except Exception` sees, as a kill."""


@pytest.fixture
def archived(ledger: Ledger, database_url: str, folder: Path) -> Path:
    """The folder of two files of a ledger of which two partitions are archived."""
    archive(ledger, database_url, folder, partitions=2)
    return folder


def tables(url: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relname LIKE 'events\\_from%' AND relkind = 'r'"
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(query)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left_over(url: str) -> list[tuple[str, bool]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT name, is_table FROM archive_leftovers").fetchall()


def age_leftovers(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE archive_leftovers SET noted_at = noted_at - interval '2 hours'")


@pg.on_every_server
def test_whole_partitions_leave_and_what_sources_said_stays(ledger: Ledger, database_url: str, folder: Path) -> None:
    before, whole = rows(ledger), verified(database_url)
    done = archive(ledger, database_url, folder)
    assert [(each.first, each.before) for each in done] == [(1, 50), (50, 100), (100, 150)]
    assert names(folder) == [each.files[0].name for each in done]
    kept = [row for row in before if row.stream.startswith("source:") or row.position >= 150]
    assert rows(ledger)[: len(kept)] == kept
    assert tables(database_url) == PARTITIONS | {name for name in tables(database_url) if name.endswith("150")}
    after = verified(database_url, archive=folder)
    assert (after.altered, after.events) == (None, whole.events + 3)
    assert left_over(database_url) == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert table.before(connection) == 150
        # Nobody can change what is left of it.
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("DELETE FROM events_from_50")
    assert archive(ledger, database_url, folder) == []


@pytest.mark.parametrize("step", STEPS)
def test_what_is_killed_at_any_step_is_begun_again(ledger: Ledger, database_url: str, folder: Path, step: str) -> None:
    def die(at: str) -> None:
        if at == step:
            raise Killed

    with pytest.raises(Killed):
        archive(ledger, database_url, folder, step=die)
    assert verified(database_url, archive=folder).is_intact
    assert len(archive(ledger, database_url, folder)) == (2 if step == "drop" else 3)
    assert verified(database_url, archive=folder).is_intact
    with psycopg.connect(database_url) as connection:
        named = {name for (name,) in connection.execute("SELECT name FROM archive_files")}
    age_leftovers(database_url)
    archive(ledger, database_url, folder)
    assert (set(names(folder)), left_over(database_url)) == (named, [])
    assert not [name for name in tables(database_url) if name.endswith(("_kept", "_detached"))]


def test_a_folder_that_cannot_be_written_stops_it_before_anything_leaves(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_text("a file")
    with pytest.raises(ArchiveUnwritable, match=r"cannot be written: File exists. Nothing has left the database"):
        archive(ledger, database_url, folder)
    folder.unlink()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(ArchiveUnwritable, match="No space left"):
            archive(ledger, database_url, folder)
    assert names(folder) == []
    assert verified(database_url).is_intact
    assert len(archive(ledger, database_url, folder)) == 3


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE events SET payload = '{}' WHERE position = 60", "60: the event is not as it was sealed"),
        ("UPDATE events SET recorded_at = now() WHERE position = 60", "60: recorded_at of the event"),
        ("DELETE FROM events WHERE position = 60", "60: the event is missing"),
        ("DELETE FROM events WHERE position = 99", "99: the event is missing"),
        ("INSERT INTO events SELECT stream, 1000, position, kind, payload, recorded_at FROM events WHERE position = 60",
         "60: the event (was never|is not as it was) sealed"),
    ],
)  # fmt: skip
def test_what_is_not_as_it_was_sealed_stays(
    ledger: Ledger, database_url: str, folder: Path, change: str, what: str
) -> None:
    with unguarded(database_url) as connection:
        connection.execute(change.encode())
        connection.execute("ALTER TABLE events ENABLE TRIGGER USER")
        connection.execute("ALTER TABLE seals ENABLE TRIGGER USER")
        connection.commit()
    with pytest.raises(ArchiveRefused, match=what):
        archive(ledger, database_url, folder)
    with ledger.connection() as reading:
        assert table.before(reading) == 50
    assert len(names(folder)) == 1


def test_files_that_a_commit_on_its_way_may_need_stay(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the connection broke while the server waits for its standby."""
    with psycopg.connect(database_url) as under_way:

        def run(replacing: archiving._Replacing) -> None:
            age_leftovers(database_url)
            under_way.execute(LOCK, (COMMIT_LOCK, "0"))
            table.add(under_way.cursor(), replacing._archived.files)
            raise StoreUnavailable("the answer was lost")

        monkeypatch.setattr(archiving._Replacing, "run", run)
        with pytest.raises(StoreUnavailable, match="was lost"):
            archive(ledger, database_url, folder)
        with archive_turn.alone(database_url, folder):
            pass
        under_way.commit()
        assert names(folder) == [each.name for each in table.read(under_way)]
    with archive_turn.alone(database_url, folder):
        assert len(names(folder)) == 1


def test_files_that_were_removed_as_left_over_come_into_no_use(ledger: Ledger, database_url: str, folder: Path) -> None:
    steps: list[str] = []

    def meanwhile(step: str) -> None:
        steps.append(step)
        if step == "replace" and steps.count("replace") == 1:
            age_leftovers(database_url)
            with session.connect(database_url) as connection:
                archive_turn.clean(connection, folder)

    archive(ledger, database_url, folder, step=meanwhile, partitions=1)
    assert steps.count("replace") == 2
    assert verified(database_url, archive=folder).is_intact


def test_who_still_needs_the_events_is_waited_for(ledger: Ledger, database_url: str, folder: Path) -> None:
    with ledger.connection() as connection:
        place = SinkCheckpoint("e", 30, 0, 0, 1)
        sinks.begin(connection, "app", place)
        connection.execute("UPDATE projections SET position = 20 WHERE name = 'drift'")
    with pytest.raises(ArchiveWaits, match=r"projection 'drift' is at position 20 and still needs .* up to 49"):
        archive(ledger, database_url, folder, sinks=["app"])
    with ledger.connection() as connection:
        connection.execute("UPDATE projections SET position = 1000 WHERE name = 'drift'")
    with pytest.raises(ArchiveWaits, match="sink 'app' is at position 30"):
        archive(ledger, database_url, folder, sinks=["app"])
    assert len(archive(ledger, database_url, folder)) == 3


def test_a_reader_is_waited_for_and_another_one_archives_alone(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_turn, "ATTEMPTS", 2)
    monkeypatch.setattr(archive_turn, "PAUSE_SECONDS", 0.01)
    with session.connect(database_url) as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM events")
        held_by = rf"`events` is held by presence-ledger \(pid {reader.info.backend_pid}\) since .*; nothing was taken"
        with pytest.raises(ArchiveWaits, match=held_by):
            archive(ledger, database_url, folder)
        # One who came just before the attempt.
        monkeypatch.setattr(archive_turn, "long_held", lambda *_: [])
        with pytest.raises(ArchiveWaits, match="`events` is held by many who come and go"):
            archive(ledger, database_url, folder)
    assert names(folder) == []
    with archive_turn.alone(database_url, folder), pytest.raises(ArchiveWaits, match="Another one is archiving"):
        archive(ledger, database_url, folder)
    with rebuild.alone(database_url, "sessions"), pytest.raises(ArchiveWaits, match="is being rebuilt"):
        archive(ledger, database_url, folder)


def test_nothing_is_attempted_while_somebody_holds_the_partition_alone(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a vacuum against wraparound does, which waits for nobody."""
    monkeypatch.setattr(archive_turn, "ATTEMPTS", 2)
    monkeypatch.setattr(archive_turn, "PAUSE_SECONDS", 0.01)
    replace = Mock(wraps=partitions.replace)
    monkeypatch.setattr(partitions, "replace", replace)
    with session.connect(database_url) as vacuum, vacuum.transaction():
        vacuum.execute("LOCK TABLE events_from_1 IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(ArchiveWaits, match=f"is held by .*pid {vacuum.info.backend_pid}"):
            archive(ledger, database_url, folder)
    assert not replace.called


def altered(url: str, folder: Path) -> tuple[int, str] | None:
    found = verified(url, archive=folder).altered
    return found and (found.position, found.what)


def test_verify_names_the_file_and_the_position(ledger: Ledger, database_url: str, archived: Path) -> None:
    path = archived / names(archived)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    name = f"the archive's file {path.name}, of positions 50 to 99,"
    assert altered(database_url, archived) == (50, f"{name} is not as it was written")
    path.write_bytes(whole[:-9])
    assert altered(database_url, archived) == (50, f"{name} is not as it was written")
    path.unlink()
    assert altered(database_url, archived) == (50, f"{name} is missing in {archived}")
    # Somebody who wrote it anew, and its digest, too.
    with ledger.connection() as connection:
        [_, there] = table.read(connection)
    path.write_bytes(whole)
    made = writing.rewrite(archived, there, "another", [70], {60: b"{}"})
    assert made is not None
    with psycopg.connect(database_url) as tampering:
        tampering.execute(
            "UPDATE archive_files SET name = 'another', size = %s, sha256 = %s WHERE first = 50",
            (made.size, made.sha256),
        )
    found = altered(database_url, archived)
    assert found is not None
    assert found[0] == 60
    only = verified(database_url, archive=archived, after=66).altered
    assert only is not None
    assert (only.position, only.what) == (70, "the event was removed")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE events_from_50 SET payload = '{}' WHERE position = PLACE", "the event was altered in the database"),
        ("DELETE FROM events_from_50 WHERE position = PLACE", "the event was removed from the database"),
        (
            (
                "INSERT INTO events_from_50 SELECT 'user:x', 1, GONE, kind, payload, recorded_at FROM events"
                " WHERE position = PLACE"
            ),
            "an event was put in where events have been archived",
        ),
    ],
)
def test_what_the_database_keeps_is_held_against_the_files(
    ledger: Ledger, database_url: str, archived: Path, change: str, what: str
) -> None:
    there = {row.position for row in rows(ledger)}
    place, gone = min(there - {*range(60)}), min({*range(60, 100)} - there)
    with unguarded(database_url) as connection:
        connection.execute("ALTER TABLE events_from_50 DISABLE TRIGGER USER")
        connection.execute(change.replace("PLACE", str(place)).replace("GONE", str(gone)).encode())
        differs = found(connection, archive=archived).altered
    assert differs is not None
    assert (differs.position, differs.what[: len(what)]) == (gone if "GONE" in change else place, what)


@pg.on_every_server
def test_what_was_archived_can_be_put_back(ledger: Ledger, database_url: str, folder: Path) -> None:
    before = rows(ledger)
    archive(ledger, database_url, folder)
    kept = rows(ledger)
    done = list(unarchiving.restore(ledger, database_url, folder, lambda *_: None))
    assert [(each.first, each.before, each.events) for each in done] == [(100, 150, 50), (50, 100, 50), (1, 50, 49)]
    assert [row for row in rows(ledger) if row.position <= before[-1].position] == before
    assert len(rows(ledger)) == len(before) + len([row for row in kept if row.position > before[-1].position])
    assert (names(folder), left_over(database_url)) == ([], [])
    assert verified(database_url, archive=folder).is_intact
    with rebuild.alone(database_url, "sessions"):
        pass
    assert len(archive(ledger, database_url, folder)) == 3
    assert verified(database_url, archive=folder).is_intact


def test_nothing_is_put_back_while_a_rebuild_reads_it_from_files(
    ledger: Ledger, database_url: str, archived: Path
) -> None:
    with rebuild.alone(database_url, "sessions"), pytest.raises(ArchiveWaits, match="is being rebuilt"):
        list(unarchiving.restore(ledger, database_url, archived, lambda *_: None))
    assert len(names(archived)) == 2
    assert verified(database_url, archive=archived).is_intact


def test_putting_back_that_is_killed_is_begun_again(
    ledger: Ledger, database_url: str, archived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Killed

    def restore() -> int:
        return len(list(unarchiving.restore(ledger, database_url, archived, lambda *_: None)))

    for step in ("fill", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(unarchiving, "when_free", die) if step == "fill" else patched.setattr(
                partitions, "replace", die
            )
            with pytest.raises(Killed):
                restore()
        assert verified(database_url, archive=archived).is_intact
    assert restore() == 2
    assert verified(database_url).is_intact
    assert (names(archived), left_over(database_url)) == ([], [])


def test_current_is_repaired_without_the_archive(
    ledger: Ledger, database_url: str, archived: Path, connection: Connection[TupleRow]
) -> None:
    uids = [uid for (uid,) in connection.execute("SELECT uid FROM current")]
    right = dict(current.load(connection, uids))
    connection.execute("UPDATE ledger_identity SET suspect_after = 0")
    connection.execute(
        "UPDATE current SET version = version + 1, state = (SELECT state FROM snapshots LIMIT 1) WHERE uid = %s",
        (ONCE,),
    )
    connection.execute("DELETE FROM current WHERE uid = 'ann'")
    repaired = repair_current.repair(connection)
    assert repaired is not None
    assert repaired.wrong >= 1
    assert dict(current.load(connection, uids)) == right


def test_a_large_partition_makes_several_files(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MAX_FILE_EVENTS", 20)
    [done] = archive(ledger, database_url, folder, partitions=1)
    assert [(each.first, each.before, each.events) for each in done.files] == [(1, 21, 20), (21, 41, 20), (41, 50, 9)]
    assert verified(database_url, archive=folder).is_intact
    assert [each.events for each in unarchiving.restore(ledger, database_url, folder, lambda *_: None)] == [49]


def test_a_rebuild_of_the_snapshots_meanwhile_loses_none(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow]
) -> None:
    steps: list[str] = []

    def meanwhile(step: str) -> None:
        steps.append(step)
        if step == "replace" and steps.count("replace") == 1:
            with rebuild.alone(database_url, "snapshots") as rebuilding:
                Rebuild(rebuilding, database_url, FOLLOWING["snapshots"]).run(lambda *_: None)

    archive(ledger, database_url, folder, step=meanwhile, partitions=1)
    assert steps.count("replace") == 2
    assert connection.execute("SELECT count(*) FROM snapshots WHERE uid = %s", (ONCE,)).fetchone() == (1,)


def test_positions_without_events_have_no_file(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow]
) -> None:
    # A partition that was made ahead, and then a slice from far beyond it.
    connection.execute("SELECT make_events_room(200, 50)")
    with ledger.events_recorder.commit() as commit:
        packed = Rows()
        packed.add("user:far", 1, *ledger.events_mapper.kind_and_payload(TIER))
        last = commit.recorded_at
        commit.append_at(packed.pack(), 1_000_000, last)
    for name in ("projections", "followers"):
        connection.execute(f"UPDATE {name} SET position = 1000000".encode())
    done = archive(ledger, database_url, folder)
    assert [(each.first, each.before) for each in done[3:]] == [(150, 200), (200, 250)]
    assert (done[4].events, len(names(folder))) == (0, 4)
    # What follows it is found by its instant all the same.
    assert history.position_at(connection, from_datetime(last)) == 1_000_000
    assert history.position_at(connection, from_datetime(last) - 1) < 200
    assert verified(database_url, archive=folder).is_intact
    made = list(unarchiving.restore(ledger, database_url, folder, lambda *_: None))
    assert (made[0].events, len(made), names(folder)) == (0, 5, [])
    assert verified(database_url).is_intact


def test_the_process_that_archives_says_what_came_of_it(ledger: Ledger, database_url: str, folder: Path) -> None:
    orders = ArchiveOrders(database_url, SEAL_KEY.text, str(folder), -1.0, ["app"], "info", "auto")
    with ledger.connection() as connection:
        sinks.begin(connection, "app", SinkCheckpoint("e", 60, 0, 0, 1))
    outcome = archive_process.run(orders)
    assert (outcome.partitions, outcome.events, outcome.waits) == (1, 49, True)
    assert "sink 'app'" in (outcome.failed or "")
    with ledger.connection() as connection:
        connection.execute("UPDATE sinks SET position = 1000")
    assert archive_process.run(orders) == ArchiveOutcome(2, 100)
    assert archive_process.run(orders) == ArchiveOutcome()

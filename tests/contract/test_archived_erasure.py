"""Erasure of users of whom a part is archived: no byte of them is left in a file, and the seals hold."""

import asyncio
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.cli import backup
from ledger.cli.access import connected_to
from ledger.domain.events import ItemRejected
from ledger.domain.reconciliation_events import PollObserved, RunCounts, RunEnded, RunStarted
from ledger.errors import StoreUnavailable
from ledger.ingest import archive_turn, erasing, erasing_archived, unarchiving
from ledger.ingest.append import append
from ledger.ingest.archive_turn import ArchiveWaits
from ledger.ingest.erasing import NeverSeen, Order
from ledger.ingest.erasing_archived import Rewritten
from ledger.service.erasures import Erasures
from ledger.settings.load import load
from ledger.store.archive import files, selected, table, writing
from ledger.store.archive.manifest import ArchiveDamaged, ArchiveUnwritable
from ledger.store.backup import BackupError
from ledger.store.commit import COMMIT_LOCK, LOCK
from ledger.store.ledger import Ledger
from ledger.store.verify import snapshot
from ledger.working_state import erasures
from projections.queries import archived as reading
from tests.support.archived import ONCE, SIZE, archive, follow
from tests.support.dumping import tables_naming
from tests.support.ledgers import SEAL_KEY, SOURCE
from tests.support.tampering import KEYS, verified

pytestmark = pytest.mark.usefixtures("lived")

ORDER = Order("as they had asked", "ops")
UID = "用户"


def erase(ledger: Ledger, uid: str, folder: Path) -> erasing.Erasure:
    return erasing.erase(ledger, uid, ORDER, [SEAL_KEY], 1, folder)


def rejected_item(raw: str) -> ItemRejected:
    return ItemRejected(delivery="d", node="n1", received_at=1, item=0, raw=raw, reason="fields", size=8)


def meanwhile(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, what: Callable[[], object]) -> list[bool]:
    """Have something done at the first call of a function, before it begins."""
    done: list[bool] = []
    function = getattr(module, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        if not done:
            done.append(True)
            what()
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, called)
    return done


def holding(folder: Path, uid: str, connection: Connection[TupleRow]) -> list[str]:
    """The files that have the user's name in any column."""
    found = []
    for each in table.read(connection):
        events = list(files.rows(files.groups(folder, each)))
        if any(uid in event.stream or uid.encode() in event.payload for event in events):
            found.append(each.name)
    return found


def test_no_byte_is_left_in_the_files(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow]
) -> None:
    def rejected(draft):  # type: ignore[no-untyped-def]
        yield draft.append_to_source(SOURCE, rejected_item(f"{UID}-x"))

    append(ledger, {SOURCE: None}, (), rejected)
    whole = verified(database_url).events
    archive(ledger, database_url, folder)
    before = {path.name for path in folder.iterdir()}
    assert len(holding(folder, UID, connection)) == 3
    erasure = erase(ledger, UID, folder)
    assert (holding(folder, UID, connection), tables_naming(connection, UID) - {"public.erasures"}) == ([], set())
    after = {path.name for path in folder.iterdir()}
    assert (len(after), after & before) == (3, set())
    assert erasure.event.events > 20
    assert len(erasure.event.redacted) == 1
    found = verified(database_url, archive=folder)
    assert (found.altered, found.erased) == (None, erasure.event.events)
    assert found.events == whole + 3 + 1 - erasure.event.events
    # The same record; of whom nothing is known nothing is archived.
    assert erase(ledger, UID, folder).position == erasure.position
    assert reading.of_user(connection, UID) is None
    with pytest.raises(NeverSeen):
        erase(ledger, "nobody", folder)
    assert connection.execute("SELECT count(*) FROM archive_leftovers").fetchone() == (0,)


def test_of_whom_only_the_archive_tells(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow]
) -> None:
    archive(ledger, database_url, folder)
    assert erase(ledger, ONCE, folder).event.events == 1
    assert holding(folder, ONCE, connection) == []
    assert verified(database_url, archive=folder).is_intact


def test_an_erasure_while_a_partition_is_archived_reaches_it(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow]
) -> None:
    for step in ("prove", "snapshots", "replace"):
        uid = {"prove": "ann", "snapshots": "bob", "replace": UID}[step]
        began = False

        def meanwhile(at: str, step: str = step, uid: str = uid) -> None:
            nonlocal began
            if at == step and not began:
                began = True
                erase(ledger, uid, folder)

        archive(ledger, database_url, folder, step=meanwhile, partitions=1)
        assert holding(folder, uid, connection) == []
        assert connection.execute("SELECT count(*) FROM snapshots WHERE uid = %s", (uid,)).fetchone() == (0,)
    assert verified(database_url, archive=folder).is_intact


def test_an_archive_that_moves_meanwhile_is_written_anew(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    write = erasing_archived.rewritten
    moved: list[bool] = []

    def rewritten(*args: Any) -> Rewritten:
        found = write(*args)
        if not moved:
            moved.append(bool(archive(ledger, database_url, folder, partitions=1)))
        return found

    monkeypatch.setattr(erasing_archived, "rewritten", rewritten)
    erase(ledger, UID, folder)
    assert holding(folder, UID, connection) == []
    assert len(list(folder.iterdir())) == len(table.read(connection))
    assert verified(database_url, archive=folder).is_intact


def test_a_file_that_an_erasure_replaces_meanwhile_is_not_told_as_damage(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=2)
    with monkeypatch.context() as patched:
        done = meanwhile(patched, selected, "positions_of", lambda: erase(ledger, "bob", folder))
        assert (erase(ledger, UID, folder).is_new, done) == (True, [True])
    with monkeypatch.context() as patched:
        done = meanwhile(patched, files, "groups", lambda: erase(ledger, ONCE, folder))
        assert reading.Archive(ledger, database_url, folder).rows_after(0, 10).answer[0].position == 1
        assert done
    with monkeypatch.context() as patched:
        done = meanwhile(patched, files, "check", lambda: erase(ledger, "ann", folder))
        found = verified(database_url, archive=folder)
        assert (found.altered, done) == (None, [True])


def test_two_who_stand_in_one_archived_event_are_erased_at_once(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    def polled(draft):  # type: ignore[no-untyped-def]
        uids = (UID, "bob")
        yield draft.append_to_source(
            SOURCE,
            PollObserved(
                poll="p", run="r", node="n1", route="/user/onlinestatus", asked_at=1, answered_at=1, head=1, asked=2,
                agreed=2, findings=(), rows=dict.fromkeys(uids, "0:1"),
            ),
        )  # fmt: skip
        for number in range(SIZE):
            yield draft.append_to_source(SOURCE, rejected_item(f"nobody-{number}"))

    append(ledger, {SOURCE: None}, (), polled)
    follow(database_url)
    archive(ledger, database_url, folder)
    assert len(table.read(connection)) == 4
    done = meanwhile(monkeypatch, erasing_archived, "rewritten", lambda: erase(ledger, "bob", folder))
    assert (erase(ledger, UID, folder).is_new, done) == (True, [True])
    assert (holding(folder, UID, connection), holding(folder, "bob", connection)) == ([], [])
    assert verified(database_url, archive=folder).is_intact


def test_whoever_a_run_names_is_erased_from_the_files_in_one_go(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(draft):  # type: ignore[no-untyped-def]
        yield draft.append_to_source(SOURCE, RunStarted(run="r", at=1, instance="i", scope="manual", uids=(UID,)))
        ended = RunEnded(
            run="r", at=2, started_at=1, scope="manual", outcome="completed", counts=RunCounts(), failures={"n1": UID}
        )
        yield draft.append_to_source(SOURCE, ended)

    append(ledger, {SOURCE: None}, (), ran)
    archive(ledger, database_url, folder, partitions=1)
    rewrite = Mock(wraps=writing.rewrite)
    monkeypatch.setattr(writing, "rewrite", rewrite)
    assert len(erase(ledger, UID, folder).event.redacted) == 2
    assert rewrite.call_count == 1


def test_a_file_that_an_erasure_replaces_meanwhile_is_not_put_back(
    ledger: Ledger, database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    done = meanwhile(monkeypatch, files, "check", lambda: erase(ledger, "ann", folder))
    with pytest.raises(ArchiveWaits, match="changed meanwhile"):
        list(unarchiving.restore(ledger, database_url, folder, lambda *_: None))
    assert done
    assert len(list(unarchiving.restore(ledger, database_url, folder, lambda *_: None))) == 1


def test_a_backup_that_would_name_a_replaced_file_is_not_written(
    ledger: Ledger, database_url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    settings = load(environ={"PRESENCE_LEDGER_RETENTION_ARCHIVE_DIR": str(folder)}, folder=tmp_path)
    monkeypatch.setattr(backup, "dump", lambda *_, **__: erase(ledger, UID, folder).position)
    with (
        connected_to(database_url) as connection,
        snapshot(connection),
        pytest.raises(BackupError, match="begin again"),
    ):
        backup._write(settings, database_url, connection, KEYS, BytesIO())


def test_a_backup_whose_archive_has_other_files_by_now_is_not_told_as_altered(
    ledger: Ledger, database_url: str, folder: Path
) -> None:
    """As where an erasure came after it, and no copies of what it replaced are here."""
    archive(ledger, database_url, folder, partitions=1)
    head = verified(database_url, archive=folder).head
    [path] = folder.iterdir()
    path.unlink()
    with pytest.raises(BackupError, match=rf"is missing in .*\n.*put {path.name} back from a copy of the archive"):
        backup._verify(database_url, KEYS, folder, head, Path("ledger.backup"))


def test_where_a_file_is_missing_or_none_can_be_written_nothing_is_erased(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    [path] = folder.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(ArchiveUnwritable, match="No space left"):
            erase(ledger, UID, folder)
    assert list(folder.iterdir()) == [path]
    path.rename(folder / "elsewhere")
    with pytest.raises(ArchiveDamaged, match="is missing"):
        erase(ledger, UID, folder)
    assert erasures.last_position(connection) == 0
    (folder / "elsewhere").rename(path)
    assert erase(ledger, UID, folder).is_new


def test_files_that_a_commit_on_its_way_may_need_stay(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    with psycopg.connect(database_url) as under_way:

        def run(attempt: Any, _: object) -> None:
            under_way.execute(LOCK, (COMMIT_LOCK, "0"))
            attempt._archived.put(under_way.cursor())
            raise StoreUnavailable("the answer was lost")

        monkeypatch.setattr(erasing._Attempt, "run", run)
        with pytest.raises(StoreUnavailable, match="was lost"):
            erase(ledger, UID, folder)
        under_way.commit()
    assert len(list(folder.iterdir())) == 2
    assert holding(folder, UID, connection) == []


def test_files_that_a_kill_left_are_removed_where_nothing_is_archived_any_more(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    archive(ledger, database_url, folder, partitions=1)
    with monkeypatch.context() as killed:
        killed.setattr(Rewritten, "clean", lambda *_: None)
        erase(ledger, UID, folder)
    settings = load(environ={"PRESENCE_LEDGER_RETENTION_ARCHIVE_DIR": str(folder)}, folder=tmp_path)
    assert settings.events_days == 0

    def another_looks() -> list[str]:
        asyncio.run(Erasures(ledger, database_url, lambda: settings, lambda: 1).look())
        return sorted(path.name for path in folder.iterdir())

    # For a while somebody may still be at them.
    assert len(another_looks()) == 2
    connection.execute("UPDATE archive_leftovers SET noted_at = noted_at - interval '1 hour'")
    assert another_looks() == [each.name for each in table.read(connection)]
    assert holding(folder, UID, connection) == []


def test_files_that_were_removed_as_left_over_come_into_no_use(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an erasure takes hours."""
    archive(ledger, database_url, folder, partitions=1)

    def clean() -> None:
        connection.execute("UPDATE archive_leftovers SET noted_at = noted_at - interval '2 hours'")
        archive_turn.clean(connection, folder)

    done = meanwhile(monkeypatch, erasing._Attempt, "run", clean)
    assert (erase(ledger, UID, folder).is_new, done) == (True, [True])
    assert verified(database_url, archive=folder).is_intact


def test_a_commit_whose_answer_was_lost_keeps_the_new_files(
    ledger: Ledger, database_url: str, folder: Path, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(ledger, database_url, folder, partitions=1)
    run = erasing._Attempt.run

    def lost(*args: Any) -> None:
        run(*args)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(erasing._Attempt, "run", lost)
    with pytest.raises(StoreUnavailable):
        erase(ledger, UID, folder)
    assert holding(folder, UID, connection) == []
    assert len(list(folder.iterdir())) == 1
    assert verified(database_url, archive=folder).is_intact

"""Archiving on a real server: what leaves the database is whole and proven in files first, whenever it is cut off."""

from pathlib import Path

import psycopg
import pytest

from ledger.ingest.archiving import ArchiveRefused, ArchiveWaits
from ledger.store.archive import table
from ledger.store.archive.manifest import ArchiveUnwritable
from ledger.store.ledger import Ledger
from ledger.store.recorder import StoredRow
from tests.support.archived import SIZE, archive, live
from tests.support.tampering import unguarded, verified

STEPS = ("write", "prove", "snapshots", "keep", "replace", "drop")


@pytest.fixture
def ledger(ledger: Ledger, database_url: str) -> Ledger:
    live(ledger, database_url)
    return ledger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def rows(ledger: Ledger) -> list[StoredRow]:
    return ledger.events_recorder.ledger_rows(limit=10_000)


def tables(url: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relname LIKE 'events\\_from%' AND relkind = 'r'"
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute(query)}


def test_whole_partitions_leave_and_what_sources_said_stays(ledger: Ledger, database_url: str, folder: Path) -> None:
    before, whole = rows(ledger), verified(database_url)
    done = archive(ledger, database_url, folder)
    assert [(each.first, each.before) for each in done] == [(1, 50), (50, 100), (100, 150)]
    assert [path.name for path in sorted(folder.iterdir())] == [each.files[0].name for each in done]
    kept = [row for row in before if row.stream.startswith("source:") or row.position >= 150]
    assert rows(ledger)[: len(kept)] == kept
    assert tables(database_url) == {"events_from_1", *(f"events_from_{SIZE * n}" for n in range(1, 4))} | {
        name for name in tables(database_url) if name not in {"events_from_1"}
    }
    after = verified(database_url, archive=folder)
    assert (after.altered, after.events) == (None, whole.events + 3)
    with ledger.connection() as connection:
        assert table.leftovers(connection, -1) == []
        assert table.before(connection) == 150
    assert archive(ledger, database_url, folder) == []


class Killed(BaseException):
    """What no `except Exception` sees, as a kill."""


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
        assert connection.execute("SELECT count(*) FROM archive_leftovers WHERE is_table").fetchone() == (0,)
        names = {name for (name,) in connection.execute("SELECT name FROM archive_files")}
    assert not [name for name in tables(database_url) if name.endswith(("_kept", "_detached"))]
    assert names <= {path.name for path in folder.iterdir()}

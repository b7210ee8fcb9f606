"""Checks `backup` and `restore` on embedded databases: there and back, and every refusal leaves what was there."""

import hashlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from typer.testing import Result

from ledger.cli.backup import NO_KEY
from ledger.ingest import erasing
from ledger.ingest.clock import Clock
from ledger.ingest.erasing import Order
from ledger.store import api_keys, migrate
from ledger.store.backup import LINE_BYTES, Backup, first_line, read_line
from ledger.store.data_folder import DataFolder
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.seal_head import to_fields
from projections.engine import rebuild, switch
from tests.support.command import call
from tests.support.ledgers import SEAL_KEY, opened
from tests.support.pg import make_data_dir, new_data_dir
from tests.support.tampering import fill, unguarded, verified


@contextmanager
def served(data_dir: Path) -> Iterator[str]:
    """The URL of an embedded database that runs, its folder held as by a service."""
    make_data_dir(data_dir)
    embedded = EmbeddedPostgres(data_dir)
    with DataFolder(data_dir):
        url = embedded.start()
        try:
            yield url
        finally:
            embedded.stop()


@pytest.fixture(scope="module")
def origin() -> Iterator[Path]:
    """A data folder with a ledger of six events."""
    with new_data_dir() as data_dir:
        with served(data_dir) as url:
            migrate.apply(url)
            fill(url, [1, 2])
            (data_dir / "seal.key").write_text(SEAL_KEY.text)
        yield data_dir


@pytest.fixture(scope="module")
def made(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it, made while it ran and something was rebuilt."""
    file = tmp_path_factory.mktemp("backup") / "ledger.backup"
    with served(origin) as url, rebuild.alone(url, "drift") as rebuilding:
        with rebuilding.transaction():
            switch.begin(rebuilding.cursor(), ("drifts",))
        with psycopg.connect(url, autocommit=True) as switching:
            # A dump of the new tables would wait for this.
            switching.execute("BEGIN; LOCK TABLE rebuild.drifts IN ACCESS EXCLUSIVE MODE")
            done = backup(origin, file)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{file}: 2 seals, up to position 6, made at 20")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    return file


def backup(data_dir: Path, file: Path) -> Result:
    return call("backup", str(file), DATA_DIR=str(data_dir))


def restore(data_dir: Path, file: Path, *options: str) -> Result:
    return call("restore", str(file), *options, DATA_DIR=str(data_dir))


def events_in(data_dir: Path) -> int:
    with served(data_dir) as url:
        found = verified(url)
    assert found.altered is None
    return found.events


@pytest.mark.slow
def test_there_and_back(made: Path, data_dir: Path) -> None:
    nothing = restore(data_dir, made.with_name("nothing"))
    assert (nothing.exit_code, "nothing cannot be used" in nothing.stderr) == (1, True)
    keyless = restore(data_dir, made)
    assert (keyless.exit_code, NO_KEY in keyless.stderr) == (1, True)
    (data_dir / "seal.key").write_text("another-key-that-this-data-folder-has")
    foreign = restore(data_dir, made)
    assert NO_KEY in foreign.stderr
    assert "head" not in foreign.stderr
    assert (foreign.exit_code, f"key {SEAL_KEY.id.hex()}, which is not here" in foreign.stderr) == (1, True)
    lost = restore(data_dir, made, "--unproven")
    assert (lost.exit_code, "not proven: anything" in lost.stderr) == (0, True), lost.output
    assert lost.stdout.endswith(" MB, unproven\n")
    (data_dir / "seal.key").write_text(SEAL_KEY.text)

    done = restore(data_dir, made, "--replace")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("restored: 2 seals, up to position 6")
    assert done.stdout.endswith(" MB, intact\n")
    assert not EmbeddedPostgres(data_dir).is_running()
    with served(data_dir) as url:
        assert migrate.apply(url) == []
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT to_regnamespace('rebuild')").fetchone() == (None,)
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
                connection.execute("DELETE FROM events")
        fill(url, [3])
        with opened(url) as ledger:
            erasing.erase(ledger, "u1", Order("asked", "ops"), [SEAL_KEY], Clock().now())
        held = restore(data_dir, made, "--replace")
        assert (held.exit_code, "is in use by the service" in held.stderr) == (1, True)
    assert events_in(data_dir) == 7
    refused = restore(data_dir, made)
    assert (refused.exit_code, "There is already a ledger of 10 events" in refused.stderr) == (1, True)
    assert events_in(data_dir) == 7
    replaced = restore(data_dir, made, "--replace")
    assert (replaced.exit_code, "1 user had been erased since this backup" in replaced.stderr) == (0, True)
    assert events_in(data_dir) == 6
    with served(data_dir) as url, psycopg.connect(url) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'presence%'").fetchall()
    assert names == [("presence_ledger",)]


def test_a_file_that_is_not_whole_is_refused(origin: Path, made: Path, tmp_path: Path) -> None:
    whole = made.read_bytes()
    middle = len(whole) // 2
    altered = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    foreign = b"PGDMP" + whole[LINE_BYTES:]
    files = {
        "is truncated": whole[:-10],
        "was altered since it was made": altered,
        "is not a backup made by": foreign,
        f"{tmp_path / 'file'} was altered since it was made.": whole.replace(b'"position": 6', b'"position": 5', 1),
        "was made by a newer version": whole.replace(b'"presence_ledger_backup": 2', b'"presence_ledger_backup": 3', 1),
    }
    for says, content in files.items():
        file = tmp_path / "file"
        file.write_bytes(content)
        refused = restore(origin, file, "--replace")
        assert (refused.exit_code, says in refused.stderr) == (1, True), refused.output
    assert events_in(origin) == 6


def test_a_key_that_somebody_put_into_a_backup_opens_nothing(made: Path, tmp_path: Path) -> None:
    with new_data_dir() as data_dir:
        data_dir.mkdir(mode=0o700)
        (data_dir / "seal.key").write_text("a-seal-key-of-somebody-who-is-not-us")
        assert restore(data_dir, made, "--unproven").exit_code == 0
        with served(data_dir) as url, psycopg.connect(url) as connection:
            planted = api_keys.create(connection, "planted", ["admin"])
            # Sealed by nobody, as the whole table: the events' seals are intact.
            connection.commit()
        (data_dir / "seal.key").write_text(SEAL_KEY.text)
        altered = tmp_path / "altered"
        assert backup(data_dir, altered).exit_code == 0
        with made.open("rb") as file:
            genuine = read_line(file, made)
        archive = altered.read_bytes()[LINE_BYTES:]
        # Who alters a backup can compute size and digest again, but not the signature.
        rewritten = replace(genuine, size=len(archive), sha256=hashlib.sha256(archive).hexdigest())
        unsigned = first_line(replace(rewritten, key_id="", signature=""))
        of_version_1 = unsigned.replace(b'"presence_ledger_backup": 2', b'"presence_ledger_backup": 1', 1)
        for line, says in ((first_line(rewritten), "was altered"), (of_version_1, "API keys may have been added")):
            altered.write_bytes(line + archive)
            refused = restore(data_dir, altered, "--replace")
            assert (refused.exit_code, says in refused.stderr) == (1, True), refused.output
        taken = restore(data_dir, altered, "--replace", "--unproven")
        assert taken.exit_code == 0, taken.output
        assert "not proven: whatever no seal covers, above all the API keys" in taken.stderr
        assert "API keys in force: planted (admin)" in taken.stderr
        assert planted not in taken.output


def test_what_is_altered_is_neither_backed_up_nor_restored(made: Path, tmp_path: Path) -> None:
    with new_data_dir() as data_dir:
        data_dir.mkdir(mode=0o700)
        (data_dir / "seal.key").write_text(SEAL_KEY.text)
        assert restore(data_dir, made).exit_code == 0
        with served(data_dir) as url:
            fill(url, [3])
            head = verified(url).head
        archive = made.read_bytes()[LINE_BYTES:]
        fields = to_fields(head, SEAL_KEY)
        sha256 = hashlib.sha256(archive).hexdigest()
        line = first_line(Backup("", "", fields, len(archive), sha256).signed(SEAL_KEY))
        (tmp_path / "shorter").write_bytes(line + archive)
        shorter = restore(data_dir, tmp_path / "shorter", "--replace")
        assert (shorter.exit_code, "at position 7: what the head knows" in shorter.stderr) == (1, True), shorter.output
        assert events_in(data_dir) == 9
        (tmp_path / "shorter").unlink()
        with served(data_dir) as url, unguarded(url) as connection:
            connection.execute("DELETE FROM events WHERE position = 2")
            connection.commit()
        # The database does not run: it is started for so long.
        refused = backup(data_dir, tmp_path / "file")
        assert refused.exit_code == 1
        assert "Altered at position 2: the event was removed." in refused.stderr
        with served(data_dir) as url, unguarded(url) as connection:
            connection.execute("DELETE FROM seals WHERE first_position = 1")
            connection.commit()
        unsealed = backup(data_dir, tmp_path / "file")
        assert unsealed.exit_code == 1
        assert "Altered at position 1: the event was never sealed. Where a version before seals" in unsealed.stderr
        assert "\nThe backup was not written: the seals would not prove all that is in it." in unsealed.stderr
        assert list(tmp_path.iterdir()) == []


def test_another_servers_database_is_left_to_its_own_tools(tmp_path: Path) -> None:
    for command in ("backup", "restore"):
        refused = call(command, str(tmp_path / "file"), DATABASE_URL="postgresql://db/ledger", DATA_DIR=str(tmp_path))
        assert (refused.exit_code, "Back it up with its own tools" in refused.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []

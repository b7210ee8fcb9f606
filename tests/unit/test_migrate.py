"""Reading migrations from files, and comparing them with what a database has."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.errors import SchemaMismatch, StoreUnavailable
from ledger.store import migrate


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name.lstrip('_')}.sql").write_text(text)
    return folder


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path, _0002_more="SELECT 2", _0001_first="SELECT 1")
    (folder / "README").write_text("not a migration")

    found = migrate.load(folder)

    assert [str(migration) for migration in found] == ["0001_first", "0002_more"]
    assert found[0].sql == b"SELECT 1"
    assert found[0].sha256 == hashlib.sha256(b"SELECT 1").hexdigest()


def test_the_hash_does_not_depend_on_line_ends(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").write_bytes(b"SELECT 1;\r\nSELECT 2;\r\n")
    assert migrate.load(tmp_path)[0].sha256 == hashlib.sha256(b"SELECT 1;\nSELECT 2;\n").hexdigest()


@pytest.mark.parametrize("names", [["0002_a"], ["0001_a", "0003_b"], ["0001_a", "0001_b"]])
def test_a_gap_or_a_double_is_refused(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, **dict.fromkeys(names, "SELECT 1"))
    with pytest.raises(ValueError, match="not numbered 1, 2, 3"):
        migrate.load(tmp_path)


def test_the_product_has_migrations() -> None:
    assert [migration.number for migration in migrate.load()][:1] == [1]


def test_a_database_with_a_hole_is_refused(tmp_path: Path) -> None:
    ours = migrate.load(write(tmp_path, _0001_a="SELECT 1", _0002_b="SELECT 2", _0003_c="SELECT 3"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    applied = {each.number: migrate.Applied(each.number, each.name, each.sha256, at) for each in (ours[0], ours[2])}
    with pytest.raises(SchemaMismatch, match="lacks migration 0002 but has 0003"):
        migrate.compare(applied, ours)


def test_a_server_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="database_url") as raised:
        migrate.status(f"postgresql://someone:sesame@/ledger?host={tmp_path}")
    assert "sesame" not in str(raised.value)

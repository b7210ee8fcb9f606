"""Files of the archive: whole or not there, read as they were written, and every change of them found."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ledger.archive import files
from ledger.archive.files import ArchiveDamaged, ArchiveUnwritable
from ledger.archive.manifest import Manifest, file_name
from ledger.archive.proving import Different, first_difference
from ledger.store.recorder import StoredRow
from ledger.store.seal import Seal, SealChain, SealKey, digests

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
ROWS = [
    StoredRow(n, f"user:用户{n % 3}", n, f"k{n % 2}.v1", b'{"n":%d}' % n, AT + timedelta(microseconds=n // 4))
    for n in range(10, 30)
]


def seals_of(rows: list[StoredRow]) -> list[Seal]:
    chain, made = SealChain(SealKey("a key"), None), []
    for row in rows:
        digest = digests([row.stream], [row.version], [row.kind], [row.payload])
        made.append(chain.add(row.position, row.recorded_at, digest))
    return [seal for seal in [*made, chain.end()] if seal is not None]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(files, "ROWS_A_GROUP", 7)
    return files.write(tmp_path, iter(ROWS))


def difference(folder: Path, manifest: Manifest) -> Different | None:
    return first_difference(files.groups(folder, manifest), seals_of(ROWS))


def test_what_is_written_is_read(tmp_path: Path, written: Manifest) -> None:
    assert (written.name, written.first, written.last, written.events) == (file_name(10, 29), 10, 29, 20)
    assert [path.name for path in tmp_path.iterdir()] == [written.name]
    assert (tmp_path / written.name).stat().st_size == written.size
    files.check(tmp_path, written)
    assert [position for group in files.groups(tmp_path, written) for position in group.positions] == list(
        range(10, 30)
    )
    assert difference(tmp_path, written) is None


def test_the_events_of_a_stream_are_found(tmp_path: Path, written: Manifest) -> None:
    wanted = [row for row in ROWS if row.stream == "user:用户1"]
    assert files.of_streams(tmp_path, written, ["user:用户1", "user:nobody"]) == wanted
    assert files.of_streams(tmp_path, written, ["user:nobody"]) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([r._replace(payload=b"{}") if r.position == 15 else r for r in ROWS], Different(15, "the event was altered")),
        ([r._replace(recorded_at=AT) if r.position == 15 else r for r in ROWS], Different(15, "recorded_at of the")),
        ([r for r in ROWS if r.position != 15], Different(15, "the event is missing")),
        (ROWS[:-1], Different(29, "the event is missing")),
        ([*ROWS, ROWS[-1]._replace(position=30)], Different(30, "an event was put into")),
        ([ROWS[0]._replace(position=9), *ROWS], Different(9, "an event was put into")),
    ],
)
def test_a_file_that_somebody_made_anew_differs_from_the_seals(
    tmp_path: Path, rows: list[StoredRow], expected: Different
) -> None:
    found = difference(tmp_path, files.write(tmp_path, rows))
    assert found is not None
    assert found.position == expected.position
    assert found.what.startswith(expected.what)


def test_a_file_that_is_altered_cut_or_missing_is_named(tmp_path: Path, written: Manifest) -> None:
    path = tmp_path / written.name
    whole = path.read_bytes()
    for spoilt in (whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], whole[:-9], b""):
        path.write_bytes(spoilt)
        with pytest.raises(ArchiveDamaged, match=written.name):
            files.check(tmp_path, written)
    for read in (files.groups, lambda *asked: iter(files.of_streams(*asked, ["user:用户1"]))):
        with pytest.raises(ArchiveDamaged, match="10 to 29"):
            list(read(tmp_path, written))
    path.unlink()
    with pytest.raises(ArchiveDamaged, match="No such file"):
        files.check(tmp_path, written)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnwritable, match="No such file"):
        files.write(tmp_path / "nowhere", ROWS)

    def breaking() -> object:
        yield ROWS[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(ArchiveUnwritable, match="No space left"):
        files.write(tmp_path, breaking())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no event"):
        files.write(tmp_path, [])

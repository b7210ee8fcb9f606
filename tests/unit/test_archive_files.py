"""Files of the archive: whole or not there, read as they were written, and every change of them found."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ledger.store.archive import beside, files, manifest, selected, writing
from ledger.store.archive.beside import Wanted
from ledger.store.archive.manifest import ArchiveDamaged, ArchiveUnwritable, Manifest, new_name
from ledger.store.archive.rows import EventRow, pack, unpack
from ledger.store.seal import instant_from_count

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
EVENTS = [
    EventRow(n, 10**15 + n // 4, n, f"user:用户{n % 3}" if n % 5 else "source:main", f"k{n % 2}.v1", b'{"n":%d}' % n)
    for n in range(10, 30)
]


@pytest.fixture(autouse=True)
def _in_small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROWS_A_GROUP", 7)


def write(folder: Path, events: list[EventRow] = EVENTS, name: str | None = None) -> Manifest:
    made = writing.write(folder, name or new_name(events[0].position), map(pack, events))
    named = next(path.name for path in folder.iterdir() if path.stat().st_size == made.size)
    return Manifest(
        events[0].position, events[-1].position + 1, "p", named, made.events, made.size, made.sha256,
        instant_from_count(made.first.recorded_at), instant_from_count(made.last.recorded_at),
    )  # fmt: skip


@pytest.fixture
def written(tmp_path: Path) -> Manifest:
    return write(tmp_path)


def test_a_row_is_taken_apart_and_put_together() -> None:
    assert [unpack(pack(event)) for event in EVENTS] == EVENTS
    assert unpack(memoryview(pack(EVENTS[0]))) == EVENTS[0]


def test_what_is_written_is_read(tmp_path: Path, written: Manifest) -> None:
    assert (written.first, written.last, written.events) == (10, 29, 20)
    assert [path.name for path in tmp_path.iterdir()] == [written.name]
    files.check(tmp_path, written)
    assert list(files.rows(files.groups(tmp_path, written))) == EVENTS
    for first, last in ((None, 9), (10, 10), (16, 17), (12, 25), (29, None), (30, None)):
        expected = [event for event in EVENTS if (first or 0) <= event.position <= (last or 99)]
        assert list(files.rows(files.groups(tmp_path, written, first, last))) == expected
    for first in (None, 16):
        expected = [event for event in EVENTS if event.position >= (first or 0)]
        groups = list(files.packed(files.groups(tmp_path, written, first)))
        assert [row for group in groups for row in group.rows] == list(map(pack, expected))
        assert [place for group in groups for place in group.positions] == [event.position for event in expected]
        of_sources = [unpack(group.rows[index]).stream for group in groups for index in group.of_sources]
        assert of_sources == [event.stream for event in expected if event.stream == "source:main"]
    # Whoever reads it elsewhere finds times as times.
    table = pq.read_table(tmp_path / written.name)
    assert table.column("recorded_at")[0].as_py() == instant_from_count(EVENTS[0].recorded_at)


def test_two_files_never_have_one_name() -> None:
    assert new_name(7) != new_name(7)
    assert min([new_name(10), new_name(9)]).startswith("events-0000000000000000009-")


def test_the_events_that_are_wanted_are_found(tmp_path: Path, written: Manifest) -> None:
    stream = "user:用户1"
    own = [event for event in EVENTS if event.stream == stream]
    users = [event for event in EVENTS if event.stream.startswith("user:")]

    def found(wanted: Wanted) -> list[EventRow]:
        return list(selected.events(tmp_path, [written], wanted))

    assert found(Wanted([stream])) == own
    assert found(Wanted(["user:nobody"])) == []
    assert found(Wanted(None, up_to=20)) == [event for event in users if event.position <= 20]
    assert found(Wanted([stream], whole_from=30)) == []
    assert found(Wanted([stream], whole_from=30, lasts_before=True)) == own[-1:]
    lasts = {event.stream: event for event in users}
    assert sorted(found(Wanted(None, whole_from=30, lasts_before=True))) == sorted(lasts.values())
    # The last event up to a position, unless it is there anyway.
    others = found(Wanted([stream]).with_last_up_to([11, 12, 12, 20, 9, 77]))
    assert [event.position for event in others[len(own) :]] == [
        place for place in (11, 12) if EVENTS[place - 10].stream != stream
    ]
    assert [files.last_up_to(tmp_path, written, place) for place in (9, 10, 16, 17, 29, 77)] == [
        None, *(EVENTS[place - 10] for place in (10, 16, 17, 29, 29)),
    ]  # fmt: skip
    assert found(Wanted([stream], up_to=5)) == []
    assert selected.positions_of(tmp_path, written, stream) == [event.position for event in own]
    assert beside.LOCK.startswith("LOCK TABLE")


def test_a_file_is_written_anew_without_some_of_it(tmp_path: Path, written: Manifest) -> None:
    made = writing.rewrite(tmp_path, written, "another.parquet", [10, 16, 29], {17: b"left"})
    assert made is not None
    there = written._replace(name="another.parquet", events=made.events, size=made.size, sha256=made.sha256)
    files.check(tmp_path, there)
    left = [event for event in EVENTS if event.position not in (10, 16, 29)]
    left = [event._replace(payload=b"left") if event.position == 17 else event for event in left]
    assert list(files.rows(files.groups(tmp_path, there))) == left
    assert (made.first, made.last) == (left[0], left[-1])
    assert writing.rewrite(tmp_path, written, "none", [event.position for event in EVENTS], {}) is None
    assert manifest.empty(1, 5, "p", AT).last == 4


def test_a_file_that_is_altered_cut_or_missing_is_named(tmp_path: Path, written: Manifest) -> None:
    path = tmp_path / written.name
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArchiveDamaged, match=written.name):
            files.check(tmp_path, written)
        # Pages have checksums: what is read is right, or not read.
        with suppress(ArchiveDamaged):
            assert list(files.rows(files.groups(tmp_path, written))) == EVENTS
    for spoilt in (whole[:-9], b"", whole[:-1] + b"x"):
        path.write_bytes(spoilt)
        with pytest.raises(ArchiveDamaged, match=written.name):
            files.check(tmp_path, written)
        with pytest.raises(ArchiveDamaged, match="10 to 29"):
            list(files.rows(files.groups(tmp_path, written)))
        with pytest.raises(ArchiveDamaged, match="10 to 29"):
            list(files.matching(tmp_path, written, "stream", lambda column: pc.equal(column, "user:用户1")))
    pq.write_table(pa.table({"another": [1]}), path)
    other = written._replace(size=path.stat().st_size)
    with pytest.raises(ArchiveDamaged, match="has other columns"):
        list(files.groups(tmp_path, other))
    path.unlink()
    for read in (files.check, lambda *asked: list(files.groups(*asked))):
        with pytest.raises(ArchiveDamaged, match="is missing in"):
            read(tmp_path, written)
    path.mkdir()
    with pytest.raises(ArchiveDamaged, match="cannot be read: Is a directory"):
        files.check(tmp_path, written)
    assert not writing.remove(tmp_path, written.name)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ArchiveUnwritable, match="No such file"):
        write(tmp_path / "nowhere")

    def breaking() -> Iterator[bytes]:
        yield pack(EVENTS[0])
        raise OSError(28, "No space left on device")

    with pytest.raises(ArchiveUnwritable, match="No space left"):
        writing.write(tmp_path, "x.parquet", breaking())
    with pytest.raises(ValueError, match="no event"):
        writing.write(tmp_path, "x.parquet", [])
    assert list(tmp_path.iterdir()) == []
    writing.make_folder(tmp_path / "made" / "here")
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveUnwritable):
        writing.make_folder(tmp_path / "file")
    assert writing.remove(tmp_path, "file")
    assert writing.remove(tmp_path, "never there")

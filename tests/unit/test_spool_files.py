"""The spool's files: what was kept is read once, in its order, over restarts, within the bound, whatever breaks."""

import errno
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ledger.spool import files
from ledger.spool.files import SpoolFiles, SpoolFull
from ledger.spool.format import FILE_HEAD_BYTES, FileHead, SpooledWebhook, file_head
from ledger.spool.leftovers import left_in, not_drained

MIB = 1_048_576
LEDGER = "11111111-2222-3333-4444-555555555555"


def webhook(number: int, size: int = 20) -> SpooledWebhook:
    return SpooledWebhook(f"d{number}", "main", "n1", 1_000_000 + number, b"x" * size)


def webhooks(*numbers: int, size: int = 20) -> list[SpooledWebhook]:
    return [webhook(number, size) for number in numbers]


class Kept:
    """A spool's folder, opened again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, max_bytes: int = 64 * MIB, ledger: str = LEDGER) -> SpoolFiles:
        return SpoolFiles(self.folder, max_bytes, ledger)

    def names(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.iterdir())

    def only_file(self) -> Path:
        [path] = self.folder.iterdir()
        return path


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "spool")


def read_all(spool: SpoolFiles, items: int = 100, size: int = MIB) -> list[str]:
    read = []
    while (batch := spool.read(items, size)) is not None:
        read += [each.delivery for each in batch.webhooks]
        spool.settle(batch)
    return read


def test_what_is_kept_is_read_once_and_leaves_nothing(kept: Kept) -> None:
    spool = kept.open()
    assert spool.append(webhooks(1, 2)) == (2, None)
    assert spool.append(webhooks(3)) == (3 - 2, None)
    assert (spool.contents.deliveries, spool.contents.oldest_at, spool.is_read_up()) == (3, 1_000_001, False)
    assert read_all(spool) == ["d1", "d2", "d3"]
    assert spool.is_read_up()
    spool.close_empty()
    assert (spool.contents, list(kept.folder.iterdir())) == ((0, 0, None), [])
    assert spool.append(webhooks(4)) == (1, None)
    # Not since the oldest of the outage before.
    assert spool.contents.oldest_at == 1_000_004


def test_what_is_put_aside_again_is_still_there(kept: Kept) -> None:
    kept.open().append(webhooks(1, 2, 3))
    for _ in range(3):
        spool = kept.open()
        while (batch := spool.read(2, MIB)) is not None:
            spool.put_aside(batch.webhooks)
            spool.settle(batch)
    assert sorted(read_all(kept.open())) == ["d1", "d2", "d3"]
    assert kept.names() == []


def test_batches_keep_to_the_bounds_but_for_one_that_is_larger(kept: Kept) -> None:
    spool = kept.open()
    commas = SpooledWebhook("wide", "main", "n1", 5, b"," * 50)
    spool.append([*webhooks(1, 2, 3), commas, webhook(4, 3_000), webhook(5)])
    read = []
    while (batch := spool.read(10, 45)) is not None:
        read.append([each.delivery for each in batch.webhooks])
    assert read == [["d1", "d2"], ["d3"], ["wide"], ["d4"], ["d5"]]


def test_what_is_not_in_the_ledger_is_read_again_after_a_restart(kept: Kept) -> None:
    spool = kept.open()
    spool.append(webhooks(1, 2, 3))
    batch = spool.read(2, MIB)
    assert batch is not None
    spool.settle(batch)
    again = kept.open()
    assert left_in(kept.folder)
    assert again.contents.deliveries == 3
    again.append(webhooks(4))
    assert read_all(again) == ["d1", "d2", "d3", "d4"]


def test_segments_are_deleted_as_they_come_to_be_in_the_ledger(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SEGMENT_BYTES", 2_000)
    spool = kept.open()
    assert spool.append(webhooks(*range(1, 10), size=800)) == (9, None)
    assert kept.names() == [".spool"] * 5
    assert [len(batch.webhooks) for _ in range(2) if (batch := spool.read(100, MIB)) is not None] == [2, 2]
    again = kept.open()
    first = again.read(100, MIB)
    assert first is not None
    again.settle(first)
    assert kept.names() == [".spool"] * 4
    assert read_all(again) == [f"d{number}" for number in range(3, 10)]
    assert kept.names() == []


def test_it_takes_no_more_than_its_bound_and_goes_on_once_there_is_room(kept: Kept) -> None:
    spool = kept.open(max_bytes=100_000)
    number, full = spool.append(webhooks(*range(1, 5), size=30_000))
    assert (number, str(full)) == (3, "the spool is full: spool_bytes bounds it to 100,000 bytes")
    assert spool.contents.size <= 100_000
    assert spool.append(webhooks(4, size=100))[0] == 1
    assert read_all(spool, items=1) == ["d1", "d2", "d3", "d4"]
    assert spool.append(webhooks(5, size=60_000)) == (1, None)
    assert spool.append(webhooks(6, size=200_000))[0] == 0
    spool.close()
    nothing = SpoolFiles(kept.folder.with_name("none"), 0, LEDGER)
    assert nothing.append(webhooks(1))[0] == 0


def test_a_torn_record_is_dropped_and_said(kept: Kept) -> None:
    kept.open().append(webhooks(1, 2, 3))
    path = kept.only_file()
    path.write_bytes(path.read_bytes()[:-7])
    with capture_logs() as logs:
        again = kept.open()
    assert [each["event"] for each in logs] == ["spool_torn"]
    assert read_all(again) == ["d1", "d2"]


def test_a_file_that_was_cut_off_in_its_head_held_nothing(kept: Kept) -> None:
    kept.open().append(webhooks(1))
    path = kept.only_file()
    path.write_bytes(path.read_bytes()[:50])
    assert kept.open().contents.deliveries == 0
    assert kept.names() == []


def test_a_file_whose_first_record_is_torn_held_nothing(kept: Kept) -> None:
    kept.open().append(webhooks(1))
    path = kept.only_file()
    path.write_bytes(path.read_bytes()[:-1])
    assert kept.open().contents.deliveries == 0
    assert kept.names() == []


def test_a_damaged_record_costs_no_other_and_a_copy_is_kept(kept: Kept) -> None:
    kept.open().append(webhooks(1, 2, 3))
    path = kept.only_file()
    altered = bytearray(path.read_bytes())
    altered[altered.index(b"d2")] ^= 1
    path.write_bytes(altered)
    with capture_logs() as logs:
        again = kept.open()
    assert [each["event"] for each in logs] == ["spool_damaged"]
    assert read_all(again, items=1) == ["d1", "d3"]
    assert kept.only_file().read_bytes() == altered
    assert kept.only_file().suffix == ".damaged"


@pytest.mark.parametrize("trouble", ["head", "ledger"])
def test_what_is_not_ours_to_judge_is_put_aside(kept: Kept, trouble: str) -> None:
    kept.open().append(webhooks(1))
    path = kept.only_file()
    if trouble == "head":
        path.write_bytes(b"\0" * FILE_HEAD_BYTES + path.read_bytes()[FILE_HEAD_BYTES:])
        assert kept.open().contents.deliveries == 0
        assert kept.names() == [".damaged"]
    else:
        assert kept.open(ledger="another").contents.deliveries == 0
        assert kept.names() == [".foreign"]


def test_files_of_another_instance_are_taken_by_the_time_of_what_is_in_them(kept: Kept, tmp_path: Path) -> None:
    other = Kept(tmp_path / "other")
    other.open().append(webhooks(1, 2))
    kept.open().append(webhooks(3))
    moved = other.only_file()
    moved.rename(kept.folder / f"of-the-other{moved.suffix}")
    assert read_all(kept.open()) == ["d1", "d2", "d3"]


def test_what_was_refused_is_tried_again_at_the_next_start(kept: Kept) -> None:
    spool = kept.open()
    assert spool.put_aside(webhooks(1)).suffix == ".refused"
    assert spool.read(100, MIB) is None
    assert read_all(kept.open()) == ["d1"]
    assert kept.names() == []


def test_what_is_put_aside_is_not_drained_before_the_next_start(kept: Kept) -> None:
    spool = kept.open()
    spool.append(webhooks(1))
    assert not_drained(kept.folder, spool.paths) == []
    aside = spool.put_aside(webhooks(2))
    (kept.folder / "a.tmp").touch()
    [found] = not_drained(kept.folder, spool.paths)
    assert (found.path, found.written_at > 0) == (aside, True)
    spool.close()
    assert not_drained(kept.folder, kept.open().paths) == []
    assert not_drained(kept.folder / "nowhere", ()) == []


@pytest.mark.parametrize("step", ["write", "fdatasync", "fsync"])
def test_a_disk_that_fails_takes_nothing_and_damages_nothing(
    kept: Kept, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = kept.open()
    if step != "fsync":
        spool.append(webhooks(1))

    def fail(descriptor: int, *data: memoryview) -> int:
        if data:
            _real_write(descriptor, data[0][:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _real_write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        number, full = spool.append(webhooks(2))
        assert number == 0
        assert isinstance(full, SpoolFull)
        assert "No space left" in str(full)
    assert spool.append(webhooks(3)) == (1, None)
    expected = ["d3"] if step == "fsync" else ["d1", "d3"]
    assert kept.open().contents.deliveries == len(expected)
    assert read_all(spool) == expected


def test_a_segment_that_has_just_begun_is_not_taken_for_one_that_is_done(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = kept.open()
    spool.append(webhooks(1))
    batch = spool.read(1, MIB)
    assert batch is not None

    def settle_meanwhile(head: FileHead) -> bytes:
        spool.settle(batch)
        return file_head(head)

    monkeypatch.setattr(files, "file_head", settle_meanwhile)
    spool._segment_bytes = 0
    assert spool.append(webhooks(2)) == (1, None)
    spool.settle(batch._replace(webhooks=[]))
    assert read_all(kept.open()) == ["d2"]

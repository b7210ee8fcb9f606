"""A slice's file: lines with checksums, and the first that was altered, removed, put in, swapped or cut is named."""

import gzip
import stat
from pathlib import Path

import msgspec
import pytest

from ledger.errors import LedgerError
from ledger.slices import writing
from ledger.slices.checking import check
from ledger.slices.form import FORMAT, ChecksumChain, SliceEnd, SliceError
from ledger.slices.reading import SliceFile, is_slice
from tests.support.slices import MAPPER, eventful, header, slice_of, written


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The lines of a small slice with states."""
    path = written(slice_of(eventful().kept, 20), tmp_path_factory.mktemp("slices") / "small")
    return path.read_bytes().splitlines(keepends=True)


def read(path: Path, *lines: bytes) -> int:
    """Check a file of these lines -> how many events it has."""
    path.write_bytes(b"".join(lines))
    return check(SliceFile(path), MAPPER, lambda *_: None).events


def refused(path: Path, *lines: bytes) -> str:
    with pytest.raises(SliceError) as refusal:
        read(path, *lines)
    return str(refusal.value)


def test_a_whole_slice_is_read(lines: list[bytes], tmp_path: Path) -> None:
    assert read(tmp_path / "f", *lines) == len(lines) - 2 - 5
    assert is_slice(tmp_path / "f")


def test_a_line_that_was_altered_is_named(lines: list[bytes], tmp_path: Path) -> None:
    for number, line in enumerate(lines):
        altered = line.replace(b'":', b'" :', 1) if number % 2 else line[:-4] + bytes([line[-4] ^ 1]) + line[-3:]
        said = refused(tmp_path / "f", *lines[:number], altered, *lines[number + 1 :])
        assert f"line {number + 1} " in said, said


def test_a_line_that_is_missing_is_found_at_the_next(lines: list[bytes], tmp_path: Path) -> None:
    for number in range(1, len(lines) - 1):
        assert f"line {number + 1} was altered" in refused(tmp_path / "f", *lines[:number], *lines[number + 1 :])


def test_a_line_that_was_put_in_or_swapped_is_named(lines: list[bytes], tmp_path: Path) -> None:
    for number in range(1, len(lines) - 2):
        twice = [*lines[: number + 1], *lines[number:]]
        assert f"line {number + 2} was altered" in refused(tmp_path / "f", *twice)
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        assert f"line {number + 1} was altered" in refused(tmp_path / "f", *swapped)


def test_a_file_that_was_cut_is_found(lines: list[bytes], tmp_path: Path) -> None:
    for number in range(1, len(lines)):
        assert f"line {number} is the last one, but not an end line" in refused(tmp_path / "f", *lines[:number])
        assert f"line {number} ends in the middle" in refused(
            tmp_path / "f", *lines[: number - 1], lines[number - 1][:-1]
        )


def test_a_packed_file_that_was_cut_or_altered_is_found(lines: list[bytes], tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(lines), mtime=0)
    assert read(tmp_path / "f", packed)
    assert is_slice(tmp_path / "f")
    assert "cannot be decompressed" in refused(tmp_path / "f", packed[:-9])
    assert "cannot be decompressed" in refused(tmp_path / "f", packed[:200], b"\0\0\0\0", packed[204:])


def test_what_follows_the_end_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    chain = ChecksumChain()
    texts = [line[:-1] for line in lines]
    for text in texts:
        assert chain.read(text) is not None
    assert "comes after the end line" in refused(
        tmp_path / "f", *lines, chain.summed(SliceEnd(events=0, states=0)) + b"\n"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a slice file"),
        (b"a letter", "not a slice file"),
        (b"\x89PNG", "not a slice file"),
        (b'{"kind":"header","x":1}\n', "not a slice file"),
        (b'{"kind":"meta","server":"v22"}\n', "not a slice file"),
        (b"\x89PNG\n", "not a slice file"),
        (b'{"kind":"header","format":2}\n', f"its format is 2, and this version reads {FORMAT}"),
        (ChecksumChain().summed(SliceEnd(events=0, states=0)) + b"\n", "not a slice file"),
    ],
)
def test_another_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path / "f", content)


def test_a_header_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    chain = ChecksumChain()
    body = chain.summed(header())[:-1].replace(b'"format":1', b'"format":"one"')
    assert "line 1" in refused(tmp_path / "f", body + b"}\n")


def test_a_second_header_is_refused(tmp_path: Path) -> None:
    chain = ChecksumChain()
    texts = [chain.summed(header()) + b"\n" for _ in range(2)]
    assert "line 2 is a second header" in refused(tmp_path / "f", *texts)


def test_counts_must_be_right(lines: list[bytes], tmp_path: Path) -> None:
    chain = ChecksumChain()
    for text in lines[:-1]:
        chain.read(text[:-1])
    said = refused(tmp_path / "f", *lines[:-1], chain.summed(SliceEnd(events=1, states=5)) + b"\n")
    assert f"line {len(lines)} counts 1 event and 5 states" in said


def summed(*changed: object) -> list[bytes]:
    """A slice's lines with right checksums, whatever they say."""
    taken = slice_of(eventful().kept)
    chain = ChecksumChain()
    texts = [chain.summed(taken.header)]
    for line, change in zip(taken.lines, changed, strict=False):
        texts.append(chain.summed(msgspec.structs.replace(line, **change)))  # type: ignore[arg-type]
    return [text + b"\n" for text in texts]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_kind": "of_the_future.v9"}, "which a newer version wrote"),
        ({"payload": msgspec.Raw(b'{"at":"x"}')}, "cannot be read"),
        ({"stream": "user:alice"}, "does not belong to the stream 'user:alice'"),
        ({"stream": "nobody"}, "does not belong to the stream 'nobody'"),
        ({"position": 1}, "comes before the line above it"),
    ],
)
def test_what_cannot_be_imported_is_named(change: dict[str, object], said: str, tmp_path: Path) -> None:
    found = refused(tmp_path / "f", *summed({}, change))
    assert "line 3 " in found
    assert said in found


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    target = tmp_path / "slice.ndjson"
    target.write_text("mine")
    with pytest.raises(LedgerError, match=r"already exists.*\n.*--force"), writing.opened(target, force=False):
        pass
    assert target.read_text() == "mine"
    with writing.opened(target, force=True) as stream:
        stream.write(b"new")
        assert target.read_text() == "mine"
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_slice_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing.opened(tmp_path / "f.gz", force=False) as stream:
        stream.write(b"%d" % (1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be used"):
        SliceFile(tmp_path / "none")
    assert not is_slice(tmp_path / "none")


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_without_end_is_named_and_not_read_to_its_end(
    lines: list[bytes], number: int, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(map(len, lines))
    monkeypatch.setattr("ledger.lines.MAX_LINE_BYTES", longest)
    assert read(tmp_path / "f", *lines) > 0
    endless = lines[number - 1][:20] + b"x" * 10 * longest
    content = b"".join([*lines[: number - 1], endless])
    (tmp_path / "f").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(SliceError, match=rf"line {number} is longer than \d+ MiB"):
        check(SliceFile(tmp_path / "f"), MAPPER, lambda *_: None)


def test_an_event_that_no_slice_could_be_read_with_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_LINE_BYTES", 300)
    with pytest.raises(SliceError, match=r"The event at position \d+ is too long for a slice"):
        written(slice_of(eventful().kept), tmp_path / "f")


def test_a_slice_goes_to_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(LedgerError, match="Standard output is a terminal"), writing.opened(Path("-"), force=False):
        pass

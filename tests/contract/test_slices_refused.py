"""Slices that a ledger refuses: nothing of them is stored, whatever is wrong."""

from pathlib import Path

import msgspec
import pytest

from ledger.errors import LedgerError
from ledger.slices.form import Slice
from ledger.store.ledger import Ledger
from tests.support.imported import brought, everything
from tests.support.ledgers import configure
from tests.support.slices import eventful, slice_of, written


def test_streams_are_not_mixed(ledger: Ledger, whole: Path, later: Path) -> None:
    configure(ledger)
    before = everything(ledger)
    with pytest.raises(LedgerError, match=r"source 'main'.*\n.*--source main=NEW"):
        brought(ledger, whole)
    with pytest.raises(LedgerError, match="no source 'nobody'"):
        brought(ledger, whole, nobody="x")
    assert everything(ledger) == before
    brought(ledger, later, main="copy")
    before = everything(ledger)
    with pytest.raises(LedgerError, match="other events of the user"):
        brought(ledger, whole, main="copy2")
    assert everything(ledger) == before


def test_a_slice_of_which_only_the_begin_is_there_is_refused(ledger: Ledger, whole: Path, tmp_path: Path) -> None:
    brought(ledger, whole)
    before = everything(ledger)
    others = written(slice_of(eventful(uids=("a", "b", "c", "d")).kept), tmp_path / "others")
    with pytest.raises(LedgerError, match="nothing was imported"):
        brought(ledger, others)
    assert everything(ledger) == before


def test_a_version_that_is_missing_refuses_all_of_it(ledger: Ledger, whole: Path, tmp_path: Path) -> None:
    taken_whole = slice_of(eventful().kept)
    lines = list(taken_whole.lines)
    missing = next(n for n, line in enumerate(lines) if line.stream == "user:bob")
    altered = written(Slice(taken_whole.header, [*lines[:missing], *lines[missing + 1 :]]), tmp_path / "altered")
    with pytest.raises(LedgerError, match=r"line \d+ is version 2 of the stream 'user:bob', where 1 is expected"):
        brought(ledger, altered)
    assert everything(ledger) == []


def test_whatever_is_wrong_with_the_file_nothing_is_stored(ledger: Ledger, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "altered"
    lines = whole.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:20], lines[20].replace(b"1", b"2", 1), *lines[21:]]))
    with pytest.raises(LedgerError, match="line 21 was altered"):
        brought(ledger, path)
    assert everything(ledger) == []


@pytest.mark.parametrize(
    ("find", "put", "what"),
    [
        ("stream", "source:ma in", "source name"),
        ("stream", "user:a\0", "uid"),
        ("payload", '"ma/in"', "source name"),
        ("payload", '"ma\\"in"', "source name"),
    ],
)
def test_names_that_there_cannot_be_are_refused(ledger: Ledger, tmp_path: Path, find: str, put: str, what: str) -> None:
    """However well its sums are reckoned: who made a slice may have written anything."""
    made = slice_of(eventful().kept)
    stream = put.partition(":")[0] + ":" if find == "stream" else "user:"
    lines = list(made.lines)
    number = next(n for n, line in enumerate(lines) if line.stream.startswith(stream))
    if find == "stream":
        lines[number] = msgspec.structs.replace(lines[number], stream=put)
    else:
        payload = bytes(lines[number].payload).replace(b'"main"', put.encode(), 1)
        lines[number] = msgspec.structs.replace(lines[number], payload=msgspec.Raw(payload))
    with pytest.raises(LedgerError, match=f"line {number + 2} has a {what} that"):
        brought(ledger, written(Slice(made.header, lines), tmp_path / "odd"))
    assert everything(ledger) == []

"""Slices whose sums were computed again by the one who altered them: the first line that cannot be so is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ledger.errors import LedgerError
from ledger.slices.checking import check, check_renames
from ledger.slices.form import LARGEST, EventLine, LedgerLine, Slice, SliceError, SliceHeader, StateLine
from ledger.slices.reading import SliceFile
from ledger.slices.renumbering import ShiftedPositions
from tests.support.slices import MAPPER, eventful, slice_of, written

Line = LedgerLine
Lines = list[Line]

ALICE, BOB, MAIN = "user:alice", "user:bob", "source:main"


def refused(path: Path, change: Callable[[Lines], Lines], **header: object) -> str:
    """Why a slice that begins with states is refused, altered so."""
    taken = slice_of(eventful().kept, 20)
    lines = change(list(taken.lines))
    with pytest.raises(SliceError) as refusal:
        check(SliceFile(written(Slice(replace(taken.header, **header), lines), path)), MAPPER, lambda *_: None)
    return str(refusal.value)


def nth(lines: Lines, stream: str, kind: type[Line], number: int = 0) -> int:
    """Where a stream's line of that kind stands."""
    return [n for n, line in enumerate(lines) if line.stream == stream and isinstance(line, kind)][number]


def without(stream: str, kind: type[Line], number: int = 0) -> Callable[[Lines], Lines]:
    def changed(lines: Lines) -> Lines:
        del lines[nth(lines, stream, kind, number)]
        return lines

    return changed


def altered(stream: str, kind: type[Line], number: int = 0, /, **fields: Any) -> Callable[[Lines], Lines]:
    def changed(lines: Lines) -> Lines:
        at = nth(lines, stream, kind, number)
        lines[at] = replace(lines[at], **fields)
        return lines

    return changed


def holding(stream: str, kind: type[Line], other: str, other_kind: type[Line]) -> Callable[[Lines], Lines]:
    """The event of another line put in a line's place."""

    def changed(lines: Lines) -> Lines:
        at, given = nth(lines, stream, kind), lines[nth(lines, other, other_kind)]
        lines[at] = replace(lines[at], event_kind=given.event_kind, payload=given.payload)
        return lines

    return changed


def as_another_kind(stream: str, kind: type[Line], other: type[Line]) -> Callable[[Lines], Lines]:
    def changed(lines: Lines) -> Lines:
        at = nth(lines, stream, kind)
        lines[at] = other(**{name: getattr(lines[at], name) for name in StateLine.__struct_fields__})
        return lines

    return changed


VERSIONS = {line.stream: line.version for line in slice_of(eventful().kept, 20).lines if isinstance(line, StateLine)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            without(ALICE, EventLine),
            f"is version {VERSIONS[ALICE] + 2} of the stream 'user:alice', where {VERSIONS[ALICE] + 1} is expected",
            id="an event of a user is missing",
        ),
        pytest.param(
            without(MAIN, EventLine, 1),
            f"of the stream 'source:main', where {VERSIONS[MAIN] + 2} is expected",
            id="an event of a source is missing",
        ),
        pytest.param(
            without(BOB, StateLine),
            f"is version {VERSIONS[BOB] + 1} of the stream 'user:bob', where 1 is expected",
            id="a state is missing",
        ),
        pytest.param(
            altered(ALICE, EventLine, 1, version=VERSIONS[ALICE] + 1),
            f"is version {VERSIONS[ALICE] + 1} of the stream 'user:alice', where {VERSIONS[ALICE] + 2} is expected",
            id="a version twice",
        ),
        pytest.param(
            altered(BOB, StateLine, stream=ALICE),
            "is a state of the stream 'user:alice', which already has",
            id="two states",
        ),
        pytest.param(
            holding(ALICE, EventLine, ALICE, StateLine),
            "is a state of the stream 'user:alice', which already has a state or an event above",
            id="a state among the events",
        ),
        pytest.param(
            as_another_kind(ALICE, EventLine, StateLine),
            "is a state from after the slice's start",
            id="a state after events",
        ),
        pytest.param(
            as_another_kind(ALICE, StateLine, EventLine),
            "is an event from before the slice's start",
            id="an event before the begin",
        ),
        pytest.param(
            holding(ALICE, StateLine, ALICE, EventLine),
            "is a state line, but its event is not a state",
            id="a state that is none",
        ),
        pytest.param(
            altered(ALICE, StateLine, version=VERSIONS[ALICE] + 1),
            "holds a state of another user, version or position",
            id="another version than the state's",
        ),
        pytest.param(
            altered(MAIN, StateLine, version=VERSIONS[MAIN] + 1),
            "holds a state of another user, version or position",
            id="another version than the source's",
        ),
        pytest.param(
            holding(ALICE, StateLine, BOB, StateLine),
            "holds a state of another user, version or position",
            id="another user's state",
        ),
        pytest.param(altered(ALICE, EventLine, position=0), "is not a line of a slice", id="no position"),
        pytest.param(
            altered(ALICE, EventLine, position=LARGEST + 1),
            f"is not a line of a slice (Expected `int` <= {LARGEST}",
            id="a position that leaves none",
        ),
        pytest.param(altered(ALICE, StateLine, version=0), "is not a line of a slice", id="no version"),
        pytest.param(
            altered(MAIN, StateLine, version=LARGEST + 1),
            f"is not a line of a slice (Expected `int` <= {LARGEST}",
            id="a version that leaves none",
        ),
    ],
)
def test_what_cannot_be_so_is_named(change: Callable[[Lines], Lines], said: str, tmp_path: Path) -> None:
    found = refused(tmp_path / "f", change)
    assert said in found
    before, after = list(slice_of(eventful().kept, 20).lines), change(list(slice_of(eventful().kept, 20).lines))
    first = next(n for n, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
    number = int(found.partition("line ")[2].split()[0])
    assert number >= first + 2


def test_an_instant_without_a_zone_is_none(tmp_path: Path) -> None:
    naive = slice_of(eventful().kept).lines
    instant = next(iter(naive)).recorded_at.replace(tzinfo=None)
    assert "is not a line of a slice" in refused(tmp_path / "f", altered(ALICE, EventLine, recorded_at=instant))


def test_of_chosen_users_only_their_sources_may_have_gaps(tmp_path: Path) -> None:
    taken = slice_of(eventful().kept, 20)
    of_some = Slice(replace(taken.header, users=("alice",)), without(MAIN, EventLine, 1)(list(taken.lines)))
    check(SliceFile(written(of_some, tmp_path / "f")), MAPPER, lambda *_: None)
    assert "of the stream 'user:alice'" in refused(tmp_path / "f", without(ALICE, EventLine), users=("alice",))
    backwards = altered(MAIN, EventLine, 1, version=VERSIONS[MAIN] + 1)
    assert "of the stream 'source:main'" in refused(tmp_path / "f", backwards, users=("alice",))


def test_a_header_that_begins_elsewhere_is_found_out(tmp_path: Path) -> None:
    header: SliceHeader = slice_of(eventful().kept, 20).header
    for number, said in ((0, "line 2 is a state from after"), (header.head.position, "is an event from before")):
        began = msgspec.structs.replace(header.began, position=number)
        assert said in refused(tmp_path / "f", list, began=began)


@pytest.mark.parametrize(
    ("renames", "said"),
    [
        ({"nobody": "x"}, "no source 'nobody'.\nIt has: a, b."),
        ({"a": "x", "b": "x"}, "'a' and 'b' of the slice would both be 'x'"),
        ({"a": "b"}, "'a' and 'b' of the slice would both be 'b'; nothing was imported.\n"),
        ({"b": "a"}, "Give each a name of its own: --source a=NEW --source b=ANOTHER."),
    ],
)
def test_names_that_the_sources_cannot_have(renames: dict[str, str], said: str) -> None:
    with pytest.raises(LedgerError) as refusal:
        check_renames(renames, frozenset({"a", "b"}))
    assert said in str(refusal.value)


@pytest.mark.parametrize("renames", [{}, {"a": "a"}, {"a": "b", "b": "a"}, {"a": "x", "b": "y"}])
def test_names_that_they_can_have(renames: dict[str, str]) -> None:
    check_renames(renames, frozenset({"a", "b"}))


def test_evidence_from_before_a_source_s_state_is_that_state() -> None:
    """Whether the state stands where the slice begins, or came into its ledger by an import itself."""
    for began in (0, 5):
        shifted = ShiftedPositions(100, began)
        assert [shifted.add(5, "main"), shifted.add(8, None), shifted.add(20, None)] == [101, 102, 103]
        assert [shifted.new_evidence(position, "main") for position in (3, 5, 8)] == [101, 101, 102]


DEEP = 100_000


@pytest.mark.parametrize("payload", [b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP])
def test_a_payload_that_is_nested_too_deeply_is_named_by_its_line(payload: bytes, tmp_path: Path) -> None:
    def deep(lines: Lines) -> Lines:
        return [*lines[:-1], replace(lines[-1], payload=msgspec.Raw(payload))]

    said = refused(tmp_path / "f", deep)
    number = len((tmp_path / "f").read_bytes().splitlines()) - 1
    assert f"line {number} " in said
    assert "nested too deeply" in said


def test_what_is_quoted_of_a_line_is_short(tmp_path: Path) -> None:
    def odd(lines: Lines) -> Lines:
        return [*lines[:-1], replace(lines[-1], event_kind="k" * 1_000_000)]

    said = refused(tmp_path / "f", odd)
    assert "is an event of kind 'kkkk" in said
    assert len(said) < 500

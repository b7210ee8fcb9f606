"""Text laid out for a width: whole words and instants, aligned columns, and below what has no room."""

import io
import os

import pytest

from ledger.cli.layout import cells_of, table, width, wrapped

INSTANT = "2026-11-23 14:03:01.123"


@pytest.mark.parametrize(
    ("text", "most", "lines"),
    [
        ("short", 80, ["short"]),
        ("no bound at all", None, ["no bound at all"]),
        ("one two three", 8, ["one two", "  three"]),
        ("  one two three", 10, ["  one two", "    three"]),
        (f"seen at {INSTANT} or so", 26, ["seen at", f"  {INSTANT}", "  or so"]),
        ("run `presence-ledger serve` now", 26, ["run", "  `presence-ledger serve`", "  now"]),
        ("lasted 120 min or 3 d", 12, ["lasted", "  120 min or", "  3 d"]),
        ("a " + "x" * 20 + " b", 10, ["a", "  " + "x" * 20, "  b"]),
        ("节点重启，连接随之断开。", 10, ["节点重启，", "  连接随之", "  断开。"]),
        ("（括号）", 4, ["（括", "  号）"]),
    ],
)
def test_a_line_is_broken_between_words(text: str, most: int | None, lines: list[str]) -> None:
    assert wrapped(text, most) == lines


def test_columns_are_aligned_by_what_is_seen() -> None:
    made = list(table(("uid", "status"), [("用户", "online"), ("u100x", "-")], None))
    assert made == ["uid    status", "用户   online", "u100x  -"]


COLUMNS = ("position", "at (UTC)", "status", "what", "evidence")
ROW = ("7", INSTANT, "offline -> online", "ghost corrected after 2 looks: app 17 closed, device 4 at n2 located", "-")


def test_what_has_no_room_stands_below_with_its_name() -> None:
    head, row, what, rest = table(COLUMNS, [ROW], 60)
    assert head.split("  ")[0] == "position"
    assert row.split("  ")[-1] == "offline -> online"
    assert what == "    what: ghost corrected after 2 looks: app 17 closed,"
    assert rest == "      device 4 at n2 located"


def test_short_cells_below_share_a_line() -> None:
    made = list(table(("uid", "a", "b", "c"), [("x" * 30, "1", "2", "3" * 12)], 32))
    assert made == ["uid", "x" * 30, "    a: 1   b: 2", "    c: 333333333333"]


@pytest.mark.parametrize("most", [20, 40, 60, 80])
def test_no_line_is_wider_than_there_is_room_and_no_instant_is_broken(most: int) -> None:
    for line in table(COLUMNS, [ROW, ROW], most):
        assert cells_of(line) <= max(most, len(INSTANT) + 6)
        assert line.count("2026-11-23") == line.count(INSTANT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_width_is_columns_or_the_terminals_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert width(io.StringIO()) is None
    assert width(Terminal()) == 80
    monkeypatch.setenv("COLUMNS", "72")
    assert (width(io.StringIO()), width(Terminal())) == (72, 72)
    for nonsense in ("0", "wide", "-3"):
        monkeypatch.setenv("COLUMNS", nonsense)
        assert width(io.StringIO()) is None


def test_the_width_of_a_real_terminal() -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "w"):
        assert width(terminal) == (os.get_terminal_size(terminal.fileno()).columns or 80)

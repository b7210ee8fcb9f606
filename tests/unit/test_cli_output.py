"""Checks what is printed for people and for programs."""

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from ledger.cli.output import cell, duration, print_json, print_table
from ledger.text import printable


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "-"),
        ("", "-"),
        ([], ""),
        (True, "yes"),
        (0, "0"),
        (0.2, "0.2"),
        (20000.0, "20000"),
        (67108864, "67108864"),
        (31536000.0, "31536000"),
        (("read", "audit"), "read, audit"),
        (datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=UTC), "2026-11-23T12:00:00Z"),
        ("用户-一", "用户-一"),
        ("\x1b[2J\u202e", "\\x1b[2J\\u202e"),
    ],
)
def test_values_are_written_for_people(value: object, written: str) -> None:
    assert cell(value) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.4, "0 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_799, "48 h"),
        (950_400, "11 d"),
    ],
)
def test_a_time_is_written_in_a_unit_of_which_there_are_some(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_nothing_printable_is_escaped() -> None:
    assert printable("a b-ü") == "a b-ü"


def test_lines_are_aligned_by_what_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("uid", "status"), [("用户", "online"), ("u100x", None)])
    assert capsys.readouterr().out == "uid    status\n用户   online\nu100x  -\n"


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("uid", "status"), [("[bold]u", "online")])
    assert "[bold]u" in terminal.getvalue()
    assert "online" in terminal.getvalue()


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"uid": "用户\x1b", "n": 1.5}
    print_json(value)
    written = capsys.readouterr().out
    assert json.loads(written) == value
    assert "用户" in written


def test_json_is_escaped_for_an_output_that_lacks_the_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    print_json({"uid": "用户"}, indent=None)
    output.flush()
    buffer = output.buffer
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue() == b'{"uid": "\\u7528\\u6237"}\n'

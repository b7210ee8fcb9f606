"""Checks what is printed for people and for programs."""

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from ledger.cli.drawing import console, drawn, print_table
from ledger.cli.output import (
    cell,
    duration,
    hand_over,
    print_json,
    print_line,
    replace_what_cannot_be_written,
    say,
)
from ledger.text import printable
from tests.support.command import Terminal


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
        (datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=UTC), "2026-11-23 12:00:00Z"),
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


STEERING = "\x1b]0;x\x07 \x7f \x9b2J \u202e \u2028 \ud800 \U000e0001"


def test_json_means_the_same_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"uid": f"用户é {STEERING}", STEERING: ["\n\r\t"]}
    for indent in (None, 2):
        print_json(value, indent=indent)
        written = capsys.readouterr().out
        assert json.loads(written) == value
        assert all(mark.isprintable() for line in written.split("\n") for mark in line)
        assert "用户é" in written


def test_whatever_is_printed_for_people_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_line(f"one {STEERING}\ntwo")
    say(STEERING)
    print_table(("uid",), [(STEERING,)])
    for written in capsys.readouterr():
        assert all(mark.isprintable() for line in written.split("\n") for mark in line)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    print_table(("uid",), [(STEERING,)])
    console().print(drawn(STEERING))
    hand_over(STEERING)
    assert not {"\x07", "\x9b", "\x7f", "\u202e", "\u2028", "\ud800"} & set(terminal.getvalue())
    assert "\x1b]" not in terminal.getvalue()


def test_a_program_is_handed_a_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    hand_over("a\x9bb")
    assert capsys.readouterr().out == "a\x9bb\n"


def test_what_an_encoding_lacks_is_written_as_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", output)
    replace_what_cannot_be_written()
    print_line("用户é …")
    output.flush()
    assert isinstance(output.buffer, io.BytesIO)
    assert output.buffer.getvalue() == b"\\u7528\\u6237\xe9 \\u2026\n"


def test_json_is_escaped_for_an_output_that_lacks_the_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    print_json({"uid": "用户"}, indent=None)
    output.flush()
    buffer = output.buffer
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue() == b'{"uid": "\\u7528\\u6237"}\n'

"""Checks what shows the progress of a long command: lines now and then with speed and time left, or a bar."""

import sys

import pytest

from ledger.cli.progress import LINE_SECONDS, shown
from tests.support.command import Terminal


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr("ledger.cli.progress.time.monotonic", lambda: now)
    with shown("verifying") as update:
        update(1_000, 10_000)
        now = LINE_SECONDS
        update(5_000, 10_000)
        update(6_000, 10_000)
        now = 2 * LINE_SECONDS
        update(8_000, 0)
        now = 3 * LINE_SECONDS
        update(0, 10_000)
    assert capsys.readouterr().err.splitlines() == [
        "verifying: 5,000 of 10,000 events, 1,000 events/s, 5 s left",
        "verifying: 8,000 events, 800 events/s",
        "verifying: 0 of 10,000 events",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown("restoring", "MB") as update:
        update(1, 0)
        update(50, 100)
    assert "restoring" in terminal.getvalue()

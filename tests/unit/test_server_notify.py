"""What systemd is told, and whether the terminal is gone that a service was started in."""

import asyncio
import os
import pty
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from ledger.server import notify
from ledger.server.terminal import Terminal

DEADLINE_SECONDS = 60.0


def listening(address: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(address)
    found.settimeout(DEADLINE_SECONDS)
    return found


@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told_by_either_kind_of_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:
    name = f"ledger-test-{os.getpid()}"
    address = f"\0{name}" if is_abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else address)
    with listening(address) as systemd:
        notify.ready()
        notify.reloading()
        notify.stopping()
        told = [systemd.recv(100).decode() for _ in range(3)]
    assert (told[0], told[2]) == ("READY=1", "STOPPING=1")
    first, second = told[1].split("\n")
    assert first == "RELOADING=1"
    assert second.removeprefix("MONOTONIC_USEC=").isdigit()


def test_nobody_is_told_where_nobody_wants_to_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify.ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    notify.ready()


def test_the_watchdog_is_told_as_often_as_it_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(systemd: socket.socket) -> list[bytes]:
        task = asyncio.create_task(notify.keep_watchdog_quiet())
        found = [await asyncio.to_thread(systemd.recv, 100) for _ in range(3)]
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return found

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with listening(str(tmp_path / "notify")) as systemd:
        assert asyncio.run(told(systemd)) == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    ("wanted", "process"),
    [("", None), ("0", None), ("soon", None), ("30000", "1")],
    ids=["none", "0", "words", "other"],
)
def test_no_watchdog_is_kept_quiet_that_is_none_or_another_process_s(
    monkeypatch: pytest.MonkeyPatch, wanted: str, process: str | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", wanted)
    if process is None:
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
    else:
        monkeypatch.setenv("WATCHDOG_PID", process)
    asyncio.run(asyncio.wait_for(notify.keep_watchdog_quiet(), DEADLINE_SECONDS))


@pytest.mark.parametrize(("ignored", "gone"), [(False, b"no yes"), (True, b"no no")])
def test_a_terminal_is_gone_once_it_is_closed_unless_that_is_to_be_ignored(ignored: bool, gone: bytes) -> None:
    ends, told = os.pipe()
    pid, master = pty.fork()
    if pid == 0:  # pragma: no cover  (another process)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda *_: None)
        terminal = Terminal()
        before = "yes" if terminal.is_gone() else "no"
        with suppress(OSError):
            os.write(1, b".")
            while os.read(0, 1):
                pass
        os.write(told, f"{before} {'yes' if terminal.is_gone() else 'no'}".encode())
        os._exit(0)
    os.close(told)
    assert os.read(master, 1) == b"."
    os.close(master)
    with os.fdopen(ends, "rb") as heard:
        assert heard.read() == gone
    os.waitpid(pid, 0)


def test_where_there_is_no_terminal_none_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.server.terminal.CONTROLLING", "/nonexistent")
    assert not Terminal().is_gone()

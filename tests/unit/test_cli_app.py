"""Checks what every command shares: help, exit codes, and failures told in a line or two without a traceback."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ledger import __version__
from ledger.cli.app import COMMANDS, CommandEntry, two_lines
from ledger.errors import StoreUnavailable
from tests.support.command import call, process_environment, run_process


def fail() -> None:
    """Fail as a store does. Example: fail"""
    raise StoreUnavailable("PostgreSQL did not answer:\n  connection refused\n  to two addresses\nStart it.")


def crash() -> None:
    """Crash with a text that quotes a secret. Example: crash"""
    raise KeyError("geheim")


def interrupt() -> None:
    """Be interrupted. Example: interrupt"""
    raise KeyboardInterrupt


def misuse() -> None:
    """Find the call wrong. Example: misuse"""
    raise typer.BadParameter("must be less")


def leave() -> None:
    """Leave with a code of its own. Example: leave"""
    raise typer.Exit(3)


@pytest.fixture
def _test_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (fail, crash, interrupt, misuse, leave):
        monkeypatch.setitem(COMMANDS, function.__name__, CommandEntry(__name__, function.__name__, "A test's."))
    # pytest imports this module under a name that `importlib` finds only here.
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_help_lists_every_command_without_importing_one(tmp_path: Path) -> None:
    script = (
        "import sys; from ledger.cli.app import app; app(['--help'], standalone_mode=False);"
        "print(*sorted(name for name in sys.modules if name.startswith('ledger')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert set(done.stderr.split()) == {
        "ledger",
        "ledger.cli",
        "ledger.cli.app",
        "ledger.cli.invocation",
        "ledger.languages",
        "ledger.cli.layout",
        "ledger.cli.output",
        "ledger.cli.reader",
        "ledger.cli.usage",
        "ledger.cli.words",
        "ledger.errors",
        "ledger.text",
    }
    for name, place in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert place.help in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    assert "Example: presence-ledger" in result.output


@pytest.mark.parametrize("name", ["config", "keys"])
def test_every_subcommand_has_help_with_an_example(name: str) -> None:
    subcommands = importlib.import_module(COMMANDS[name].module).app.registered_commands
    assert subcommands
    for subcommand in subcommands:
        result = call(name, subcommand.name or subcommand.callback.__name__, "--help")
        assert result.exit_code == 0
        assert "Example: " in result.output


def test_the_version_is_shown() -> None:
    assert (call("--version").exit_code, call("--version").output) == (0, f"presence-ledger {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [(), ("nothing",), ("--nothing",), ("status",), ("config", "nothing"), ("history", "u", "--limit", "0")],
)
def test_a_wrong_call_is_2(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_command_that_is_misspelt_is_told_the_nearest() -> None:
    assert call("stat", "u100").output.endswith("Error: No such command 'stat'. Did you mean 'status'?\n")


@pytest.mark.usefixtures("_test_commands")
def test_a_failure_is_1_and_two_lines() -> None:
    result = call("fail")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "presence-ledger: PostgreSQL did not answer: connection refused to two addresses\nStart it.\n"
    )


@pytest.mark.usefixtures("_test_commands")
def test_debug_shows_the_traceback() -> None:
    result = call("--debug", "fail")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("\nStart it.\n")


@pytest.mark.usefixtures("_test_commands")
def test_an_unexpected_error_is_1_and_one_line_that_quotes_nothing() -> None:
    result = call("crash")
    assert result.exit_code == 1
    assert result.stderr == (
        "presence-ledger: unexpected error: KeyError; run it again with --debug for the traceback\n"
    )
    assert "geheim" in call("--debug", "crash").stderr
    assert "geheim" in call("crash", "--debug").stderr


@pytest.mark.usefixtures("_test_commands")
def test_ctrl_c_is_130_and_quiet() -> None:
    result = call("interrupt")
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.usefixtures("_test_commands")
def test_a_command_may_find_its_call_wrong_or_leave_with_a_code() -> None:
    result = call("misuse")
    assert result.exit_code == 2
    assert "must be less" in result.stderr
    assert call("leave").exit_code == 3


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("one", "one"),
        ("one\n\ntwo\n", "one\ntwo"),
        ("one\n\ttwo\nthree", "one two\nthree"),
        ("", "failed; no reason given"),
    ],
)
def test_an_explanation_is_one_or_two_lines(text: str, folded: str) -> None:
    assert two_lines(text) == folded


def test_the_process_exits_as_the_command_did(tmp_path: Path) -> None:
    good = run_process("config", "--json", folder=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    wrong = run_process("nothing", folder=tmp_path)
    assert wrong.returncode == 2
    assert "No such command 'nothing'" in wrong.stderr
    failed = run_process("config", folder=tmp_path, LISTEN="nowhere")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == (
        "presence-ledger: PRESENCE_LEDGER_LISTEN: listen must be host:port like 127.0.0.1:8640 or [::1]:8640\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "mine.toml", "status", "u100"),
        ("status", "--config", "mine.toml", "u100"),
        ("status", "u100", "--config=mine.toml"),
        ("--config", "missing.toml", "status", "u100", "--config", "mine.toml"),
        ("serve", "--config", "mine.toml"),
        ("config", "--config", "mine.toml", "wukongim"),
        ("config", "wukongim", "--config", "mine.toml"),
        ("keys", "list", "--config", "mine.toml", "--debug"),
    ],
)
def test_the_file_is_named_before_the_command_or_after(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text("\nlisten = 5\n")
    monkeypatch.chdir(tmp_path)
    failed = call(*arguments)
    assert failed.exit_code == 1
    assert ("Traceback" in failed.stderr) is ("--debug" in arguments)
    assert failed.stderr.endswith("presence-ledger: mine.toml, line 2: listen must be a string in quotes, not 5\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_understands_the_global_options(name: str) -> None:
    shown = call(name, "--help").output
    assert "--config" in shown
    assert "--debug" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("\x1b]0;x\x07",),
        ("status", "--\x9bx"),
        ("history", "u", "--limit", "\u202e5"),
        ("--\x1bx",),
        ("reconcile", "\x1b[2J", "-\x9b"),
    ],
)
def test_a_wrong_call_is_quoted_without_what_steers_a_terminal(arguments: tuple[str, ...]) -> None:
    wrong = call(*arguments)
    assert wrong.exit_code == 2
    assert all(mark.isprintable() or mark == "\n" for mark in wrong.output)


def test_what_an_encoding_lacks_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    (tmp_path / "用户.toml").write_text("listen = 5")
    failed = run_process("--config", "用户.toml", "config", folder=tmp_path)
    assert failed.returncode == 1
    assert "\\u7528\\u6237" in failed.stderr
    (tmp_path / "用户.jsonl").write_text('{"kind":"meta","server":"v22"}\n' + WEBHOOK)
    shown = run_process("replay", "用户.jsonl", folder=tmp_path)
    assert (shown.returncode, "\\u7528\\u6237  online" in shown.stdout) == (0, True)


WEBHOOK = (
    '{"kind":"webhook","t":1,"node":"n1","event":"user.onlinestatus","body":"[\\"用户-0-1-1-1-1\\"]","answer":"ok"}\n'
)


def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ledger", "config", "--json"],
        cwd=tmp_path,
        env=process_environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_process_quietly(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = subprocess.Popen(
        [sys.executable, "-m", "ledger", "--config", str(fifo), "config"],
        cwd=tmp_path,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Opening waits until the command opens its settings, which then waits for a text that never comes.
    with running, fifo.open("w"):
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=120)
    assert (running.returncode, output, errors) == (130, "", "")

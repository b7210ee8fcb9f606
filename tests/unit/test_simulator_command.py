"""The command `simulate`: its exit codes, its lines, and that it never prints a secret."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ledger.cli.simulate import event_json, event_text, simulate
from ledger.simulator.events import Action, AnsweredWebhook, Arrival

SECRET = "hush-hush"


class Taker(BaseHTTPRequestHandler):
    """Answers every POST with an empty 200."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/hooks/main/n1/{SECRET}"
        finally:
            server.shutdown()
            thread.join()


def call(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(simulate)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_a_run_prints_its_seed_plain_lines_and_a_summary(hook: str, tmp_path: Path) -> None:
    record = tmp_path / "run.jsonl"
    code, output = call(
        "--node",
        f"n1={hook}",
        "--seconds",
        "1",
        "--rate",
        "40",
        "--profile",
        "v3",
        "--seed",
        "11",
        "--record",
        str(record),
    )
    assert code == 0
    assert output.startswith("seed 11: v3, 1 node, 20 users, faults: none\n")
    assert "answer ok" in output
    assert "really online now:" in output.splitlines()[-1]
    assert SECRET not in output
    assert SECRET not in record.read_text(encoding="utf-8")


def test_json_is_an_object_a_line_with_the_summary_last(hook: str) -> None:
    code, output = call("--node", f"n1={hook}", "--seconds", "1", "--rate", "40", "--seed", "11", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert (lines[0]["do"], lines[-1]["summary"]["seed"]) == ("start", 11)
    assert SECRET not in output


def test_on_a_terminal_a_table_is_drawn(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    code, output = call("--node", f"n1={hook}", "--seconds", "1", "--rate", "40", "--profile", "v3", "--seed", "11")
    assert code == 0
    assert "batches dropped" in output
    assert SECRET not in output


def test_shares_and_lies_are_told(hook: str) -> None:
    code, output = call(
        *("--node", f"n1={hook}", "--seconds", "1", "--users", "50", "--start-online", "1", "--rate", "0.001"),
        *("--fault", "drop", "--fault", "api-odd", "--fault-share", "0.9", "--json", "--seed", "3"),
    )
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [line["lie"] for line in lines if line.get("do") == "lie"] == ["odd"]
    assert lines[-1]["summary"]["truth_online"] == 50
    assert lines[-1]["summary"]["dropped_items"] > 5


def test_a_signal_ends_a_run_with_its_summary(hook: str) -> None:
    program = "import typer; from ledger.cli.simulate import simulate; typer.run(simulate)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--node", f"n1={hook}", "--rate", "40"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process, process.stdout as lines:
        assert any("connect" in line for line in lines)
        process.send_signal(signal.SIGINT)
        assert any("really online now:" in line for line in lines)
    assert process.returncode == 0


def test_nobody_there_is_one_line_and_exit_code_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        code, output = call("--node", f"n1=http://127.0.0.1:{port}/hooks/main/n1/{SECRET}", "--seconds", "1")
    assert code == 1
    assert f"nothing listens at 127.0.0.1:{port}" in output
    assert SECRET not in output


def test_a_door_whose_port_is_taken_is_one_line_and_exit_code_1(hook: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = call("--node", f"n1={hook}", "--seconds", "1", "--client-port", str(port))
    assert code == 1
    assert f"port {port} is taken; choose another one with --client-port" in output


@pytest.mark.parametrize(
    "wrong",
    [
        ("--node", "n1=nowhere"),
        ("--node", "n1=http://"),
        ("--fault", "gremlins"),
        ("--profile", "v4"),
        ("--users", "0"),
        ("--fault-share", "1"),
        ("--start-online", "2"),
        ("--node", "n1", "--node", "n1"),
        ("--node", "n1", "--node", "n2", "--profile", "v1"),
    ],
)
def test_a_wrong_call_is_exit_code_2(wrong: tuple[str, ...]) -> None:
    code, _ = call(*wrong)
    assert code == 2


def test_help_has_an_example() -> None:
    code, output = call("--help")
    assert code == 0
    assert "presence-ledger simulate --node" in output


def test_lines_say_what_is_odd_about_a_webhook() -> None:
    arrival = Arrival(1.5, "n1", 1, b'["a-0-1-1-1-1"]', 1, 2, 2, answer_lost=True, patience_seconds=5.0)
    webhook = AnsweredWebhook(arrival, "ok")
    text = event_text(webhook)
    assert "1 item, answer ok, attempt 2, a copy, answer lost on the way back" in text
    assert event_json(webhook)["attempt"] == 2
    action = Action(1.0, "close", {"t": 1.0, "kind": "action", "do": "close", "uid": "a", "node": "n1"})
    assert event_text(action).split() == ["1.000", "close", "a", "n1"]
    assert event_json(action) == action.line
    line = {"t": 1.0, "kind": "action", "do": "lie", "lie": "errors", "node": "n1", "what": "500", "seconds": 2.0}
    assert event_text(Action(1.0, "lie", line)).split() == ["1.000", "lie", "n1", "errors", "500", "2.0"]

"""What makes the command line easy: it says what was probably meant, completes words, fits 80 columns, loads little."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ledger.cli.app import COMMANDS
from ledger.cli.layout import cells_of
from ledger.cli.near import near
from tests.support.command import call, process_environment
from tests.support.scripted import Asked, ScriptedService
from tests.unit.test_cli_queries import PRESENCE, UNKNOWN, event
from tests.unit.test_cli_sinks import SINK

T = "2026-11-23T14:03:{:02}.123456Z"


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("status", "u", "--jsno"), "Did you mean '--json'?"),
        (("history", "u", "--limt", "3"), "Did you mean '--limit'?"),
        (("keys", "creat", "x"), "Did you mean 'create'?"),
        (("sinks", "pauze", "x"), "Did you mean 'pause'?"),
        (("config", "databse-url"), "Did you mean 'database-url'?"),
        (("timline", "u"), "Did you mean 'timeline'?"),
        (("--confg", "x", "status", "u"), "Did you mean '--config'?"),
        (("history", "u", "--from", "yesterday", "14:03"), "put an instant of two words in quotation marks"),
        (("status", "u", "--tz", "Asia/Shangai"), "did you mean Asia/Shanghai?"),
    ],
)
def test_what_was_meant_is_said(arguments: tuple[str, ...], meant: str) -> None:
    wrong = call(*arguments)
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert meant in wrong.stderr


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("U100", "u100"), ("u100 ", "u100"), (" u100", "u100"), ("u 100", "u100"), ("alice", "Alice"),
        ("alice", "ALICE"), ("u100", "u100 "), ("u100", "u100\n"), ("ｕ１００", "u100"), ("u100\u200b", "u100"),
    ],
)  # fmt: skip
def test_uids_are_near_that_differ_by_case_or_blanks(asked: str, meant: str) -> None:
    assert meant in near(asked)


@pytest.mark.parametrize("uid", ["u100", " ", "x" * 1024, "用户", "\udcff"])
def test_few_are_looked_for_and_each_can_be_a_uid(uid: str) -> None:
    found = near(uid)
    assert len(found) < 60
    assert uid not in found
    assert all(0 < len(each.encode()) <= 1024 for each in found)


def knows(*uids: str) -> Callable[[Asked], tuple[int, str]]:
    """What a service answers that has heard of these alone."""

    def answer(asked: Asked) -> tuple[int, str]:
        if asked.method == "GET":
            empty: dict[str, Any] = {"items": [], "next": None, "lag": 0, "as_of": {"at": T.format(0), "position": 9}}
            return 200, json.dumps(empty)
        items = [
            UNKNOWN | {"uid": uid, "reason": None if uid in uids else "never_observed"} for uid in asked.body["uids"]
        ]
        return 200, json.dumps({"items": items})

    return answer


@pytest.mark.parametrize("command", ["status", "history", "timeline", "sessions"])
def test_a_uid_that_nobody_has_may_be_another(
    service: ScriptedService, ask: Callable[..., Result], command: str
) -> None:
    service.answer = knows("u100", "bob")
    said = ask(command, "U100")
    assert said.exit_code == 0
    assert "nothing was ever heard of U100; did you mean u100?" in said.stderr
    assert "did you mean" not in ask(command, "nobody").stderr
    assert "did you mean" not in ask(command, "bob").stderr
    assert "did you mean" not in ask(command, "U100", "--json").stderr


def test_a_hint_that_cannot_be_had_is_left_out(service: ScriptedService, ask: Callable[..., Result]) -> None:
    def answer(asked: Asked) -> tuple[int, str]:
        return knows()(asked) if asked.method == "GET" else (503, "{}")

    service.answer = answer
    assert ask("timeline", "U100").exit_code == 0


def test_history_asks_for_a_span_of_time(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [event(7)], "next": None}))
    span = ("--from", "2026-11-23 22:00", "--to", "2026-11-23T15:00:00Z", "--tz", "Asia/Shanghai")
    in_utc = "from=2026-11-23T14%3A00%3A00.000000Z&to=2026-11-23T15%3A00%3A00.000000Z"
    assert ask("history", "u", *span).exit_code == 0
    assert service.asked[-1].target == f"/v1/users/u/events?order=desc&limit=100&{in_utc}"
    service.answer = lambda asked: (200, json.dumps(event(7)) + "\n")
    assert "2026-11-23 20:00:00.000" in ask("history", "u", "--all", *span).stdout
    assert json.loads(ask("history", "u", "--all", "--json", *span).stdout) == event(7)
    assert {asked.target for asked in service.asked[1:]} == {f"/v1/users/u/events?{in_utc}"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tz", "Asia/Shanghai", "status", "u100"),
        ("status", "u100", "--tz", "Asia/Shanghai"),
        ("status", "--tz=+08:00", "u100"),
        ("--tz", "UTC", "status", "u100", "--tz", "Asia/Shanghai"),
    ],
)
def test_the_zone_is_named_before_the_command_or_after(
    service: ScriptedService, ask: Callable[..., Result], arguments: tuple[str, ...]
) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [PRESENCE]}))
    assert "since (UTC+08:00)" in (shown := ask(*arguments).stdout)
    assert "2026-11-23 20:00:00.000" in shown


def test_an_instant_before_now_is_typed_like_an_option(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"items": [PRESENCE]}))
    for arguments in (("--at", "-2h"), ("--at=-90m",)):
        assert ask("status", "u100", *arguments).exit_code == 0
    assert [asked.body["at"][-1] for asked in service.asked] == ["Z", "Z"]


APP = {"node": "n1", "device_flag": 0, "conn_id": 17, "held_by": None}
PLACE = {"source": "main", "node": "n1"}
DRIFT = {
    "kind": "drift", "position": 471_100, "at": T.format(5), "until": None, "drift": "ghost", "state": "held",
    "run": "01HX5ZK8M3Q7W9E2R4T6Y8U0", "agreed_at": T.format(1), "disagreed_at": T.format(5),
    "attributed_to": "upstream_defect", **PLACE,
}  # fmt: skip
SESSION = {
    "source": "main", "device_flag": 0, "conn_id": 123_456, "told_by": "n1", "held_by": None, "concurrent": 3,
    "began": {"at": T.format(1), "after": None, "sure": "exact", "rule": "online_new", "position": 1},
    "ended": {"at": T.format(9), "after": T.format(2), "sure": "bounded", "rule": "restart", "position": 9},
    "seen_at": T.format(2), "duration_seconds": 8.0, "flaps": 2,
}  # fmt: skip
LIST = {"name": "friends", "counts": {"uids": 3, "watchers": 1}, "changed_at": T.format(4), "changed_by": "app"}
PAGE: dict[str, Any] = {"next": None, "lag": 0, "as_of": {"at": T.format(9), "position": 9}}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        (
            ("status", "u100"),
            [PRESENCE | {"uncertain": {"from": T.format(1), "to": T.format(2), "could_be": "offline"}}],
        ),
        (("history", "u100"), [event(471_100)]),
        (("timeline", "u100"), [DRIFT]),
        (("sessions", "u100"), [SESSION]),
        (("lists",), [LIST]),
        (("sinks",), [SINK]),
    ],
)
def test_80_columns_are_enough(
    service: ScriptedService, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], items: list[dict[str, Any]], language: str,
) -> None:  # fmt: skip
    service.answer = lambda asked: (200, json.dumps({"items": items, **PAGE}))
    wide = ask(*arguments, "--lang", language).stdout
    monkeypatch.setenv("COLUMNS", "80")
    narrow = ask(*arguments, "--lang", language).stdout
    assert all(cells_of(line) <= 80 for line in narrow.splitlines())
    words = set(narrow.split())
    if language == "en":
        assert {word for word in wide.split() if word != "-"} <= words | {word.rstrip(":") for word in words}
    assert narrow.count("2026-11-23 ") == wide.count("2026-11-23 ")


def complete(folder: Path, line: str) -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "from ledger.cli.app import main; main()"],
        cwd=folder,
        env=process_environment()
        | {"_PRESENCE_LEDGER_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.split()


def test_a_shell_completes_commands_and_flags(tmp_path: Path) -> None:
    assert complete(tmp_path, "presence-ledger st") == ["status"]
    assert complete(tmp_path, "presence-ledger keys re") == ["revoke", "revoke-tokens"]
    assert "--known-at" in complete(tmp_path, "presence-ledger status --kn")


def test_the_shells_script_is_shown(tmp_path: Path) -> None:
    # It asks which shell has started it.
    typed = '"$0" -m ledger --show-completion || exit 1'
    shown = subprocess.run(
        ["bash", "-c", typed, sys.executable], cwd=tmp_path, env=process_environment(), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "_presence_ledger_completion presence-ledger" in shown.stdout


HEAVY = (
    "asyncio", "eventsourcing", "fastapi", "granian", "psycopg", "pyarrow", "rich.console", "starlette", "structlog",
    "uvloop", "jinja2", "apprise", "redis", "ledger.http", "ledger.store.embedded", "ledger.service",
)  # fmt: skip
ASKING = ("status", "history", "timeline", "sessions", "explain", "reconcile", "lists", "sinks", "serve", "config")
"""Commands that open no database, and one that does so only when it runs."""


def test_what_a_call_does_not_need_is_not_loaded(tmp_path: Path) -> None:
    modules = [COMMANDS[name].module for name in ASKING]
    script = f"import importlib, sys; list(map(importlib.import_module, {modules})); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=process_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    loaded = done.stdout.split()
    assert not [name for name in loaded if any(name == each or name.startswith(f"{each}.") for each in HEAVY)]

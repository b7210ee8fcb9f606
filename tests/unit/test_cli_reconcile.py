"""Checks how `reconcile` asks for a run, follows it and tells what it came to, of a service that answers by script."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from ledger.cli import reconcile
from tests.support.command import Terminal
from tests.support.scripted import Asked, ScriptedService

COUNTS = dict.fromkeys((*reconcile.COUNTS, "overdue"), 0)
RUN: dict[str, Any] = {
    "run": "r-1",
    "source": "main",
    "state": "running",
    "duration_seconds": None,
    "users": 40,
    "counts": COUNTS,
    "failures": {},
}
MIDWAY = RUN | {"counts": COUNTS | {"polls": 1, "looked": 30, "agreed": 28, "drifted": 2, "failed": 1}}
ENDED = RUN | {
    "state": "completed",
    "duration_seconds": 4.25,
    "counts": COUNTS | {"polls": 3, "failed_polls": 1, "looked": 39, "agreed": 36, "drifted": 3, "in_flight": 2}
    | {"corrected": 1, "failed": 1},
    "failures": {"n2": "connection refused"},
}  # fmt: skip
PRESENCE: dict[str, Any] = {"uid": "u100", "status": "online", "devices": [], "reason": None}


class Script:
    """A source, or several, and a run that goes on from one state to the next each time it is asked for."""

    def __init__(
        self, *states: dict[str, Any], sources: tuple[str, ...] = ("main",), looks: dict[str, Any] | None = None
    ) -> None:
        self._states = list(states)
        self._sources = sources
        self._looks = looks

    def __call__(self, asked: Asked) -> tuple[int, str]:
        if asked.target == "/v1/sources":
            return 200, json.dumps({"items": [{"name": name, "looks": self._looks} for name in self._sources]})
        if asked.method == "POST" and asked.target.endswith("/reconcile"):
            return 202, json.dumps(RUN)
        if asked.target == "/v1/presence/query":
            return 200, json.dumps({"items": [PRESENCE | {"uid": uid} for uid in asked.body["uids"]]})
        return 200, json.dumps(self._states.pop(0))


@pytest.fixture
def ask(ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Calls a command in a folder whose service is the scripted one, and which waits for nothing."""
    monkeypatch.setattr(reconcile, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "LINE_SECONDS", 0.0)
    return ask


def test_a_run_is_asked_for_followed_and_told(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(RUN, MIDWAY, MIDWAY, ENDED)
    result = ask("reconcile", "u100", "用户")
    assert result.exit_code == 0, result.output
    assert [(asked.method, asked.target, asked.body) for asked in service.asked] == [
        ("GET", "/v1/sources", None),
        ("POST", "/v1/sources/main/reconcile", {"uids": ["u100", "用户"]}),
        *[("GET", "/v1/runs/r-1", None)] * 4,
        ("POST", "/v1/presence/query", {"uids": ["u100", "用户"]}),
        ("GET", "/v1/sources", None),
    ]
    assert {asked.key for asked in service.asked} == {"Bearer plk_admin"}
    assert result.stderr.splitlines() == [
        "run r-1 of main has begun",
        "30 of 40 users looked at, 2 drifted, 1 failed",
        "39 of 40 users looked at, 3 drifted, 1 failed",
    ]
    summary, failures, users = result.stdout.split("\n\n")
    rows = dict(line.rsplit("  ", 1) for line in summary.splitlines())
    told = {name.strip(): value for name, value in rows.items()}
    assert told == {
        "run": "r-1",
        "polls": "3",
        "failed polls": "1",
        "looked": "39",
        "agreed": "36",
        "drifted": "3",
        "corrected": "1",
        "cleared": "0",
        "in flight": "2",
        "held": "0",
        "swept": "0",
        "failed": "1",
        "duration": "4.2 s",
    }
    assert failures.splitlines()[1].split(maxsplit=1) == ["n2", "connection refused"]
    assert [line.split()[:2] for line in users.splitlines()[1:]] == [["u100", "online"], ["用户", "online"]]


def test_without_users_it_is_everybody(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(ENDED | {"failures": {}, "duration_seconds": 65.0})
    result = ask("reconcile")
    assert [asked.body for asked in service.asked if asked.method == "POST"] == [{}]
    assert "65 s" in result.stdout
    assert "uid" not in result.stdout


def test_it_tells_how_users_are_looked_at_and_what_all_connections_cost(
    service: ScriptedService, ask: Callable[..., Result]
) -> None:
    made = {"at_least_every_seconds": 270.0, "asked_at": "2026-11-23T08:20:46Z", "calls": 3, "connections": 1200}
    looks = {"route": "GET /connz", "because": "rows tell nothing", "all_connections": made}
    service.answer = Script(ENDED, looks=looks)
    assert ask("reconcile").stdout.splitlines()[-2:] == [
        "GET /connz: rows tell nothing",
        "all connections are looked at every 4 min at least: 3 calls of budget_calls for 1,200 connections",
    ]
    waiting = {"route": None, "because": "a node is down", "all_connections": None}
    service.answer = Script(ENDED, looks=waiting)
    assert ask("reconcile").stdout.splitlines()[-1] == "no look: a node is down"


def test_as_json_it_is_what_the_service_said(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(ENDED)
    result = ask("reconcile", "u100", "--json")
    assert json.loads(result.stdout) == {"run": ENDED, "users": [PRESENCE]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name one with --source: main, second"),
        (("--source", "third"), "unknown source 'third'; choose from: main, second"),
    ],
)
def test_a_source_must_be_named_where_there_are_several(
    service: ScriptedService, ask: Callable[..., Result], arguments: tuple[str, ...], told: str
) -> None:
    service.answer = Script(sources=("main", "second"))
    result = ask("reconcile", *arguments)
    assert (result.exit_code, told in result.stderr) == (2, True), result.output
    assert [asked.target for asked in service.asked] == ["/v1/sources"]


def test_one_of_several_sources_is_asked(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(ENDED, sources=("main", "second"))
    assert ask("reconcile", "--source", "second").exit_code == 0
    assert service.asked[1].target == "/v1/sources/second/reconcile"


def test_an_interrupted_run_is_a_failure(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(MIDWAY, ENDED | {"state": "interrupted"})
    result = ask("reconcile")
    assert result.exit_code == 1
    assert "Run r-1 was interrupted: the instance that made it has ended.\nStart another one." in result.stderr
    assert "looked" in result.stdout


def test_a_run_of_which_every_poll_failed_is_a_failure(service: ScriptedService, ask: Callable[..., Result]) -> None:
    failed = COUNTS | {"polls": 2, "failed_polls": 2, "failed": 40}
    service.answer = Script(ENDED | {"counts": failed, "failures": {"n2": "500", "n1": "401: the token is refused"}})
    result = ask("reconcile", "--json")
    assert result.exit_code == 1
    assert "Every poll of run r-1 failed (n1: 401: the token is refused; n2: 500).\nLook at `api_url`" in result.stderr
    assert json.loads(result.stdout)["run"]["counts"] == failed


def test_a_run_that_found_nobody_is_none(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = Script(ENDED | {"counts": COUNTS, "failures": {}})
    assert ask("reconcile").exit_code == 0


def test_a_refused_run_is_explained(service: ScriptedService, ask: Callable[..., Result]) -> None:
    script = Script()
    problem = {"title": "Error", "detail": "no node of 'main' has an api_url"}
    service.answer = lambda asked: (409, json.dumps(problem)) if asked.method == "POST" else script(asked)
    result = ask("reconcile")
    assert (result.exit_code, "no node of 'main' has an api_url" in result.stderr) == (1, True)


def test_a_uid_that_is_not_utf8_is_told_before_anything_is_asked(
    service: ScriptedService, ask: Callable[..., Result]
) -> None:
    service.answer = Script()
    result = ask("reconcile", "\udcff")
    assert (result.exit_code, "is not UTF-8" in result.stderr) == (1, True)
    assert [asked.target for asked in service.asked] == ["/v1/sources"]


def test_ctrl_c_says_where_the_run_goes_on(
    service: ScriptedService, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    service.answer = Script(RUN)
    result = ask("reconcile")
    assert (result.exit_code, f"the run goes on: {service.url}/v1/runs/r-1" in result.stderr) == (130, True)


def test_on_a_terminal_a_bar_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with reconcile._shown(RUN) as update:
        update(RUN)
        update(MIDWAY)
        update(ENDED | {"users": None})
    assert "looking at main" in terminal.getvalue()
    assert "39 users looked at, 3 drifted, 1 failed" in terminal.getvalue()

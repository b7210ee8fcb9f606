"""Checks what `erase` and `reads` ask for and say, of a service that answers by script."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.support.scripted import ScriptedService

ERASED: dict[str, Any] = {
    "uid": "u100\x1b", "position": 4711, "at": "2026-11-30T03:12:04.500000Z", "by": "ops", "reason": "asked",
    "events": 2, "redacted": 1, "erased_before": False, "complete": True, "waiting": [], "backup": None,
    "spools": [],
}  # fmt: skip
BACKUP = {"made_at": "2026-11-28T03:00:00.000000Z", "age_seconds": 200_000.0}
SPOOL = {
    "host": "im-2", "path": "/data/spool/a.refused", "last_at": "2026-11-28T03:00:00.000000Z", "age_seconds": 90_000.0,
}  # fmt: skip
READ: dict[str, Any] = {
    "key": "app", "route": "/v1/users/{uid}/presence", "first_at": "2026-11-30T03:12:04.500000Z",
    "last_at": "2026-11-30T03:12:05.000000Z", "number": 3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({}, ["is erased, at 2026-11-30 03:12:04", "by ops: 2 events removed, 1 event redacted (position 4711)"]),
        ({}, ["no backup by `presence-ledger backup` holds the user"]),
        ({"erased_before": True}, ["was erased already"]),
        ({"complete": False}, ["it is complete within seconds"]),
        ({"complete": False, "waiting": ["app", "hot"]}, ["once these sinks have been told: app, hot"]),
        ({"spools": [SPOOL, SPOOL]}, ["in /data/spool/a.refused on im-2, as of 2026-11-28 03:00:00", "1 day old, and"]),
        ({"backup": BACKUP}, ["backups until 2026-11-28 03:00:00", "2 days old: erase again after a restore"]),
    ],
)
def test_what_is_said_of_an_erasure(
    answer: dict[str, Any], said: list[str], service: ScriptedService, ask: Callable[..., Result]
) -> None:
    service.answer = lambda _: (200, json.dumps(ERASED | answer))
    shown = " ".join(ask("erase", "u100", "--reason", "asked", "--tz", "UTC").stdout.split())
    assert [each for each in said if each not in shown] == []
    assert "\x1b" not in shown
    [asked] = service.asked
    assert (asked.method, asked.target) == ("POST", "/v1/users/u100/erase")
    assert asked.body == {"reason": "asked"}


def test_programs_get_the_answer(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda _: (200, json.dumps(ERASED))
    assert json.loads(ask("erase", "u100", "--reason", "asked", "--json").stdout) == ERASED


@pytest.mark.parametrize("options", [(), ("--reason", " ")])
def test_without_a_reason_nothing_is_asked(
    options: tuple[str, ...], service: ScriptedService, ask: Callable[..., Result]
) -> None:
    result = ask("erase", "u100", *options)
    assert (result.exit_code, "say why" in result.stderr, service.asked) == (2, True, [])


def test_who_asked_about_a_user(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda _: (200, json.dumps({"items": [READ], "next": "x"}))
    result = ask("reads", "u100", "--from", "2026-11-30T00:00Z", "--tz", "UTC")
    assert "app  /v1/users/{uid}/presence" in result.stdout
    assert "there are more after these" in result.stderr
    assert json.loads(ask("reads", "u100", "--json").stdout)["items"] == [READ]
    service.answer = lambda _: (200, json.dumps({"items": [], "next": None}))
    assert "nobody is known to have asked about u100" in ask("reads", "u100").stderr
    assert service.asked[0].target == "/v1/users/u100/reads?limit=1000&from=2026-11-30T00%3A00%3A00.000000Z"

"""Checks how `status` asks about the past and shows what is not certain of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.support.scripted import Asked, ScriptedService

AT = "2026-11-23T12:00:05Z"
ASKED_AT = "2026-11-23T12:00:05.000000Z"
UNCERTAIN: dict[str, Any] = {
    "uid": "u100",
    "status": "online",
    "since": "2026-11-23T12:00:00.000000Z",
    "devices": [],
    "cause": {"kind": "webhook", "at": "2026-11-23T12:00:00.000000Z", "position": 4711},
    "reason": None,
    "verified_at": None,
    "uncertain": {"from": "2026-11-23T12:00:01.000000Z", "to": "2026-11-23T12:00:09.000000Z", "could_be": "offline"},
    "as_of": {"at": "2026-11-23T12:00:05.000000Z", "position": 4720},
}


@pytest.fixture
def service(service: ScriptedService) -> ScriptedService:
    service.answer = lambda asked: (200, json.dumps({"items": [UNCERTAIN]}))
    return service


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (("--at", AT), {"at": ASKED_AT}),
        (("--at", AT, "--known-at", AT), {"at": ASKED_AT, "known_at": ASKED_AT}),
        (("--at", AT, "--position", "0"), {"at": ASKED_AT, "position": 0}),
    ],
)
def test_the_past_is_asked_about(
    service: ScriptedService, ask: Callable[..., Result], options: tuple[str, ...], asked: dict[str, Any]
) -> None:
    result = ask("status", "u100", *options)
    assert result.exit_code == 0
    assert service.asked == [Asked("POST", "/v1/presence/query", "Bearer plk_admin", {"uids": ["u100"], **asked})]
    assert "online (offline from between 2026-11-23 12:00:01.000 and 12:00:09.000)" in result.stdout


@pytest.mark.parametrize(
    "options",
    [("--known-at", AT), ("--position", "1"), ("--at", AT, "--known-at", AT, "--position", "1")],
)
def test_a_question_without_meaning_is_a_wrong_call(
    service: ScriptedService, ask: Callable[..., Result], options: tuple[str, ...]
) -> None:
    assert ask("status", "u100", *options).exit_code == 2
    assert not service.asked


@pytest.mark.parametrize("key", ["plk_\x01mine", "plk_schlüssel", "plk mine", "plk_\udcff"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_key_that_no_header_can_hold_is_not_shown(
    service: ScriptedService, ask: Callable[..., Result], key: str, *, elsewhere: bool
) -> None:
    refused = ask("status", "u", *(("--url", service.url) if elsewhere else ()), API_KEY=key)
    assert (refused.exit_code, refused.stdout, service.asked) == (1, "", [])
    assert refused.stderr.startswith("presence-ledger: The key in PRESENCE_LEDGER_API_KEY contains a blank")
    assert refused.stderr.count("\n") == 2
    assert "plk" not in refused.stderr


def test_white_space_around_a_key_is_none_of_it(service: ScriptedService, ask: Callable[..., Result]) -> None:
    assert ask("status", "u", "--url", service.url, API_KEY=" plk_mine\r\n").exit_code == 0
    assert [asked.key for asked in service.asked] == ["Bearer plk_mine"]


def test_an_admin_key_that_no_header_can_hold_is_not_shown(ask: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "presence-ledger-data" / "admin.key").write_bytes(b"plk_\xff\r\n")
    refused = ask("status", "u")
    assert (refused.exit_code, "admin.key contains a blank" in refused.stderr) == (1, True)
    assert "plk" not in refused.stderr


@pytest.mark.parametrize(
    "call",
    [
        ("status", "u", "--at", "tomorrow"),
        ("status", "u", "--at", AT, "--known-at", "2026-11-33"),
        ("explain", "u", "--at", "1800000000"),
        ("explain", "u", "--at", AT, "--known-at", "then"),
        ("history", "u", "--from", "2026-11-23T12:00:65"),
        ("timeline", "u", "--to", "x"),
        ("timeline", "u", "--from", AT, "--to", "2026-11-23T12:00:04Z"),
        ("replay", "--policy", "nonsense=5"),
        ("replay", "--policy", "grace_seconds=abc"),
        ("replay", "--policy", "grace_seconds=-1"),
        ("replay", "--policy", "grace_seconds"),
        ("replay", "some.jsonl", "--policy", "confirmations=1.5"),
    ],
)
def test_what_is_no_instant_and_no_policy_is_a_wrong_call(
    service: ScriptedService, ask: Callable[..., Result], call: tuple[str, ...]
) -> None:
    refused = ask(*call)
    assert (refused.exit_code, refused.stdout, service.asked) == (2, "", [])


@pytest.mark.parametrize("command", ["status", "explain", "timeline", "history", "sessions"])
def test_a_uid_has_a_character(service: ScriptedService, ask: Callable[..., Result], command: str) -> None:
    refused = ask(command, "")
    assert (refused.exit_code, service.asked) == (2, [])
    assert "a uid has at least one character" in refused.stderr

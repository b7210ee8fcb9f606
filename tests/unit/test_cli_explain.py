"""Checks how `explain` asks a service, in which language, and shows its page, against one that answers by script."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from tests.support.scripted import Asked, ScriptedService

PAGE = "alice was shown offline at 2026-11-23T14:03:00Z, because … [7]\n很可能：…\n"


@pytest.fixture
def service(service: ScriptedService) -> ScriptedService:
    service.content_type = "text/plain; charset=utf-8"
    service.answer = lambda asked: (200, PAGE)
    return service


@pytest.fixture
def ask(ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return ask


def asked(service: ScriptedService) -> list[str]:
    return [each.target for each in service.asked]


def test_the_page_is_printed_as_it_came(service: ScriptedService, ask: Callable[..., Result]) -> None:
    result = ask("explain", "a/b c", "--at", "2026-11-23T14:03:00Z")
    assert (result.exit_code, result.stdout) == (0, PAGE)
    assert service.asked == [
        Asked("GET", "/v1/users/a%2Fb%20c/explain?at=2026-11-23T14%3A03%3A00Z&lang=en", "Bearer plk_admin", None)
    ]


@pytest.mark.parametrize(
    ("options", "environ", "lang"),
    [
        ((), {"LANG": "zh_CN.UTF-8"}, "zh"),
        ((), {"LANG": "de_DE.UTF-8"}, "en"),
        (("--lang", "zh"), {"LANG": "en_US.UTF-8"}, "zh"),
        (("--lang", "en"), {"LC_ALL": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_language_is_the_one_named_or_the_terminals(
    service: ScriptedService,
    ask: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    environ: dict[str, str],
    lang: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert ask("explain", "u", *options).exit_code == 0
    assert asked(service) == [f"/v1/users/u/explain?lang={lang}"]


def test_as_known_at_an_instant_or_a_position(service: ScriptedService, ask: Callable[..., Result]) -> None:
    at = "2026-11-23T14:03:00Z"
    assert ask("explain", "u", "--at", at, "--position", "7").exit_code == 0
    assert ask("explain", "u", "--at", at, "--known-at", at).exit_code == 0
    assert ["position=7" in asked(service)[0], "known_at=" in asked(service)[1]] == [True, True]
    for wrong in (("--position", "7"), ("--at", at, "--position", "7", "--known-at", at), ("--lang", "fr")):
        assert ask("explain", "u", *wrong).exit_code == 2
    assert len(service.asked) == 2


def test_json_is_what_the_service_said(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.content_type = "application/json"
    service.answer = lambda asked: (200, json.dumps({"uid": "u", "statements": []}))
    assert json.loads(ask("explain", "u", "--json").stdout) == {"uid": "u", "statements": []}


def test_a_refusal_is_told_with_the_field(service: ScriptedService, ask: Callable[..., Result]) -> None:
    problem = {"title": "Invalid request", "status": 422, "detail": "at: in the future: it is now"}
    service.answer = lambda asked: (422, json.dumps(problem))
    result = ask("explain", "u", "--at", "2999-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert "at: in the future" in result.stderr


def test_what_is_no_page_is_not_printed(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.content_type = "text/html"
    service.answer = lambda asked: (200, "<html>")
    result = ask("explain", "u")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not presence ledger" in result.stderr

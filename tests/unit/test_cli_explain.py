"""Checks how `explain` asks a service, in which language, and shows its page, against one that answers by script."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from ledger.cli.layout import cells_of
from tests.support.scripted import Asked, ScriptedService

AT = "2026-11-23T14:03:00.000000Z"
ANSWER = {
    "uid": "alice",
    "status": "offline",
    "since": AT,
    "reason": None,
    "confidence": "likely",
    "as_of": {"at": AT, "position": 9},
    "statements": [
        {
            "code": "shown_emptied", "about": "status", "text": "as the service says it", "positions": [7],
            "params": {"since": "2026-11-23T14:02:58.250000Z", "node": "n1", "status": "offline"},
        },
        {"code": "of_tomorrow", "about": "evidence", "text": "A newer one says so.", "positions": [8], "params": {}},
    ],
}  # fmt: skip
PAGE = """\
alice was shown offline at 2026-11-23T14:03:00Z, since 14:02:58.250Z, \
because the counts in a webhook of node n1 said that no connection was left. [7]

The evidence
  A newer one says so. [8]
"""


@pytest.fixture
def service(service: ScriptedService) -> ScriptedService:
    service.answer = lambda asked: (200, json.dumps(ANSWER))
    return service


def asked(service: ScriptedService) -> list[str]:
    return [each.target for each in service.asked]


def test_the_page_is_made_of_what_the_service_said(service: ScriptedService, ask: Callable[..., Result]) -> None:
    result = ask("explain", "a/b c", "--at", "2026-11-23T14:03:00Z")
    assert (result.exit_code, result.stdout) == (0, PAGE)
    at = "2026-11-23T14%3A03%3A00.000000Z"
    assert service.asked == [Asked("GET", f"/v1/users/a%2Fb%20c/explain?at={at}&lang=en", "Bearer plk_admin", None)]


def test_the_page_is_in_the_readers_zone_and_broken_between_words(
    ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = ask("explain", "alice", "--tz", "+08:00", "--lang", "zh").stdout
    assert shown.startswith("2026-11-23T22:03:00+08:00 时 alice 显示为离线（自 22:02:58.250+08:00 起），")
    assert "\n  A newer one says so. [8]\n" in shown
    assert all(cells_of(line) <= 80 for line in shown.splitlines())


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


def test_json_is_what_the_service_said(ask: Callable[..., Result]) -> None:
    assert json.loads(ask("explain", "u", "--json").stdout) == ANSWER


def test_a_user_never_observed_may_be_another(service: ScriptedService, ask: Callable[..., Result]) -> None:
    def answer(asked: Asked) -> tuple[int, str]:
        if asked.method == "GET":
            return 200, json.dumps(ANSWER | {"uid": "Alice ", "reason": "never_observed", "statements": []})
        known = {"alice": None}
        return 200, json.dumps(
            {"items": [{"uid": uid, "reason": known.get(uid, "never_observed")} for uid in asked.body["uids"]]}
        )

    service.answer = answer
    assert "nothing was ever heard of 'Alice '; did you mean alice?" in ask("explain", "Alice ").stderr


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

"""Checks how `lists` asks a service, page by page, and shows what it answers."""

import json
from collections.abc import Callable
from typing import Any

from typer.testing import Result

from tests.support.scripted import Asked, ScriptedService

ENTRY: dict[str, Any] = {
    "name": "friends",
    "counts": {"uids": 3, "watchers": 1},
    "created_at": "2026-11-23T14:03:00.000000Z",
    "changed_at": "2026-11-23T14:04:00.000000Z",
    "changed_by": "app",
}


def pages(asked: Asked) -> tuple[int, str]:
    """Two of everything."""
    later = "after=next" in asked.target
    following = None if later else "next"
    if asked.target.startswith("/v1/lists/"):
        page = ENTRY | {"uids": ["carol"] if later else ["alice", "bob\x1b"], "watchers": ["用户"], "next": following}
        return 200, json.dumps(page)
    return 200, json.dumps({"items": [ENTRY | {"name": "others" if later else "friends"}], "next": following})


def test_lists_are_shown_with_how_many_are_on_them(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = pages
    result = ask("lists")
    assert result.exit_code == 0, result.output
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:]] == [
        ["friends", "3", "1"],
        ["others", "3", "1"],
    ]
    found = json.loads(ask("lists", "--json").stdout)
    assert [each["name"] for each in found["items"]] == ["friends", "others"]
    assert {asked.method for asked in service.asked} == {"GET"}


def test_a_list_is_shown_with_whoever_is_on_it(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = pages
    result = ask("lists", "show", "my friends/所有")
    assert result.exit_code == 0, result.output
    assert service.asked[0].target.startswith("/v1/lists/my%20friends%2F%E6%89%80%E6%9C%89?")
    assert result.stdout.splitlines() == ["alice", "bob\\x1b", "carol", "用户 (watcher)"]
    assert "3 users, 1 watcher; changed at 2026-11-23 14:04:00Z by app" in result.stderr
    assert json.loads(ask("lists", "show", "x", "--json").stdout)["uids"] == ["alice", "bob\x1b", "carol"]


def test_an_unknown_list_is_told(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (404, json.dumps({"title": "Not found", "status": 404, "detail": "no such list"}))
    result = ask("lists", "show", "x")
    assert (result.exit_code, "no such list" in result.stderr) == (1, True)


def test_a_wrong_call_is_told(ask: Callable[..., Result]) -> None:
    assert ask("lists", "show").exit_code == 2
    assert ask("lists", "--all").exit_code == 2
    assert "Example: presence-ledger lists show friends" in ask("lists", "show", "--help").stdout

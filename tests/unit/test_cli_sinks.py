"""Checks what `sinks` shows and asks for, of a service that answers by script."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from tests.support.scripted import Asked, ScriptedService

SINK: dict[str, Any] = {
    "name": "app", "kind": "webhook", "list": "", "state": "failing", "position": 4711, "lag_events": 12, "told": 340,
    "failures": 2, "last_success_at": "2026-11-30T07:00:00.000000Z", "failing_since": "2026-11-30T07:01:00.000000Z",
    "last_error": {"at": "2026-11-30T07:02:00.000000Z", "reason": "took no \x1b connection"}, "paused_at": None,
    "stopped_at": None,
}  # fmt: skip
WELL = SINK | {"name": "other", "state": "following", "lag_events": 1, "last_error": None}


@pytest.fixture(autouse=True)
def _script(service: ScriptedService) -> None:
    def answer(asked: Asked) -> tuple[int, str]:
        if asked.method == "GET":
            return 200, json.dumps({"items": [SINK, WELL]})
        return 200, json.dumps(WELL)

    service.answer = answer


def test_each_is_shown_with_its_lag_and_last_error(ask: Callable[..., Result]) -> None:
    shown = ask("sinks").output
    assert "4711" in shown
    assert "failing" in shown
    assert "took no" in shown
    assert "\x1b" not in shown
    assert json.loads(ask("sinks", "--json").output) == {"items": [SINK, WELL]}


@pytest.mark.parametrize("order", ["pause", "resume"])
def test_one_is_paused_and_resumed(ask: Callable[..., Result], service: ScriptedService, order: str) -> None:
    result = ask("sinks", order, "other")
    assert result.exit_code == 0
    assert service.asked[-1][:2] == ("POST", f"/v1/sinks/other/{order}")
    assert "other: following, told up to position 4711, 1 position behind" in result.output
    assert json.loads(ask("sinks", order, "other", "--json").output) == WELL


@pytest.mark.parametrize(
    ("place", "asked"),
    [
        ("0", 0),
        ("4711", 4711),
        ("2026-11-29T14:03:00Z", "2026-11-29T14:03:00.000000Z"),
        ("2026-11-29T14:03:00+08:00", "2026-11-29T06:03:00.000000Z"),
    ],
)
def test_a_replay_names_a_position_or_an_instant(
    ask: Callable[..., Result], service: ScriptedService, place: str, asked: int | str
) -> None:
    assert ask("sinks", "replay", "other", "--from", place).exit_code == 0
    assert service.asked[-1].body == {"from": asked}


@pytest.mark.parametrize("arguments", [(), ("--from", "soon"), ("--from", "-1"), ("--form", "1")])
def test_a_replay_from_nowhere_is_a_wrong_call(ask: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    assert ask("sinks", "replay", "other", *arguments).exit_code == 2

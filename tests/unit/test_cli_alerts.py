"""Checks what `alerts` shows and asks for, of a service that answers by script."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from typer.testing import Result

from tests.support.scripted import Asked, ScriptedService

FIRING: dict[str, Any] = {
    "id": "5f0c2a9e61d4b7c8", "name": "node_down", "severity": "critical", "state": "firing", "source": "main",
    "subject": "n1", "since": "2026-11-30T03:12:04.500000Z", "began_at": "2026-11-30T03:12:14.500000Z",
    "ended_at": None, "acknowledged_at": None, "acknowledged_by": None,
    "summary": {"en": "Node n1 of main has not answered\x1b", "zh": "来源 main 的节点 n1 不再应答"},
    "way_out": {"en": "Bring the node back.", "zh": "恢复该节点即可。"},
    "runbook": "docs/monitoring/runbooks/node_down.md", "events": [41, 42],
}  # fmt: skip
ACKNOWLEDGED = FIRING | {"state": "acknowledged", "acknowledged_by": "ann"}
KNOWN = ACKNOWLEDGED | {"id": "1", "events": [40]}
OVER = FIRING | {"id": "0", "state": "resolved", "ended_at": "2026-11-30T03:20:00.000000Z"}


@pytest.fixture
def found(service: ScriptedService) -> list[dict[str, Any]]:
    """What the service has, of which it answers two a page."""
    alerts = [OVER, FIRING, KNOWN]

    def answer(asked: Asked) -> tuple[int, str]:
        if asked.method == "POST":
            return 200, json.dumps(ACKNOWLEDGED)
        query = parse_qs(asked.target.partition("?")[2])
        [state], [after] = query.get("state", [""]), query.get("after", ["0"])
        rest = [each for each in alerts if state in ("", each["state"])][int(after) :]
        return 200, json.dumps({"items": rest[:2], "next": str(int(after) + 2) if len(rest) > 2 else None})

    service.answer = answer
    return alerts


def test_what_is_wrong_since_when_and_what_to_do(ask: Callable[..., Result], found: list[Any]) -> None:
    shown = ask("alerts", "--tz", "UTC").output
    assert "critical  node_down  since 2026-11-30 03:12:04" in shown
    assert "  Node n1 of main has not answered" in shown
    assert "  Bring the node back." in shown
    assert "acknowledged by ann" in shown
    assert "\x1b" not in shown
    assert shown.count("node_down  ") == 2
    assert json.loads(ask("alerts", "--json").output) == {"items": [KNOWN, FIRING]}


def test_those_that_are_over_are_not_fetched(
    ask: Callable[..., Result], service: ScriptedService, found: list[Any]
) -> None:
    ask("alerts")
    assert [parse_qs(each.target.partition("?")[2])["state"] for each in service.asked] == [
        ["firing"],
        ["acknowledged"],
    ]


def test_one_that_is_acknowledged_meanwhile_is_shown_once(ask: Callable[..., Result], found: list[Any]) -> None:
    found.append(KNOWN | {"state": "firing", "acknowledged_by": None})
    assert json.loads(ask("alerts", "--json").output) == {"items": [KNOWN, FIRING]}


def test_what_was_wrong_is_shown_where_all_is_asked_for(ask: Callable[..., Result], found: list[Any]) -> None:
    assert "over at 2026-11-30 03:20:00" in ask("alerts", "--all", "--tz", "UTC").output
    assert json.loads(ask("alerts", "--all", "--json").output) == {"items": found}


def test_it_is_told_in_chinese(ask: Callable[..., Result], found: list[Any]) -> None:
    shown = ask("alerts", "--lang", "zh-CN", "--tz", "UTC").output
    assert "严重  node_down  自 2026-11-30 03:12:04" in shown
    assert "来源 main 的节点 n1 不再应答" in shown


def test_that_nothing_is_wrong_is_said(ask: Callable[..., Result], found: list[Any]) -> None:
    found[:] = [OVER]
    assert ask("alerts").output == "no alert\n"


def test_somebody_knows(ask: Callable[..., Result], service: ScriptedService, found: list[Any]) -> None:
    result = ask("alerts", "acknowledge", FIRING["id"])
    assert result.exit_code == 0
    assert service.asked[-1][:2] == ("POST", f"/v1/alerts/{FIRING['id']}/acknowledge")
    assert f"{FIRING['id']}: acknowledged by ann" in result.output
    assert json.loads(ask("alerts", "acknowledge", "x", "--json").output) == ACKNOWLEDGED
    assert ask("alerts", "acknowledge").exit_code == 2

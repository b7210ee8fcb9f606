"""Checks what `override` asks for and shows, of a service that answers by script; and durations as people type them."""

import json
from collections.abc import Callable

import pytest
import typer
from typer.testing import Result

from ledger.cli.override import parse_duration
from tests.support.scripted import ScriptedService

SAID = {
    "uid": "u100",
    "status": "offline",
    "reason": "phone lost",
    "by": "on-call",
    "since": "2026-11-30T08:00:00.000000Z",
    "expires_at": "2026-11-30T10:00:00.000000Z",
    "until_evidence": False,
    "position": 4711,
}
ORDER = ("override", "u100", "offline", "--reason", "phone lost", "--for", "2h")


def test_a_word_is_said(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps(SAID))
    result = ask(*ORDER)
    assert result.exit_code == 0
    assert service.asked[-1][:2] == ("PUT", "/v1/users/u100/override")
    assert service.asked[-1].body == {
        "status": "offline",
        "reason": "phone lost",
        "expires_seconds": 7200.0,
        "until_evidence": False,
    }
    shown = "u100 is shown offline until 2026-11-30 10:00:00Z, by the word of on-call (position 4711)\n"
    assert result.output == shown
    assert json.loads(ask(*ORDER, "--json").output) == SAID


def test_it_may_give_way_to_evidence(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps(SAID | {"until_evidence": True}))
    assert "or newer evidence" in ask(*ORDER, "--until-evidence").output
    assert service.asked[-1].body["until_evidence"] is True


def test_it_is_ended(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: (200, json.dumps({"uid": "u100", "position": 4712}))
    assert ask("override", "u100", "--end").output == "u100 is shown by evidence again, as of position 4712\n"
    assert service.asked[-1][:2] == ("DELETE", "/v1/users/u100/override")
    assert json.loads(ask("override", "u100", "--end", "--json").output) == {"uid": "u100", "position": 4712}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("u100",), "say online or offline, or --end"),
        (("u100", "away"), "'away'"),
        (("u100", "offline", "--for", "2h"), "say why"),
        (("u100", "offline", "--reason", " ", "--for", "2h"), "say why"),
        (("u100", "offline", "--reason", "r"), "say for how long, such as --for 2h"),
        (("u100", "offline", "--reason", "r", "--for", "soon"), "'soon' is not a duration"),
        (("u100", "offline", "--end"), "takes nothing else"),
        (("u100", "--end", "--for", "2h"), "takes nothing else"),
    ],
)
def test_a_wrong_call_says_what_is_missing(
    service: ScriptedService, ask: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    result = ask("override", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert not service.asked


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("30m", 1800.0), ("45min", 2700.0), ("1.5h", 5400.0), ("1d12h", 129_600.0), (" 2 h ", 7200.0)],
)
def test_a_duration_as_people_type_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 weeks", "-2h", "2h!", "h", "1h 2", "٣h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is not a duration"):
        parse_duration(text)

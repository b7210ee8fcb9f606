"""Checks what `timeline` says of the times in which a user's sources were in doubt: what was shown before and after."""

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from ledger.cli import doubts
from tests.support.scripted import Asked, ScriptedService

T = "2026-11-23T14:03:0{}.123456Z"
NODE_DOWN = {
    "position": 7,
    "at": T.format(1),
    "source": "main",
    "reason": "refused",
    "kind": "node_down",
    "node": "n1",
    "last_position": 9,
    "until": T.format(7),
    "ended_by": "answers",
}


@pytest.mark.parametrize(
    ("options", "statuses", "said"),
    [
        ((), {6: "online", 7: "unknown", 8: "unknown", 9: "online"}, ["online -> unknown", "unknown -> online"]),
        ((), {6: "online", 7: "unknown", 8: "offline", 9: "offline"}, ["online -> unknown"]),
        ((), {6: "online", 7: "online", 8: "online", 9: "online"}, ["online"]),
        (
            ("--to", T.format(8)),
            {6: "online", 7: "unknown", 8: "unknown", 9: "online"},
            ["online -> unknown", "unknown -> online"],
        ),
        (("--to", T.format(6)), {6: "online", 7: "unknown", 8: "unknown", 9: "online"}, ["online -> unknown"]),
    ],
)
def test_what_was_shown_in_doubt_and_after_it(
    service: ScriptedService,
    ask: Callable[..., Result],
    options: tuple[str, ...],
    statuses: dict[int, str],
    said: list[str],
) -> None:
    """`statuses` are those that the service says were shown by what each position knows."""

    def answer(asked: Asked) -> tuple[int, str]:
        if asked.target.startswith("/v1/ledger/events"):
            position = int(asked.target.partition("after=")[2].partition("&")[0]) + 1
            return 200, json.dumps({"items": [{"position": position, "recorded_at": T.format(position - 2)}]})
        if asked.method == "POST":
            position = asked.body["position"]
            assert asked.body == {"uids": ["u"], "at": T.format(7 if position > 7 else 5), "position": position}
            return 200, json.dumps({"items": [{"status": statuses[position]}]})
        as_of = {"at": T.format(9), "position": 40}
        return 200, json.dumps({"items": [NODE_DOWN], "next": None, "as_of": as_of, "lag": 0})

    service.answer = answer
    result = ask("timeline", "u", *options)
    assert result.exit_code == 0, result.stderr
    lines = [line.split("  ") for line in result.stdout.splitlines()[1:]]
    assert [[part.strip() for part in line if part][2] for line in lines] == said
    if len(said) == 2:
        assert "no longer in doubt: main/n1, for it answers as before" in result.stdout
        assert lines[-1][0].strip() == "9"
    assert json.loads(ask("timeline", "u", *options, "--json").stdout)["items"] == [NODE_DOWN]


def test_of_many_doubts_only_the_latest_are_asked_about(
    service: ScriptedService, ask: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "MAX_ASKED", 2)
    entries = [NODE_DOWN | {"position": 10 * n + 7, "last_position": 10 * n + 9} for n in range(5)]

    def answer(asked: Asked) -> tuple[int, str]:
        if asked.target.startswith("/v1/ledger/events"):
            return 200, json.dumps({"items": [{"position": 0, "recorded_at": T.format(5)}]})
        if asked.method == "POST":
            status = "unknown" if asked.body["position"] % 10 in (7, 8) else "online"
            return 200, json.dumps({"items": [{"status": status}]})
        as_of = {"at": T.format(9), "position": 50}
        return 200, json.dumps({"items": entries[::-1], "next": None, "as_of": as_of, "lag": 0})

    service.answer = answer
    result = ask("timeline", "u")
    lines = [[part.strip() for part in line.split("  ") if part] for line in result.stdout.splitlines()[1:]]
    assert [(int(line[0]), line[2]) for line in lines] == [
        (7, "-"),
        (17, "-"),
        (27, "-"),
        (37, "online -> unknown"),
        (39, "unknown -> online"),
        (47, "online -> unknown"),
        (49, "unknown -> online"),
    ]
    assert result.stderr.splitlines() == [
        "what was shown the first 3 times in doubt is left out; narrow the time with --from and --to"
    ]
    assert len(service.asked) == 1 + 2 * 2 * 3

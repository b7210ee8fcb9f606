"""Checks how `timeline` and `sessions` ask a service and put its answers into words."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from ledger.cli.session_lines import session_row
from ledger.cli.story_lines import entry_row
from tests.support.scripted import ScriptedService

T = "2026-11-23T14:03:0{}.123456Z"
SAME = {"status_before": "online", "status_after": "online"}
FLIP = {"status_before": "offline", "status_after": "online"}
PLACE = {"source": "main", "node": "n1"}
APP = {"node": None, "device_flag": 0, "conn_id": 17}
NAMELESS = {"node": None, "device_flag": 4, "conn_id": None, "held_by": "n2"}
ITEM = {"position": 7, "at": T.format(1), "device_flag": 0, "conn_id": 17, "raw": "u-0-1-17-1-1", "rule": "online_new"}
REPEATS = {
    "kind": "duplicate",
    "position": 7,
    "last_position": 9,
    "number": 3,
    "at": T.format(1),
    "until": T.format(5),
    "source": "main",
    "nodes": {"n1": 3},
    "rules": {"online_repeated": 2, "online_already_open": 1},
    "deliveries": 2,
    "repeated_deliveries": 1,
    "first_raw": "a",
    "last_raw": "b",
}
CORRECTION = {
    "kind": "correction",
    "position": 7,
    "at": T.format(1),
    "poll": "p",
    "run": "r",
    "looks": 2,
    "drift": "ghost",
    "closed": [APP],
    "located": [NAMELESS],
}
SWEEP = {
    "kind": "sweep",
    "position": 7,
    "at": T.format(5),
    "rule": "restart",
    "ended": [APP],
    "evidence": 6,
    "run": "r",
}
DRIFT = {
    "kind": "drift",
    "position": 7,
    "at": T.format(5),
    "until": None,
    "drift": "ghost",
    "state": "held",
    "run": "r",
    "agreed_at": T.format(1),
    "disagreed_at": T.format(5),
    "attributed_to": "upstream_defect",
}
WORD = {
    "kind": "override",
    "position": 7,
    "at": T.format(1),
    "status": "offline",
    "reason": "ticket-4711",
    "by": "ops",
    "expires_at": T.format(5),
    "until_evidence": False,
}
WORD_ENDED = {
    "kind": "override_ended",
    "position": 7,
    "at": T.format(5),
    "status": "offline",
    "why": "expired",
    "by": None,
}
DOUBT = {"position": 7, "at": T.format(1), "source": "main", "reason": "refused"}


@pytest.mark.parametrize(
    ("entry", "what", "evidence"),
    [
        (
            {"kind": "transition", **FLIP, **PLACE, **ITEM, "verdict": "opened"},
            "app 17 opened",
            "main/n1 u-0-1-17-1-1",
        ),
        (
            {"kind": "sessions", **SAME, **PLACE, **ITEM, "verdict": "closed", "named": True, "swept": [APP, NAMELESS]},
            "app 17 closed, known before without its connId; a count of zero ended app 17, device 4 at n2",
            "main/n1 u-0-1-17-1-1",
        ),
        (
            {
                "kind": "sessions",
                **SAME,
                **PLACE,
                **ITEM,
                "verdict": "late",
                "implied": 1,
                "unbelieved": 1000,
                "withdrawn": 2,
                "resumes": T.format(0),
                "repeated": True,
                "suspect": "late_offline",
            },
            (
                "late item of app 17, whose counts are used; its counts prove 1 more; 1,000 beyond that are not "
                "believed; its counts have no room for 2 that a count had proved; shown as online since 14:03:00.123: "
                "back within the grace period; its delivery "
                "repeats an earlier one; looked at out of turn: late offline"
            ),
            "main/n1 u-0-1-17-1-1",
        ),
        (
            {**CORRECTION, **FLIP, **PLACE},
            "ghost corrected after 2 looks: app 17 closed, device 4 at n2 located",
            "main/n1 poll p, run r",
        ),
        (
            {**CORRECTION, **FLIP, **PLACE, "resumes": T.format(0)},
            (
                "ghost corrected after 2 looks: app 17 closed, device 4 at n2 located; shown as online since "
                "14:03:00.123: back within the grace period"
            ),
            "main/n1 poll p, run r",
        ),
        (
            {**CORRECTION, **SAME, **PLACE, "drift": None, "closed": [], "located": []},
            "a poll told more: no session",
            "main/n1 poll p, run r",
        ),
        (
            {**SWEEP, **SAME, **PLACE, "earliest": T.format(1), "latest": T.format(4)},
            "n1 booted: app 17 ended after 14:03:01.123 and before 14:03:04.123",
            "position 6, run r",
        ),
        (
            {**SWEEP, **SAME, **PLACE, "rule": "node_retired"},
            "n1 was retired: app 17 ended",
            "position 6, run r",
        ),
        (
            {"kind": "tier", "position": 7, "at": T.format(1), **SAME, "tier": None, "by": "ops"},
            "tier as the rules say",
            "set by ops",
        ),
        (
            {**WORD, **SAME, "until_evidence": True},
            "shown offline by an operator's word until 14:03:05.123 or newer evidence: ticket-4711",
            "set by ops",
        ),
        (
            {**WORD_ENDED, **SAME, "why": "deleted", "by": "ops"},
            "an operator's word, offline, ended: somebody ended it",
            "by ops",
        ),
        (
            {**WORD_ENDED, **SAME},
            "an operator's word, offline, ended: its time was over",
            None,
        ),
        (
            {"kind": "imported", "position": 7, "at": T.format(1), **SAME, "version": 12, "sessions": [APP]},
            "the record begins here, with app 17 open",
            "imported at version 12",
        ),
        (
            {**REPEATS, **SAME},
            (
                "3 duplicates in 2 deliveries, 1 sent before, until 14:03:05.123: online repeated x2, online already "
                "open; nothing changed"
            ),
            "main/n1 a .. b",
        ),
        (
            {
                **REPEATS,
                **SAME,
                "kind": "late",
                "number": 1,
                "deliveries": 1,
                "rules": {"offline_of_unknown": 1},
                "last_raw": "a",
            },
            "1 late in 1 delivery, which was sent before: offline of unknown; nothing changed",
            "main/n1 a",
        ),
        (
            {**DRIFT, **PLACE},
            "drift ghost, began after 14:03:01.123 and before 14:03:05.123, goes on: held, because of: upstream defect",
            "main/n1 run r",
        ),
        (
            {**DRIFT, **PLACE, "agreed_at": None, "until": T.format(6), "state": "cleared", "attributed_to": None},
            "drift ghost, began before 14:03:05.123, until 14:03:06.123: cleared",
            "main/n1 run r",
        ),
        (
            {**DOUBT, "kind": "node_down", "node": "n1", "until": "2026-11-24T00:00:00.000000Z", "ended_by": "answers"},
            "in doubt: main/n1 was down until 2026-11-24 00:00:00.000 (it answers as before)",
            "refused",
        ),
        (
            {**DOUBT, "kind": "source_dark", "node": None, "until": None, "ended_by": None},
            "in doubt: main was silent and still is",
            None,
        ),
        ({"kind": "of_tomorrow", "position": 7, "at": T.format(1)}, "of tomorrow", None),
    ],
)
def test_an_entry_in_words(entry: dict[str, Any], what: str, evidence: str | None) -> None:
    before, after = entry.get("status_before"), entry.get("status_after")
    status = after if before == after else "offline -> online"
    row = entry_row(entry)
    assert row == (7, f"2026-11-23 {entry['at'][11:23]}", status, what, evidence)


def edge(second: int, sure: str, rule: str, after: int | None = None) -> dict[str, Any]:
    bound = None if after is None else T.format(after)
    return {"at": T.format(second), "after": bound, "sure": sure, "rule": rule, "position": second}


@pytest.mark.parametrize(
    ("began", "ended", "seconds", "said"),
    [
        (edge(1, "exact", "online_new"), edge(2, "exact", "offline_of_open"), 1.0, ("14:03:02.123", "1.0 s")),
        (
            edge(1, "exact", "online_new"),
            edge(5, "bounded", "restart", 2),
            95.0,
            ("14:03:02.123 .. 14:03:05.123", "at most 95 s"),
        ),
        (edge(1, "implied", "implied"), edge(5, "bounded", "swept", 5), 4.0, ("by 14:03:05.123", "about 4.0 s")),
        (
            edge(1, "exact", "online_new"),
            edge(5, "unknown", "node_retired"),
            4.0,
            ("by 14:03:05.123, perhaps", "at most 4.0 s"),
        ),
    ],
)
def test_an_end_in_words(began: dict[str, Any], ended: dict[str, Any], seconds: float, said: tuple[str, str]) -> None:
    row = session_row(session(began, ended, seconds))
    assert (row[5], row[7]) == said


def session(began: dict[str, Any], ended: dict[str, Any] | None, seconds: float | None) -> dict[str, Any]:
    return {
        "source": "main",
        "device_flag": 1,
        "conn_id": None,
        "told_by": "n1",
        "held_by": "n2",
        "began": began,
        "ended": ended,
        "seen_at": T.format(9),
        "duration_seconds": seconds,
        "concurrent": 3,
        "flaps": 0,
    }


def test_an_open_session_in_words() -> None:
    row = session_row(session(edge(1, "bounded", "poll_missed"), None, None))
    opened = ("main/web", None, "n2", "by 2026-11-23 14:03:01.123", "poll missed")
    assert row == (*opened, "open, seen 14:03:09.123", None, None, 2, None)


def page(*items: Any, next: str | None = None, lag: int = 0) -> tuple[int, str]:  # noqa: A002  (the page's own name)
    return 200, json.dumps({"items": items, "next": next, "as_of": {"at": T.format(9), "position": 40}, "lag": lag})


def test_timeline_asks_for_the_latest_and_shows_the_oldest_of_them_first(
    service: ScriptedService, ask: Callable[..., Result]
) -> None:
    newer, older = (
        {"kind": "tier", "position": n, "at": T.format(n), **SAME, "tier": "vip", "by": "ops"} for n in (8, 7)
    )
    service.answer = lambda asked: page(newer, older, next="7", lag=3)
    result = ask("timeline", "a/b", "--limit", "2", "--from", T.format(0), "--to", T.format(9))
    assert result.exit_code == 0, result.stderr
    [asked] = service.asked
    assert asked.target == (
        "/v1/users/a%2Fb/timeline?order=desc&limit=2&from=2026-11-23T14%3A03%3A00.123456Z"
        "&to=2026-11-23T14%3A03%3A09.123456Z"
    )
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["position", "7", "8"]
    assert "there are entries before these; --limit shows more" in result.stderr
    assert "as of position 40: 3 events since are still to be processed" in result.stderr
    told = json.loads(ask("timeline", "a/b", "--limit", "2", "--json").stdout)
    assert [item["position"] for item in told["items"]] == [7, 8]
    assert (told["lag"], told["as_of"]["position"]) == (3, 40)


def test_what_a_page_was_too_short_for_is_asked_for(service: ScriptedService, ask: Callable[..., Result]) -> None:
    tiers = [{"kind": "tier", "position": n, "at": T.format(n), **SAME, "tier": "vip", "by": "ops"} for n in (9, 8, 7)]
    answers = iter((page(*tiers[:2], next="8", lag=2), page(tiers[2], lag=2)))
    service.answer = lambda asked: next(answers)
    told = json.loads(ask("timeline", "u", "--limit", "5", "--json").stdout)
    assert ([item["position"] for item in told["items"]], told["next"]) == ([7, 8, 9], None)
    assert [asked.target.partition("?")[2] for asked in service.asked] == [
        "order=desc&limit=5",
        "order=desc&limit=3&after=8",
    ]


def test_one_event_that_is_still_to_be_taken(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: page(lag=1)
    assert "as of position 40: 1 event since is still to be processed" in ask("sessions", "u").stderr


def test_sessions_of_one_source_that_are_open(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: page(session(edge(1, "exact", "online_new"), None, None))
    result = ask("sessions", "u", "--open", "--source", "main")
    assert service.asked[0].target == "/v1/users/u/sessions?order=desc&limit=100&open=true&source=main"
    assert result.stdout.splitlines()[1].startswith("main/web  -")
    assert json.loads(ask("sessions", "u", "--json").stdout)["items"][0]["ended"] is None


def test_of_somebody_of_whom_nothing_is_told(service: ScriptedService, ask: Callable[..., Result]) -> None:
    service.answer = lambda asked: page()
    for arguments, said in (
        (("timeline", "u"), "the ledger has nothing about u"),
        (("timeline", "u", "--to", T.format(1)), "the ledger has nothing about u in that time"),
        (("sessions", "u"), "the ledger has no session of u"),
        (("sessions", "u", "--open"), "the ledger has no open session of u"),
    ):
        result = ask(*arguments)
        assert (result.exit_code, result.stdout, result.stderr.strip()) == (0, "", said)

"""Checks what `loss` and `blind` show and ask for, of a service that answers by script."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from ledger.cli.loss import percent
from tests.support.scripted import Asked, ScriptedService

COUNTS: dict[str, Any] = {
    "transitions": 12345, "told": 12333, "lost": 12, "share": 12 / 12345,
    "interval": {"lower": 0.00056, "upper": 0.0017, "confidence": 0.95, "method": "wilson"},
    "lost_by": {"gap": 9, "sender": 0, "late_offline": 2, "count": 1, "returned": 0},
    "apart": {"restart": 80000, "retired": 0, "node": 0, "upstream_defect": 3, "blind": 0},
}  # fmt: skip
NOTHING = COUNTS | {"transitions": 0, "told": 0, "lost": 0, "share": None}
FLOOR = {
    "looked_at": True, "vip_seconds": 30.0, "normal_seconds": 300.0, "cold_seconds": 3600.0, "unseen_at_most": 0.0,
}  # fmt: skip
BURNT = {
    "threshold": 6.0, "long_seconds": 21600, "short_seconds": 1800, "long": 7.5, "short": 6.25, "burning": True,
    "fits": True,
}  # fmt: skip
SOURCE = COUNTS | {
    "source": "ma\x1bin",
    "detection_floor": FLOOR,
    "budget": {"objective": 0.999, "days": 30, "transitions": 12345, "lost": 12, "left": 0.028},
    "burn_rates": [BURNT, BURNT | {"burning": False, "long": 0.0}, BURNT | {"burning": False, "short": None}],
    "nodes": [COUNTS | {"node": "n1"}],
    "hours": [
        *(COUNTS | {"hour": f"2026-11-{day:02}T07:00:00.000000Z", "node": "n1"} for day in range(1, 28)),
        NOTHING | {"hour": "2026-11-30T08:00:00.000000Z", "node": "n1"},
    ],
}
QUIET = NOTHING | {"source": "quiet", "detection_floor": FLOOR, "hours": [], "nodes": [], "burn_rates": []}
UNASKED = SOURCE | {
    "source": "unasked",
    "detection_floor": FLOOR | {"looked_at": False},
    "budget": SOURCE["budget"] | {"left": -0.5},
    "hours": [],
}
NO_BUDGET = SOURCE | {"source": "no budget", "budget": SOURCE["budget"] | {"left": None}}
AS_OF = {"at": "2026-11-30T08:00:00.000000Z", "position": 4711}
SPAN = {"from": "2026-11-29T08:00:00.000000Z", "to": "2026-11-30T08:00:00.000000Z"}
LOSS = {**SPAN, "items": [SOURCE, QUIET, UNASKED, NO_BUDGET], "as_of": AS_OF}

TIMES = [
    {
        "source": "main", "node": None, "kind": "service_stopped", "since": "2026-11-29T09:00:00.000000Z",
        "until": "2026-11-29T09:10:00.000000Z", "seconds": 600.0, "reason": "killed", "first_position": 12,
        "last_position": 12,
    },
    {
        "source": "main", "node": "n1", "kind": "node_down", "since": "2026-11-30T07:58:00.500000Z", "until": None,
        "seconds": 119.5, "reason": "refused", "first_position": 40, "last_position": None,
    },
]  # fmt: skip
TOTALS = [
    {
        "source": "main", "seconds": 600.0,
        "by_kind": {"service_stopped": 600.0, "source_dark": 0.0, "node_down": 119.5, "store_unavailable": 0.0,
                    "spooling": 0.0},
    },
    {
        "source": None, "seconds": 20.0,
        "by_kind": {"service_stopped": 0.0, "source_dark": 0.0, "node_down": 0.0, "store_unavailable": 20.0,
                    "spooling": 0.0},
    },
]  # fmt: skip


@pytest.fixture(autouse=True)
def _script(service: ScriptedService) -> None:
    def answer(asked: Asked) -> tuple[int, str]:
        if asked.target.startswith("/v1/loss"):
            return 200, json.dumps(LOSS)
        is_last = "after=" in asked.target
        page = {"items": TIMES[is_last:][:1], "next": None if is_last else "MQ", "totals": TOTALS, "as_of": AS_OF}
        return 200, json.dumps({**SPAN, **page})

    service.answer = answer


def test_the_share_is_shown_with_its_interval_budget_and_pace(ask: Callable[..., Result]) -> None:
    shown = ask("loss").output
    assert "ma\\x1bin: 0.097 % lost, 12 of 12,345 transitions" in shown
    assert "0.056 % to 0.17 % with 95 % confidence" in shown
    assert "budget: 0.1 % may be lost; of that of the last 30 days 2.8 % is left" in shown
    assert "burn rate 7.5 over 6 h, 6.2 over 30 min: too fast (above 6)" in shown
    assert "burn rate 7.5 over 6 h, 0.0 over 30 min\n" in shown
    assert "apart  80000        WuKongIM restarted" in shown
    assert "2026-11-27 07:00:00" in shown
    assert "2026-11-03 07:00:00" not in shown
    assert "and 3 earlier hours in which some were lost" in shown
    assert "quiet: no transition" in shown
    assert "1.5 times it are lost" in shown
    assert "no node has an api_url" in shown
    assert "\x1b" not in shown


def test_it_fits_eighty_columns(ask: Callable[..., Result]) -> None:
    for command in ("loss", "blind"):
        assert max(map(len, ask(command).output.splitlines())) <= 80


def test_programs_get_the_answer_itself(ask: Callable[..., Result]) -> None:
    assert json.loads(ask("loss", "--json").output) == LOSS
    assert json.loads(ask("blind", "--json").output)["items"] == TIMES


def test_a_time_and_a_source_can_be_asked_for(ask: Callable[..., Result], service: ScriptedService) -> None:
    span = ("--from", "2026-11-29T08:00:00+08:00", "--to", "2026-11-30T08:00:00Z")
    for command in ("loss", "blind"):
        service.asked.clear()
        assert ask(command, *span, "--source", "main").exit_code == 0
        asked = service.asked[0].target
        assert "from=2026-11-29T00%3A00%3A00.000000Z" in asked
        assert "to=2026-11-30T08%3A00%3A00.000000Z" in asked
        assert "source=main" in asked
        assert ask(command, "--from", "soon").exit_code == 2
        assert ask(command, "--from", span[3], "--to", span[1]).exit_code == 2


def test_blind_times_are_shown_one_by_one_and_together(ask: Callable[..., Result]) -> None:
    shown = ask("blind").output
    assert "2026-11-29 09:00:00  2026-11-29 09:10:00  10 min  service stopped  main" in shown
    assert "2026-11-30 07:58:00  goes on              120 s   node down        main/n1" in shown
    assert "main: 10 min in all (service stopped 10 min, node down 120 s)" in shown
    assert "all sources: 20 s in all (store away 20 s)" in shown


def test_both_speak_chinese(ask: Callable[..., Result], service: ScriptedService) -> None:
    shown = ask("loss", "--lang", "zh-CN").output
    assert "ma\\x1bin：丢失 0.097 %，12,345 次变化中有 12 次没有 webhook 通知" in shown
    assert "95 % 置信区间：0.056 % 至 0.17 %" in shown
    assert "消耗速率 6 h 内 7.5、30 min 内 6.2：过快（高于 6）" in shown
    assert "另有 3 个更早的小时有丢失" in shown
    shown += ask("blind", "--lang", "zh").output
    assert "main：共 10 min（服务停止 10 min、节点宕机 120 s）" in shown
    service.answer = lambda _: (200, json.dumps({**SPAN, "items": [], "next": None, "totals": [], "as_of": AS_OF}))
    shown += ask("blind", "--lang", "zh").output
    assert re.search(r"\b[a-z]{3,} [a-z]{2,}\b", re.sub(r"(?m)^(no budget|unasked).", "", shown)) is None


def test_none_is_good_news(ask: Callable[..., Result], service: ScriptedService) -> None:
    service.answer = lambda _: (200, json.dumps({**SPAN, "items": [], "next": None, "totals": [], "as_of": AS_OF}))
    assert ask("blind").output == "none: everything could be known all the time\n"


def test_a_share_has_two_digits_that_mean_something() -> None:
    assert list(map(percent, (None, 0.0, 0.0000123, 0.00123, 0.0999, 0.5, 1.0, -0.5))) == [
        "-", "0 %", "0.0012 %", "0.12 %", "10 %", "50 %", "100 %", "-50 %",
    ]  # fmt: skip

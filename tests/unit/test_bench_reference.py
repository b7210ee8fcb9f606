"""The reference server's rules that the benchmarks compare with: its table, its check, its figures on recordings."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from bench._reference import Reference

FIXTURES = Path(__file__).parents[1] / "fixtures"

# wrong / late / unknown / users wrong at the end, of the same webhooks without its checks.
FIGURES = {
    "v12/crowd_a": (182.5, 18.7, 91.1, 0),
    "v21/crowd_a": (230.3, 59.4, 60.6, 1),
    "v22/crowd_a": (230.9, 59.3, 62.9, 1),
    "v22/basic": (4.9, 0.0, 6.0, 0),
    "v22/many_connections_one_device": (0.9, 0.0, 0.0, 0),
    "v22/retries_then_delivered": (12.0, 6.0, 39.2, 1),
    "v22/two_nodes": (226.6, 197.7, 29.4, 11),
    "v3/basic": (8.0, 3.5, 0.0, 1),
    "v3/crowd_a": (195.9, 141.2, 5.5, 4),
    "v3/many_connections_one_device": (3.0, 0.5, 0.0, 1),
    "v3/two_nodes": (211.5, 182.5, 0.1, 10),
}


def score(lines: list[dict[str, Any]], users: dict[str, Any]) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("score", FIXTURES / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures: dict[str, Any] = module.score(lines, users)
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_on_recordings_it_is_as_wrong_as_it_is_known_to_be(name: str) -> None:
    text = (FIXTURES / "wukongim" / f"{name}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    reference = Reference()
    for line in lines:
        if line["kind"] == "webhook" and line["answer"] == "ok" and line["event"] == "user.onlinestatus":
            reference.webhook(line["t"], line["body"])
    figures = score(lines, reference.result())
    reached = (figures["wrong"], figures["late"], figures["unknown"], len(figures["wrong_at_end"]))
    assert reached == pytest.approx(FIGURES[name], abs=0.15)


def online(*keys: tuple[str, int]) -> bytes:
    return json.dumps([{"uid": uid, "device_flag": flag, "online": 1} for uid, flag in keys]).encode()


def test_the_last_write_wins_and_a_user_is_online_with_any_device() -> None:
    reference = Reference()
    reference.webhook(1.0, '["a-b-0-1-1-1-1","a-b-1-1-2-1-2"]')
    reference.webhook(2.0, '["a-b-0-0-1-0-1"]')
    reference.webhook(3.0, '["a-b-1-0-2-1-1"]')
    assert reference.transitions == {"a-b": [(1.0, "online")]}
    reference.webhook(4.0, '["a-b-1-0-3-0-0"]')
    reference.webhook(5.0, '["a-b-1-1-2-1-1"]')
    assert reference.transitions == {"a-b": [(1.0, "online"), (4.0, "offline"), (5.0, "online")]}


@pytest.mark.parametrize("body", ["{", '{"a":1}', '["no item",3,null]', "[]"])
def test_what_is_no_item_changes_nothing(body: str) -> None:
    reference = Reference()
    reference.webhook(1.0, body)
    assert reference.result() == {}


def test_every_period_rows_online_long_enough_are_asked_about_up_to_the_limit() -> None:
    reference = Reference(period_seconds=30.0, age_seconds=6.0, limit=2)
    reference.webhook(1.0, '["a-0-1-1-1-1","b-0-1-2-1-1","c-0-1-3-1-1"]')
    reference.webhook(29.0, '["a-0-1-4-1-1"]')
    assert reference.question(29.9) == []
    asked: list[list[str]] = []

    def ask(uids: list[str]) -> tuple[int, bytes]:
        asked.append(uids)
        return 200, online(("b", 0))

    reference.check(30.0, ask)
    assert asked == [["b", "c"]]
    assert reference.transitions["c"] == [(1.0, "online"), (30.0, "offline")]
    reference.check(31.0, ask)
    reference.check(60.0, ask)
    assert asked == [["b", "c"], ["a", "b"]]
    assert (reference.asked, reference.set_offline) == (4, 2)


def test_an_online_between_question_and_answer_is_overwritten() -> None:
    reference = Reference(period_seconds=10.0, age_seconds=1.0)
    reference.webhook(1.0, '["a-0-1-1-1-1"]')
    rows = reference.question(10.0)
    reference.webhook(10.5, '["a-0-1-2-1-1"]')
    reference.answer(11.0, rows, 200, b"null")
    assert reference.transitions["a"] == [(1.0, "online"), (11.0, "offline")]


@pytest.mark.parametrize(
    ("status", "body"), [(400, b"[]"), (200, b'{"status":200}'), (200, b'[{"uid":'), (200, b"<html>")]
)
def test_an_answer_that_is_none_changes_nothing(status: int, body: bytes) -> None:
    reference = Reference(period_seconds=10.0, age_seconds=1.0)
    reference.webhook(1.0, '["a-0-1-1-1-1"]')
    reference.check(10.0, lambda uids: (status, body))
    assert reference.transitions["a"] == [(1.0, "online")]
    assert reference.asked == 1


def test_instants_never_go_back() -> None:
    reference = Reference()
    reference.webhook(5.0, '["a-0-1-1-1-1"]')
    reference.webhook(4.0, '["a-0-0-1-0-0"]')
    assert reference.transitions["a"] == [(5.0, "online"), (5.0, "offline")]

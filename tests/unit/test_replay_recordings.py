"""Every recording of a real server through the rules: at most as wrong as it may be, without polls and with them."""

import json
from functools import cache

import pytest

from ledger.domain.policy import Policy
from ledger.replay.recording import Replay
from ledger.settings.policy import override_policy
from ledger.sources.wukongim.recording import read_header, read_lines
from tests.support.recordings import (
    ALONE,
    LATE_GOAL,
    RECORDINGS,
    WITH_POLLS,
    Column,
    Figures,
    figures_of,
    has_reference,
    lines_of,
    missed,
)


@cache
def with_polls(name: str) -> Figures:
    return replayed(name, WITH_POLLS)


def replayed(name: str, column: Column) -> Figures:
    lines = lines_of(name)
    header = read_header(lines[0])
    replay = Replay(header, override_policy(Policy(), column.policy))
    for _ in replay.run(read_lines(lines[1:], header, None, all_deliveries=False, polls=column.polls)):
        pass
    return figures_of([json.loads(line) for line in lines], replay.result.as_dict())


@pytest.mark.parametrize("column", [ALONE, WITH_POLLS], ids=lambda column: column.title)
def test_the_table_names_every_recording(column: Column) -> None:
    found = {str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.glob("*/*.jsonl")}
    assert found == column.bounds.keys()


@pytest.mark.parametrize("name", ALONE.bounds)
def test_as_right_as_webhooks_alone_allow(name: str) -> None:
    figures = replayed(name, ALONE)
    assert figures.looks_per_user_minute == 0
    assert missed(figures, ALONE.bounds[name]) == [], figures


@pytest.mark.parametrize("name", WITH_POLLS.bounds)
def test_as_right_as_polls_allow_at_their_price(name: str) -> None:
    figures = with_polls(name)
    assert missed(figures, WITH_POLLS.bounds[name]) == [], figures


def test_hardly_anybody_is_wrong_for_longer_than_a_webhooks_way() -> None:
    assert sum(with_polls(name).late for name in WITH_POLLS.bounds if has_reference(name)) <= LATE_GOAL


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (Figures(1, 9.0, 1.5, 2.02, 1.54, 1, 15.0), []),
        (Figures(1, 9.0, 0.0, 2.03, 0.0, 0, 0.0), ["late"]),
        (Figures(1, 9.0, 1.0, 0.0, 2.05, 0, 0.0), ["wrong and unknown"]),
        (Figures(1, 9.0, 0.0, 0.0, 0.0, 2, 0.0), ["users wrong at the end"]),
        (Figures(1, 9.0, 0.0, 0.0, 0.0, 0, 15.1), ["looks per user and minute"]),
    ],
)
def test_a_bound_has_its_slack_and_no_more(figures: Figures, expected: list[str]) -> None:
    assert missed(figures, {"wrong": 1.0, "late": 1.0, "unknown": 1.0, "wrong_at_end": 1}) == expected

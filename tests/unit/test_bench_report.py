"""The benchmarks' own arithmetic: percentiles, bars, the table in a document, and posts held against a ledger."""

from pathlib import Path

import pytest

from bench._crowd import Crowd
from bench._load import Sent, judge
from bench._report import Bar, Report, percentile, replace_section


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(
    ("value", "at_least", "held"),
    [(0.25, True, True), (0.24, True, False), (50.0, False, False), (0.25, False, True)],
)
def test_a_bar_on_either_side(value: float, at_least: bool, held: bool) -> None:
    bar = Bar("ratio", value, 0.25, at_least)
    assert bar.held is held
    assert ("MISSED" in str(bar)) is not held


def test_a_report_with_one_bar_missed_is_missed() -> None:
    bars = [Bar("a", 1.0, 0.5, at_least=True), Bar("b", 1.0, 0.5, at_least=False)]
    assert not Report("t", "s", ("x",), bars=bars).held
    assert Report("t", "s", ("x",), bars=bars[:1]).held


def test_a_short_form_shows_speed_and_is_not_held_to_it() -> None:
    right = Bar("lost", 0, 0, at_least=False)
    slow = Bar("answered after", 9.0, 5, at_least=False, unit="s", speed=True)
    report = Report("t", "s", ("x",), bars=[slow, right], notes=["seed 1"])
    assert not report.held
    report.leave_speed_out()
    assert (report.held, report.bars) == (True, [right])
    assert report.notes == ["answered after: 9 s, at most 5 s (not held to in the short form)", "seed 1"]
    assert "MISSED" not in report.markdown()
    lost = Report("t", "s", ("x",), bars=[right._replace(value=1)])
    lost.leave_speed_out()
    assert not lost.held


def test_only_its_own_section_of_a_document_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "figures.md"
    document.write_text("a\n<!-- bench:one -->\nold\n<!-- end -->\nb\n<!-- bench:two -->\nkept\n<!-- end -->\n")
    replace_section(document, "one", r"new \1")
    text = document.read_text()
    assert text == "a\n<!-- bench:one -->\nnew \\1\n<!-- end -->\nb\n<!-- bench:two -->\nkept\n<!-- end -->\n"
    with pytest.raises(ValueError, match="bench:three"):
        replace_section(document, "three", "")


def test_a_crowd_says_nothing_twice() -> None:
    crowd = Crowd(0, 50)
    items = [item for _ in range(20) for item in crowd.items(100)]
    assert len(set(items)) == len(items)


WHOLE = {"a": 1, "b": 1}
ONE_DELIVERY = {"a": "d", "b": "d"}


@pytest.mark.parametrize(
    ("status", "stored", "deliveries", "wrong"),
    [
        (200, WHOLE, ONE_DELIVERY, 0),
        (200, {}, {}, 1),
        (200, {"a": 1}, {"a": "d"}, 1),
        (200, {"a": 1, "b": 2}, ONE_DELIVERY, 1),
        (200, WHOLE, {"a": "d", "b": "e"}, 1),
        (None, WHOLE, ONE_DELIVERY, 0),
        (None, {}, {}, 0),
        (None, {"b": 1}, {"b": "d"}, 1),
        (503, {}, {}, 0),
        (503, {"a": 1}, {"a": "d"}, 1),
    ],
)
def test_posts_against_the_ledger(
    status: int | None, stored: dict[str, int], deliveries: dict[str, str], wrong: int
) -> None:
    verdicts = judge([Sent(("a", "b"), status)], stored, deliveries)
    assert len(verdicts.wrong) == wrong
    assert verdicts.acknowledged == (status == 200)
    assert verdicts.refused == (status == 503)

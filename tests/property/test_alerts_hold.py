"""The law of alerts, over random histories of a figure: once on, once off, in turn, and never within the hysteresis."""

from hypothesis import given, note
from hypothesis import strategies as st

from ledger.alerts.condition import Condition, Key
from ledger.alerts.thresholds import Thresholds, defaults
from ledger.alerts.tracking import Began, Step, Tracking
from ledger.domain.observation import SECOND

FOR_SECONDS, CLEAR_SECONDS, CLEAR_SHARE = 10.0, 20.0, 0.8
KEY = Key("node_down", "main", "n1")
THRESHOLDS = Thresholds(
    clear_seconds=CLEAR_SECONDS,
    clear_share=CLEAR_SHARE,
    numbers=defaults() | {"node_down_for_seconds": FOR_SECONDS},
)

levels = st.sampled_from([0.0, 0.5, 0.79, 0.8, 0.9, 0.99, 1.0, 1.5, 9.0])
histories = st.lists(st.tuples(st.integers(1, 12), st.one_of(levels, st.none())), min_size=1, max_size=60)
"""Seconds since the look before, and the figure's share of its threshold; None: it is not known."""


@given(histories)
def test_it_begins_and_ends_in_turn_and_only_by_what_lasts(history: list[tuple[int, float | None]]) -> None:
    tracking, now, is_on = Tracking(THRESHOLDS), 0.0, False
    seen: list[tuple[float, float | None]] = []
    for seconds, level in history:
        now += seconds
        seen.append((now, level))
        steps = step(tracking, level, now)
        note(f"{now}: {level} -> {steps}")
        for each in steps:
            assert isinstance(each, Began) != is_on
            is_on = isinstance(each, Began)
            wanted = (lambda found: found >= 1) if is_on else (lambda found: found < CLEAR_SHARE)
            lasting = FOR_SECONDS if is_on else CLEAR_SECONDS
            assert now - began_to(seen, wanted) >= lasting
        if not steps:
            # Nothing that has lasted is left unsaid.
            assert is_on or now - began_to(seen, lambda found: found >= 1) < FOR_SECONDS
            assert not is_on or now - began_to(seen, lambda found: found < CLEAR_SHARE) < CLEAR_SECONDS


@given(st.lists(st.sampled_from([0.8, 0.9, 0.99, 1.0, 2.0]), min_size=1, max_size=60))
def test_within_the_hysteresis_it_never_flaps(levels: list[float]) -> None:
    tracking = Tracking(THRESHOLDS)
    tracking.take_over([(KEY, {})])
    assert [each for second, level in enumerate(levels) for each in step(tracking, level, 30.0 * second)] == []


def step(tracking: Tracking, level: float | None, now: float) -> list[Step]:
    found = [] if level is None else [Condition(KEY, level)]
    return tracking.step(found, {KEY.name} if level is None else (), round(now * SECOND), now)


def began_to(seen: list[tuple[float, float | None]], wanted: object) -> float:
    """Since when every look has found what is wanted; infinite where the last one has not."""
    assert callable(wanted)
    since = float("inf")
    for now, level in reversed(seen):
        if level is None or not wanted(level):
            break
        since = now
    return since

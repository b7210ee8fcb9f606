"""The breaker: two windows, a share and a minimum, and how large a sample shows a lie."""

import pytest

from ledger.domain.breaker import Breaker, short_window
from ledger.domain.policy import DEFAULT_POLICY, Policy

POLICY = DEFAULT_POLICY
T = 1_800_000_000.0


def noted(*looks: tuple[float, int, int], policy: Policy = POLICY) -> Breaker:
    """After so many online users looked at, of them missing, at these seconds."""
    breaker = Breaker()
    for at, looked, missing in looks:
        breaker.note(T + at, looked, missing, policy)
    return breaker


def test_nothing_noted_trips_nothing() -> None:
    assert Breaker().trips(T, POLICY) is None
    assert Breaker().window(T, 60.0) == (0, 0)


@pytest.mark.parametrize(
    ("looked", "missing", "trips"),
    [(99, 20, True), (100, 20, False), (101, 21, True), (20, 20, True), (19, 19, False), (1000, 200, False)],
)
def test_more_than_the_share_and_at_least_the_minimum(looked: int, missing: int, trips: bool) -> None:
    found = noted((0, looked, missing)).trips(T, POLICY)
    assert found == ((looked, missing, POLICY.breaker_seconds) if trips else None)


def test_looks_of_several_answers_add_up() -> None:
    breaker = noted((0.1, 40, 10), (0.9, 10, 5), (20.0, 45, 6))
    assert breaker.window(T + 20, 60.0) == (95, 21)
    assert breaker.trips(T + 20, POLICY) == (95, 21, 60.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    breaker = noted((0.0, 50, 25))
    assert breaker.trips(T + 60, POLICY) is not None
    assert breaker.trips(T + 60.5, POLICY) is None
    breaker.note(T + 200, 1, 0, POLICY)
    assert breaker.window(T + 200, 10_000.0) == (1, 0)


def test_a_lie_that_has_just_begun_is_a_large_share_of_the_last_moments() -> None:
    breaker = noted((0, 10_000, 0), (50, 50, 30))
    assert breaker.window(T + 50, POLICY.breaker_seconds) == (10_050, 30)
    assert breaker.trips(T + 50, POLICY) == (50, 30, 3.0)


def test_a_lie_is_no_smaller_for_the_truth_before_it() -> None:
    # 75 looks a second in turn; for the last three seconds three in ten are said to be offline.
    breaker = noted(*((quarter / 4, 19, 6 if quarter >= 240 else 0) for quarter in range(252)))
    assert breaker.trips(T + 62.75, POLICY) is not None
    # Where what is doubted has been missing for longer than a second look takes, so long is looked back.
    slow = noted(*((second, 10, 3 if second >= 100 else 0) for second in range(110)))
    assert slow.trips(T + 109, POLICY) is None
    assert slow.trips(T + 109, POLICY, 9.0) == (100, 30, 9.0)
    assert slow.trips(T + 109, POLICY, 1000.0) is None


def test_a_part_of_one_answer_is_no_window_of_its_own() -> None:
    """A full scan confirms thousands, and last of all comes to those who left a moment ago."""
    scan = noted((0.0, 5_000, 0), (0.5, 123, 29))
    assert scan.window(T + 0.5, 0.0) == (123, 29)
    assert scan.trips(T + 0.5, POLICY, 0.0) is None
    assert scan.trips(T + 0.5, POLICY, 2.9) is None


def test_the_short_window_is_the_time_that_a_correction_takes_and_no_longer_than_the_other() -> None:
    assert short_window(POLICY) == POLICY.confirm_seconds
    assert short_window(Policy(confirm_seconds=120.0)) == POLICY.breaker_seconds


def test_how_many_more_must_be_looked_at_for_a_lie_to_be_noticed() -> None:
    assert Breaker().sample_wanted(T, POLICY) == 100
    assert noted((0, 60, 0)).sample_wanted(T, POLICY) == 40
    assert noted((0, 60, 0)).sample_wanted(T + 30, POLICY) == 100
    assert noted((0, 500, 0)).sample_wanted(T, POLICY) == 0


def test_a_breaker_of_any_share_needs_no_sample() -> None:
    assert Breaker().sample_wanted(T, Policy(breaker_share=0.0)) == 0


def test_it_begins_to_count_anew() -> None:
    breaker = noted((0, 50, 50))
    breaker.reset()
    assert breaker.trips(T, POLICY) is None
    breaker.note(T, 10, 1, POLICY)
    assert breaker.window(T, 60.0) == (10, 1)

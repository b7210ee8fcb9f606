"""The share lost with its interval, the budget and its burn rates."""

from random import Random

import pytest

from ledger.domain import loss
from ledger.domain.loss import BURN_WINDOWS, Interval


def test_the_interval_is_wilsons() -> None:
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for lost, of, lower, upper in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)):
        assert loss.wilson(lost, of) == pytest.approx((lower, upper), abs=5e-5)
    assert loss.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert loss.wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=5e-5)
    assert loss.wilson(0, 0) == Interval(0.0, 1.0)


def test_it_holds_the_true_share_as_often_as_it_says() -> None:
    draw, held = Random(5), 0
    for _ in range(400):
        lost = sum(draw.random() < 0.01 for _ in range(800))
        lower, upper = loss.wilson(lost, 800)
        held += lower <= 0.01 <= upper
    assert held >= 370


def test_its_upper_end_holds_what_no_look_could_see() -> None:
    assert loss.unseen_at_most(10, 100) == pytest.approx(0.02)
    assert loss.unseen_at_most(0, 0) == 0.0
    lower, upper = loss.wilson(10, 100)
    assert loss.interval(10, 100) == pytest.approx((lower, upper + 0.02))
    assert loss.interval(100, 100).upper == 1.0


def test_a_budget_burns_at_its_pace_at_one() -> None:
    assert loss.burn_rate(1, 1000, 0.001) == pytest.approx(1.0)
    assert loss.budget_left(1, 2000, 0.001) == pytest.approx(0.5)
    assert loss.budget_left(4, 2000, 0.001) == pytest.approx(-1.0)
    assert loss.burn_rate(0, 0, 0.001) is loss.burn_rate(1, 9, 0.0) is loss.budget_left(0, 0, 0.1) is None


def test_it_burns_too_fast_where_both_windows_say_so() -> None:
    [fastest, *_] = BURN_WINDOWS
    assert fastest == (14.4, 3600, 300)
    assert loss.burns(fastest, 15.0, 15.0)
    assert not loss.burns(fastest, 15.0, 14.0)
    assert not loss.burns(fastest, 14.0, 15.0)
    assert not loss.burns(fastest, None, 15.0)
    assert not loss.burns(fastest, 15.0, None)


def test_short_windows_fit_where_looks_are_soon() -> None:
    assert [loss.fits(each, 300.0) for each in BURN_WINDOWS] == [False, True, True]
    assert all(loss.fits(each, 30.0) for each in BURN_WINDOWS)

"""The circuit breaker of a node: when it opens, for how long, whom it lets through, and what closes it."""

from random import Random

import pytest

from ledger.sources.wukongim.node_breaker import FAILURES, MAX_OPEN_SECONDS, NodeBreaker
from tests.support.virtual_time import VirtualTime


class Longest(Random):
    """No jitter: the most of each range."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def breaker_at(time: VirtualTime) -> NodeBreaker:
    return NodeBreaker(time.monotonic, Longest())


def fail(breaker: NodeBreaker, times: int = 1) -> None:
    for _ in range(times):
        admission = breaker.admit()
        assert admission is not None
        breaker.failed(admission)


def succeed(breaker: NodeBreaker) -> None:
    assert breaker.admit() is not None
    breaker.succeeded()


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    breaker = breaker_at(VirtualTime())
    fail(breaker, FAILURES - 1)
    succeed(breaker)
    fail(breaker, FAILURES - 1)
    assert (breaker.state, breaker.failures_in_a_row) == ("closed", FAILURES - 1)
    fail(breaker)
    assert (breaker.state, breaker.open_seconds(), breaker.admit()) == ("open", 1.0, None)


def test_half_open_lets_one_through_and_no_second() -> None:
    time = VirtualTime()
    breaker = breaker_at(time)
    fail(breaker, FAILURES)
    time.at += 0.99
    assert not breaker.is_passable
    time.at += 0.02
    assert (breaker.state, breaker.is_passable) == ("half_open", True)
    trial = breaker.admit()
    assert trial is not None
    assert breaker.is_trial(trial)
    assert (breaker.is_passable, breaker.admit()) == (False, None)
    breaker.succeeded()
    assert (breaker.state, breaker.failures_in_a_row) == ("closed", 0)


def test_each_failed_trial_doubles_the_time_up_to_its_bound_and_a_success_ends_that() -> None:
    time = VirtualTime()
    breaker = breaker_at(time)
    fail(breaker, FAILURES)
    seen = []
    for _ in range(7):
        seen.append(breaker.open_seconds())
        time.at += breaker.open_seconds()
        fail(breaker)
    assert seen == [1, 2, 4, 8, 16, MAX_OPEN_SECONDS, MAX_OPEN_SECONDS]
    assert breaker.failures_in_a_row == FAILURES + 7
    time.at += breaker.open_seconds()
    succeed(breaker)
    fail(breaker, FAILURES)
    assert breaker.open_seconds() == 1.0


def test_two_breakers_do_not_try_at_one_instant() -> None:
    time = VirtualTime()
    first, second = NodeBreaker(time.monotonic, Random(1)), NodeBreaker(time.monotonic, Random(2))
    fail(first, FAILURES)
    fail(second, FAILURES)
    assert first.open_seconds() != second.open_seconds()
    assert all(0.5 <= breaker.open_seconds() <= 1.0 for breaker in (first, second))


def test_calls_from_before_it_opened_do_not_prolong_it() -> None:
    time = VirtualTime()
    breaker = breaker_at(time)
    under_way = [breaker.admit() for _ in range(FAILURES + 5)]
    for admission in under_way:
        assert admission is not None
        breaker.failed(admission)
    assert breaker.open_seconds() == 1.0
    time.at += 1
    trial = breaker.admit()
    assert trial is not None
    breaker.failed(under_way[0] or 0)
    assert (breaker.is_trial(trial), breaker.open_seconds()) == (True, 0.0)
    breaker.succeeded()
    assert breaker.state == "closed"


def test_a_trial_that_is_given_up_leaves_room_for_another() -> None:
    time = VirtualTime()
    breaker = breaker_at(time)
    fail(breaker, FAILURES)
    time.at += 1
    trial = breaker.admit()
    assert trial is not None
    breaker.abandoned(trial)
    other = breaker.admit()
    assert other is not None
    breaker.abandoned(trial)
    assert breaker.admit() is None


def test_a_good_probe_closes_it_once_the_node_was_gone() -> None:
    breaker = breaker_at(VirtualTime())
    fail(breaker, FAILURES)
    breaker.probed(good=False)
    assert breaker.state == "open"
    breaker.probed(good=True)
    assert (breaker.state, breaker.failures_in_a_row) == ("closed", 0)


def test_a_good_probe_among_good_ones_says_nothing_of_the_calls_that_fail() -> None:
    breaker = breaker_at(VirtualTime())
    breaker.probed(good=True)
    fail(breaker, FAILURES)
    breaker.probed(good=True)
    assert breaker.state == "open"


def test_failed_probes_are_no_failed_calls() -> None:
    breaker = breaker_at(VirtualTime())
    for _ in range(3 * FAILURES):
        breaker.probed(good=False)
    assert (breaker.state, breaker.failures_in_a_row) == ("closed", 0)


@pytest.mark.parametrize("tried", [False, True])
def test_it_can_be_closed_by_who_knows_better(tried: bool) -> None:
    time = VirtualTime()
    breaker = breaker_at(time)
    fail(breaker, FAILURES)
    time.at += 1
    trial = breaker.admit() if tried else None
    breaker.close()
    assert (breaker.state, breaker.is_passable) == ("closed", True)
    if trial is not None:
        breaker.failed(trial)
        assert breaker.state == "closed"

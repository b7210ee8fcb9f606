"""When alerts begin and end: minimum duration, hysteresis, take-over, and what is not known."""

from ledger.alerts.condition import Condition, Key
from ledger.alerts.thresholds import Thresholds, defaults
from ledger.alerts.tracking import Began, Ended, Step, Tracking
from ledger.domain.observation import SECOND

KEY = Key("node_down", "main", "n1")
THRESHOLDS = Thresholds(clear_seconds=60, clear_share=0.8, numbers=defaults() | {"node_down_for_seconds": 10.0})
T0 = 1_800_000_000 * SECOND


class Clocked:
    """A tracking of one alert, step by step."""

    def __init__(self) -> None:
        self.tracking = Tracking(THRESHOLDS)

    def at(self, second: float, level: float | None, *, unknown: bool = False, since: int | None = None) -> list[Step]:
        found = [] if level is None else [Condition(KEY, level, {"failures": round(10 * level)}, since)]
        names = {KEY.name} if unknown else set[str]()
        return self.tracking.step(found, names, T0 + round(second * SECOND), second)


def instant(second: float) -> int:
    return T0 + round(second * SECOND)


def test_it_begins_once_its_condition_has_held_for_so_long() -> None:
    clocked = Clocked()
    assert clocked.at(0, 1) == clocked.at(9.9, 3) == []
    assert clocked.at(10, 2) == [Began(KEY, instant(10), instant(0), {"failures": 20})]
    assert clocked.at(15, 2) == []


def test_a_moment_without_it_begins_the_wait_anew() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    clocked.at(5, 0.9)
    assert clocked.at(12, 1) == []
    assert clocked.at(22, 1) == [Began(KEY, instant(22), instant(12), {"failures": 10})]


def test_since_when_is_what_the_figures_say() -> None:
    clocked = Clocked()
    clocked.at(0, 1, since=instant(-30))
    [began] = clocked.at(10, 1, since=instant(-30))
    assert began.since == instant(-30)


def test_it_ends_once_its_condition_has_not_held_for_so_long() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    clocked.at(10, 1)
    clocked.at(20, 7)
    assert clocked.at(30, 0.1) == clocked.at(89, None) == []
    assert clocked.at(90, None) == [Ended(KEY, instant(90), instant(30), {"failures": 70})]
    assert clocked.at(200, None) == []


def test_just_below_the_threshold_it_stays() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    clocked.at(10, 1)
    assert clocked.at(20, 0.5) == clocked.at(70, 0.8) == clocked.at(300, 0.9) == clocked.at(310, 0.5) == []
    assert clocked.at(369, 0.5) == []
    assert [type(step) for step in clocked.at(370, 0.5)] == [Ended]


def test_what_is_not_known_begins_and_ends_nothing() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    assert clocked.at(5, 0, unknown=True) == clocked.at(12, 1) == []
    [began] = clocked.at(22, 1, unknown=True)
    assert isinstance(began, Began)
    clocked.at(30, None)
    assert clocked.at(89, None, unknown=True) == clocked.at(95, None) == []
    assert [type(step) for step in clocked.at(155, None)] == [Ended]


def test_what_is_not_known_of_a_source_says_nothing_of_another() -> None:
    tracking = Tracking(THRESHOLDS)
    other = KEY._replace(source="other")
    tracking.take_over([(KEY, {}), (other, {})])
    unknown = {(KEY.name, KEY.source)}
    assert tracking.step([], unknown, T0, 0.0) == []
    assert [step.key for step in tracking.step([], unknown, T0, 61.0)] == [other]


def test_a_figure_of_which_too_little_is_known_begins_and_ends_nothing() -> None:
    clocked = Clocked()
    clocked.tracking.take_over([(KEY, {})])
    unknown = [Condition(KEY, None)]
    for second in (0, 100, 200):
        assert clocked.tracking.step(unknown, (), T0, float(second)) == []
    assert clocked.tracking.figures() == {KEY: {}}
    other = Tracking(THRESHOLDS)
    assert other.step(unknown, (), T0, 0.0) == []
    assert other.figures() == {}


def test_what_another_instance_began_goes_on_and_is_not_begun_again() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    clocked.tracking.take_over([(KEY, {"failures": 3})])
    assert clocked.tracking.figures() == {KEY: {"failures": 3}}
    assert clocked.at(20, 1) == clocked.at(30, 0) == []
    assert [type(step) for step in clocked.at(90, 0)] == [Ended]


def test_what_was_on_and_is_so_no_longer_by_anothers_word_is_forgotten() -> None:
    clocked = Clocked()
    clocked.at(0, 1)
    clocked.at(10, 1)
    clocked.tracking.take_over([])
    assert clocked.tracking.figures() == {}
    assert clocked.at(11, 1) == []
    assert [type(step) for step in clocked.at(21, 1)] == [Began]

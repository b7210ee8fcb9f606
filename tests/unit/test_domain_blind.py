"""The times in which none of our instances ran, as one source's events tell them."""

from collections.abc import Sequence

import pytest

from ledger.domain.blind import BEFORE_RECORD, BlindTime, after_event, before_start
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import ServiceStarted, ServiceStopped
from ledger.domain.evidence import Placed
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import BreakerClosed, RunCounts, RunEnded, RunStarted

T = 1_800_000_000 * SECOND
MINUTE = 60 * SECOND


def started(instance: str, at: int = T) -> ServiceStarted:
    return ServiceStarted(at=at, instance=instance, software_version="1")


def stopped(instance: str, at: int = T) -> ServiceStopped:
    return ServiceStopped(at=at, instance=instance)


def placed(position: int, event: SourceEvent, recorded_at: int = T) -> Placed:
    return Placed(position, position, recorded_at, "main", "", event)


def before(services: Sequence[SourceEvent], last: Placed | None) -> BlindTime | None:
    """The time before a start of the instance `new`, ten minutes after T."""
    start = started("new", T + 10 * MINUTE)
    return before_start(placed(9, start), start, services, lambda position: last if position == 9 else None)


def test_before_the_first_start_there_was_no_record() -> None:
    for services in ([], [started("new")]):
        time = before(services, placed(8, BreakerClosed(at=T)))
        assert time == BlindTime("main", 9, "", BEFORE_RECORD, 0, T + 10 * MINUTE, "first start", 9)
        assert time.is_without_us


def test_a_stop_in_order_begins_it() -> None:
    time = before([started("old"), stopped("old", T + MINUTE)], placed(8, stopped("old", T + MINUTE)))
    assert time is not None
    assert (time.kind, time.since, time.until, time.reason) == (
        "service_stopped", T + MINUTE, T + 10 * MINUTE, "stopped",
    )  # fmt: skip
    assert time.others == ""


def test_after_a_kill_it_begins_with_the_last_thing_recorded() -> None:
    time = before([started("old"), started("older")], placed(8, BreakerClosed(at=T), T + 2 * MINUTE))
    assert time is not None
    assert (time.since, time.reason, time.others) == (T + 2 * MINUTE, "killed", "old older")


def test_nothing_lay_between_no_time() -> None:
    assert before([started("old")], placed(8, BreakerClosed(at=T), T + 10 * MINUTE)) is None
    assert before([started("old")], None) is None


@pytest.fixture
def time() -> BlindTime:
    found = before([started("old")], placed(8, BreakerClosed(at=T), T))
    assert found is not None
    return found


def test_who_is_heard_of_later_was_there(time: BlindTime) -> None:
    assert after_event(time, stopped("old")) is None
    assert after_event(time, RunStarted(run="r", at=T, instance="old", scope="rotation")) is None
    for other in (stopped("new"), RunStarted(run="r", at=T, instance="new", scope="rotation"), BreakerClosed(at=T)):
        assert after_event(time, other) == time


def test_a_run_over_everybody_lists_them(time: BlindTime) -> None:
    assert time.may_change
    ended = RunEnded(run="r", at=T + 11 * MINUTE, started_at=T, scope="start", outcome="completed", counts=RunCounts())
    listed = after_event(time, ended)
    assert listed == time._replace(listed_at=T + 11 * MINUTE)
    assert listed.may_change
    assert not listed._replace(others="").may_change
    assert after_event(listed, ended) == listed
    interrupted = RunEnded(run="r", at=T, started_at=T, scope="start", outcome="interrupted", counts=RunCounts())
    assert after_event(time, interrupted) == time


def test_a_node_that_is_down_is_no_time_without_us() -> None:
    time = BlindTime("main", 3, "n1", "node_down", T, None, "refused")
    assert time.may_change
    assert not time._replace(until=T).may_change
    assert not time.is_without_us
    assert time.key == ("main", 3, "n1")

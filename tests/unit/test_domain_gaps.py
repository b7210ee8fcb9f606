"""The times in which no instance of ours was running: before which starts there is one, and where it is told of."""

from functools import partial

from ledger.domain.events import Configured, ServiceStarted, ServiceStopped
from ledger.domain.evidence import Gap
from ledger.domain.gaps import gaps
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import RunStarted
from tests.support.explaining import ADDED, SOURCE, STARTED_AT, Explaining, online


def started(world: Explaining, instance: str) -> ServiceStarted:
    return ServiceStarted(at=world.at, instance=instance, software_version="1")


def test_times_without_us() -> None:
    world = online().says(ServiceStopped(at=STARTED_AT + 11_000_000, instance="i")).wait(30)
    world.says(started(world, "j")).wait(10)
    told = world.told()
    assert told.answer == ("shown_opened", "doubtful", "doubtful_down")
    assert told.the("stopped_between").positions == (4, 5)
    assert "stopped_then" in world.told(ago=20).codes
    assert not {"stopped_then", "stopped_between"} & {*world.told(ago=45).codes}


def test_a_kill_leaves_no_stop() -> None:
    world = online().wait(30)
    assert "killed_between" in world.says(started(world, "j")).wait(5).told().codes


def gaps_of(world: Explaining) -> list[Gap]:
    history = world.history
    services = history.services(SOURCE, history.head(), 100)
    return list(gaps(services, history.last_before, partial(history.runs_after, SOURCE)))


def test_gaps_are_before_starts_but_the_first_one() -> None:
    world = Explaining()
    first = Explaining().says(started(world, "a"))
    assert gaps_of(first) == []
    # An instance tells of its start and its configuration in each source, all at once.
    first.wait(60).says(started(first, "b"))
    configured = Configured(
        at=first.at, instance="b", policy=DEFAULT_POLICY, profile=Profile.V2_2, nodes={}, rules_version=1
    )
    first.says(configured).says(started(first, "b"))
    assert gaps_of(first) == [Gap(STARTED_AT, first.at, (2, 3), False)]


def test_times_without_us_are_looked_for_in_all_sources_of_the_user() -> None:
    world = online().hears("u-1-1-1-1-1", source=ADDED).says(ServiceStopped(at=STARTED_AT + 11_000_000, instance="i"))
    told = world.wait(30).says(started(world, "j")).wait(10).told()
    assert told.the("stopped_between").positions == (6, 7)
    # What the new instance tells in the other source is the same gap.
    again = online().hears("u-1-1-1-1-1", source=ADDED).wait(30)
    for source in (SOURCE, ADDED):
        again.says(started(again, "j"), source)
    assert again.wait(10).told().the("killed_between").positions == (5, 6)
    # Another one is heard of in the other source alone.
    leading = online().says(started(online(), "a")).hears("u-1-1-1-1-1", source=ADDED).wait(30)
    leading.says(started(leading, "b")).wait(5)
    assert "killed_between" in leading.told().codes
    leading.says(RunStarted(run="r", at=leading.at, instance="a", scope="rotation"), ADDED).wait(1)
    assert "killed_between" not in leading.told().codes


def test_instances_that_overlap_leave_no_gap() -> None:
    world = Explaining().says(started(Explaining(), "a")).wait(0.05)
    world.says(started(world, "b")).wait(60)
    world.says(started(world, "c")).wait(1).says(ServiceStopped(at=world.at, instance="a"))
    assert gaps_of(world) == []
    leading = Explaining().says(started(Explaining(), "a")).wait(60)
    leading.says(started(leading, "b"))
    assert len(gaps_of(leading)) == 1
    leading.says(RunStarted(run="r", at=leading.at, instance="a", scope="rotation"))
    assert gaps_of(leading) == []

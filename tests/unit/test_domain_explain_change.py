"""Explaining a status: the first change after the instant, whatever was known, bounds what is said of it."""

from collections.abc import Callable

import pytest

from ledger.domain.event_types import SourceEvent
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from tests.support.explaining import SOURCE, Explaining, online


def test_with_hindsight_it_held_until_the_first_change_after_the_instant() -> None:
    world = online().hears("u-0-0-1-0-0").wait(5).hears("u-0-1-2-1-1").wait(5)
    told = world.told(ago=11, position=world.history.head())
    assert told.the("next_change").params == {"status": "offline", "changed_at": world.ago(10)}
    assert world.told(ago=15, position=world.history.head()).answer[2] == "certain_seen_after"
    late = online().hears("u-0-0-1-0-0", recorded_later=3).wait(5).hears("u-0-1-2-1-1")
    told = late.told(ago=6, position=late.history.head())
    assert (told.answer[0], told.the("next_change").params["status"]) == ("shown_closed", "online")
    assert late.told(ago=6).the("next_change").params == {"status": "offline", "changed_at": late.ago(5)}


def test_within_the_grace_period_the_next_change_takes_it_back() -> None:
    world = online(Policy(grace_seconds=5.0)).hears("u-0-0-1-0-0").wait(2).hears("u-0-1-2-1-1")
    told = world.told(ago=1)
    assert told.answer[0] == "shown_in_grace"
    assert told.the("reported_again").params == {"status": "online", "changed_at": world.at}


def test_an_offline_that_was_taken_back_in_time_never_showed() -> None:
    world = online(Policy(grace_seconds=5.0)).hears("u-0-0-1-0-0").wait(2).hears("u-0-1-2-1-1").wait(9)
    for position in (None, world.history.head()):
        told = world.told(ago=15, position=position)
        assert "next_change" not in told.codes
        assert told.the("no_change_yet").params["number"] == 2
    world.hears("u-0-0-2-0-0").wait(9)
    assert world.told(ago=24).the("next_change").params == {"status": "offline", "changed_at": world.ago(9)}


def test_a_correction_recorded_later_that_was_taken_back_in_time_is_not_the_next_change() -> None:
    world = online(Policy(grace_seconds=30.0)).wait(9).looks("corrected", agreed=9, disagreed=5)
    world.corrects("poll_ghost", "online", "offline", agreed_at=world.ago(9), disagreed_at=world.ago(5))
    world.wait(2).hears("u-0-1-2-1-1").wait(50)
    change = world.evidence(ago=54, position=world.history.head()).next_change()
    assert change is not None
    assert (change.position, change.event.status_after) == (world.history.head(), "online")  # type: ignore[union-attr]


def test_a_look_before_which_something_else_agreed_confirms_nothing() -> None:
    world = online(Policy(grace_seconds=30.0)).hears("u-0-0-1-0-0").wait(9)
    world.looks("corrected", agreed=1).corrects("poll_missed", "offline", "online", agreed_at=world.ago(1))
    assert world.told(ago=5).answer == ("shown_in_grace", "doubtful", "doubtful_grace")


def test_a_doubt_ends_with_its_own_node() -> None:
    world = Explaining(nodes=("n1", "n2")).wait(1).hears("u-0-1-1-1-1").wait(10)
    world.says(NodeDown(node="n1", at=world.at, since=world.at, reason="x")).wait(2)
    world.says(SourceDark(at=world.at, since=world.at)).says(SourceLit(at=world.at, by="poll"))
    world.says(NodeSettled(node="n2", at=world.at)).wait(1)
    assert "doubt_ended" not in world.told(ago=2).codes
    world.says(NodeSettled(node="n1", at=world.at)).wait(50)
    for position in (None, world.history.head()):
        assert world.told(ago=52, position=position).the("doubt_ended").params == {"ended_at": world.ago(50)}


def test_what_came_after_the_next_change_is_no_alternative() -> None:
    world = online().hears("u-0-0-1-0-0").wait(1).hears("u-0-1-2-1-1").wait(1).hears("u-0-1-2-1-1", "x-0-1-9-1-1")
    for position in (None, world.history.head()):
        assert not world.told(ago=3, position=position).about("alternative")


@pytest.mark.parametrize(
    ("begins", "code", "names"),
    [
        (lambda at: SourceDark(at=at, since=at - 1), "next_dark", {"source": SOURCE}),
        (lambda at: NodeDown(node="n1", at=at, since=at, reason="x"), "next_node_down", {"node": "n1"}),
        (
            lambda at: NodeBooted(node="n1", at=at, earliest=at - 2, latest=at - 1, route="/varz"),
            "next_node_booted",
            {"node": "n1"},
        ),
    ],
)
def test_it_held_until_a_doubt(begins: Callable[[int], SourceEvent], code: str, names: dict[str, str]) -> None:
    world = online()
    world.says(begins(world.at)).wait(5).hears("u-0-0-1-0-0").wait(1)
    told = world.told(ago=8)
    assert told.the(code).params == {**names, "noticed_at": world.ago(6)}
    assert told.the(code).positions == (4,)
    assert "next_change" not in told.codes
    # Noticed before the instant, and recorded after it.
    late = online()
    event = begins(late.at)
    late.wait(3).says(event).wait(1)
    assert late.told(ago=2).the(code).params["noticed_at"] == late.ago(1)
    # With hindsight it had begun.
    assert late.told(ago=2, position=late.history.head()).answer[1] == "unknown"


def test_a_doubt_that_changed_nothing_ended_nothing() -> None:
    world = Explaining(Profile.V3, ("n1", "n2")).wait(1).hears("u-0-1-1-1-1").wait(10)
    world.says(NodeDown(node="n2", at=world.at, since=world.at, reason="x")).wait(1)
    assert "nothing_since" in world.told(ago=5).codes
    world.hears("u-0-0-1-0-0").wait(1).says(SourceDark(at=world.at, since=world.at)).wait(1)
    assert world.told(ago=5).the("next_change").params["status"] == "offline"
    assert "next_dark" not in world.told(ago=5).codes
    assert world.told(ago=1.5).the("next_dark").params["noticed_at"] == world.ago(1)
    # A user never heard of cannot be in doubt.
    assert not {"next_dark", "next_node_down"} & {*world.told(ago=5, uid="nobody").codes}


def test_a_doubt_after_a_hundred_events_is_not_told_of() -> None:
    world = online()
    for number in range(101):
        world.wait(70).hears("u-0-1-1-1-1", f"x{number}-0-1-1-1-1")
    world.says(SourceDark(at=world.at, since=world.at)).wait(1)
    told = world.told(ago=101 * 70 + 5)
    assert told.the("no_change_yet").params["number"] == 100
    assert "next_dark" not in told.codes


def test_an_offline_is_shown_once_the_grace_period_is_over() -> None:
    world = online(Policy(grace_seconds=5.0)).hears("u-0-0-1-0-0")
    offline_at = world.at
    shown = {"shows_at": offline_at + 5_000_000, "grace_seconds": 5.0}
    world.wait(2)
    for ago in (1, 4):
        told = world.told(ago=ago)
        assert told.the("grace_ends").params == shown
        assert told.the("grace_ends").positions == (5,)
    assert world.told(ago=4).the("next_change").params["changed_at"] == offline_at
    world.wait(20).hears("u-0-1-2-1-1").wait(1)
    assert world.told(ago=22).the("grace_ends").params == shown
    assert world.told(ago=22).the("reported_again").params["status"] == "online"
    # When it is shown already, and without a grace period, there is nothing to wait for.
    assert "grace_ends" not in world.told(ago=10).codes
    assert "grace_ends" not in online().hears("u-0-0-1-0-0").wait(2).told(ago=3).codes
    assert "grace_ends" not in online(Policy(grace_seconds=5.0)).told().codes


def test_an_offline_that_was_taken_back_is_never_shown() -> None:
    world = online(Policy(grace_seconds=5.0)).hears("u-0-0-1-0-0").wait(2).hears("u-0-1-2-1-1").wait(9)
    for ago in (10, 12):
        assert "grace_ends" not in world.told(ago=ago).codes


def test_a_policy_that_has_changed_and_a_doubt_after_the_grace_period() -> None:
    world = online(Policy(grace_seconds=5.0))
    world.configure(("n1",), Policy(grace_seconds=2.0))
    world.wait(1).hears("u-0-0-1-0-0").wait(1)
    assert world.told(ago=3).the("grace_ends").params == {"shows_at": world.at + 1_000_000, "grace_seconds": 2.0}
    world.wait(3).says(SourceDark(at=world.at, since=world.at)).wait(1)
    told = world.told(ago=4.5)
    assert told.answer[0] == "shown_in_grace"
    assert {"grace_ends", "nothing_since"} <= {*told.codes}
    world = online(Policy(grace_seconds=5.0))
    world.configure(("n1",), DEFAULT_POLICY)
    world.wait(1).hears("u-0-0-1-0-0").wait(1)
    assert "grace_ends" not in world.told(ago=3).codes

"""Explaining a status: the first change after the instant, whatever was known, bounds what is said of it."""

from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.reconciled import NodeDown, NodeSettled, SourceDark, SourceLit
from tests.support.explaining import Explaining


def online(policy: Policy = DEFAULT_POLICY) -> Explaining:
    """`u` has been online for ten seconds."""
    return Explaining(policy=policy).wait(1).hears("u-0-1-1-1-1").wait(10)


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

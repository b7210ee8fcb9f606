"""What those who watch a user are told of: status, reason and devices; and what of a source decides how it is shown."""

from msgspec.structs import replace

from ledger.domain.evolve import evolve
from ledger.domain.nodes import NodeState
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.domain.visible import shown_by, visible_at
from tests.support.overriding import overriding
from tests.support.scenario import STARTED_AT, Step, given

SOURCE = SourceState("main", node_profiles={"n1": Profile.V2_2})
DOWN = NodeState(down_since=STARTED_AT)


def test_a_device_is_one_whatever_number_of_nodes_it_is_put_together_of() -> None:
    history = given(Step("u-0-1-1-1-1", node="n1"), Step("u-0-1-2-1-1", node="n2"), "u-1-1-3-1-2", profile=Profile.V3)
    seen = visible_at(history.presence, {"main": SOURCE}, history.at)
    assert (seen.status, seen.reason) == ("online", None)
    assert seen.devices == (("main", 0, "online", 2), ("main", 1, "online", 1))


def test_an_offline_device_stays_visible() -> None:
    history = given("u-0-1-1-1-1", "u-0-0-1-0-0")
    seen = visible_at(history.presence, {"main": SOURCE}, history.at)
    assert (seen.status, seen.since, seen.devices) == ("offline", history.at, (("main", 0, "offline", 0),))


def test_who_was_never_observed_is_unknown() -> None:
    assert visible_at(Presence("u"), {}, STARTED_AT) == ("unknown", None, "never_observed", ())


def test_what_is_visible_follows_from_the_source_as_well() -> None:
    history = given("u-0-1-1-1-1", "u-0-0-1-0-0")
    grace = {"main": replace(SOURCE, policy=Policy(grace_seconds=30.0))}
    assert visible_at(history.presence, grace, history.at).status == "online"
    dark = {"main": replace(SOURCE, dark_since=history.at)}
    online = given("u-0-1-1-1-1")
    seen = visible_at(online.presence, dark, history.at)
    assert (seen.status, seen.reason, seen.devices) == ("unknown", "source_dark", (("main", 0, "unknown", 1),))


def test_an_operators_word_is_visible() -> None:
    online = given("u-0-1-1-1-1")
    said = evolve(online.presence, overriding(online.presence, "offline", online.at, 60.0), 2)
    assert visible_at(said, {}, online.at).status == "offline"


def test_what_is_heard_of_a_node_that_answers_changes_nothing_that_is_shown() -> None:
    assert shown_by(SOURCE) == shown_by(replace(SOURCE, nodes={"n1": NodeState(highest_conn_id=9)}))
    assert shown_by(SOURCE) == shown_by(replace(SOURCE, node_profiles={"n2": Profile.V2_2}))


def test_grace_nodes_down_and_then_who_holds_what_decide_how_users_are_shown() -> None:
    down = replace(SOURCE, nodes={"n1": DOWN})
    others = (replace(SOURCE, policy=Policy(grace_seconds=2.0)), down, replace(down, node_profiles={}))
    assert len({shown_by(each) for each in (SOURCE, *others)}) == 4


def test_a_boot_and_what_settles_it_decide_while_the_node_is_down() -> None:
    booted = replace(DOWN, boot=(STARTED_AT, STARTED_AT))
    nodes = (DOWN, booted, replace(booted, boot=(STARTED_AT + 1, STARTED_AT + 1)), replace(booted, swept=False))
    assert len({shown_by(replace(SOURCE, nodes={"n1": node})) for node in nodes}) == 4

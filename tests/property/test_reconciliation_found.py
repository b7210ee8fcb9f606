"""What the machine of reconciliation has found with other examples than the gate's, step by step."""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, given, settings

from ledger.domain.profile import Profile
from tests.property.test_reconciliation_machine import Reconciliation


def a_tier_is_set_while_a_question_is_under_way(machine: Reconciliation) -> None:
    machine.begin((Profile.V2_2, ("n1",)), 2, [("alice", 0, False), ("bob", 0, False)])
    machine.look_at("alice")
    machine.asks_because_somebody_wants_to_know({"alice"})
    machine.time_passes(0.5)
    machine.somebody_chooses_a_tier("alice", "vip")
    machine.a_tier_that_somebody_chose_holds()
    machine.world.answer_all()


def a_tier_is_set_after_an_override_while_a_question_is_under_way(machine: Reconciliation) -> None:
    machine.begin((Profile.V2_2, ("n1",)), 2, [("alice", 0, False)])
    machine.cluster.connect("alice", 0, "n1")
    machine.world.send("lost")
    machine.asks_because_somebody_wants_to_know({"alice"})
    machine.somebody_overrides("alice", "offline", ends=True, until_evidence=True)
    machine.somebody_chooses_a_tier("alice", "vip")
    machine.world.answer_all()


def a_late_offline_is_of_a_number_that_another_node_uses_again(machine: Reconciliation) -> None:
    """Which cannot be known: the new connection is taken for the closed one, and there is no other."""
    machine.begin((Profile.V2_2, ("n1", "n2")), 2, [("alice", 0, False), ("alice", 0, False)])
    cluster, world = machine.cluster, machine.world
    first, second = cluster.open["alice"]
    cluster.close("alice", first)
    world.send("on its way")
    cluster.connect("alice", 0, "n2")
    world.send("lost")
    cluster.close("alice", second)
    world.send("lost")
    machine.time_passes(6.0)
    world.hear(*world.in_flight.pop())
    machine.asks_all_nodes(0.0, None, 2)


def a_late_offline_without_any_left_ends_a_connection_that_lives(machine: Reconciliation) -> None:
    """A node that lists it knows better; nor is what a question by name has found ended by such lists."""
    machine.begin((Profile.V2_2, ("n1",)), 2, [("alice", 0, False), ("u-1-2", 0, False)])
    cluster, world = machine.cluster, machine.world
    for uid in ("alice", "u-1-2"):
        cluster.close(uid, cluster.open[uid][0])
        world.send("on its way")
        cluster.connect(uid, 0, "n1")
        world.send("heard")
    machine.time_passes(6.0)
    for item in world.in_flight:
        world.hear(*item)
    world.in_flight.clear()
    assert [machine.ledger.presence(uid).status for uid in ("alice", "u-1-2")] == ["offline", "offline"]
    machine.look_at("alice")
    machine.asks_all_nodes(0.0, None, 2)
    assert [machine.ledger.presence(uid).status for uid in ("alice", "u-1-2")] == ["online", "online"]


@pytest.mark.parametrize(
    "steps",
    [
        a_tier_is_set_while_a_question_is_under_way,
        a_tier_is_set_after_an_override_while_a_question_is_under_way,
        a_late_offline_is_of_a_number_that_another_node_uses_again,
        a_late_offline_without_any_left_ends_a_connection_that_lives,
    ],
)
def test_what_was_found_is_lawful(steps: Callable[[Reconciliation], None]) -> None:
    @given(st.none())
    @settings(max_examples=1, phases=[Phase.generate], deadline=None)
    def run(_: None) -> None:
        machine = Reconciliation()
        steps(machine)
        machine.every_new_event_is_lawful()
        machine.the_states_are_sound()
        machine.nobodys_turn_is_later_than_his_bound()
        machine.a_tier_that_somebody_chose_holds()
        machine.teardown()

    run()

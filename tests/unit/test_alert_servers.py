"""Whether settings name the servers that they are meant to name."""

import pytest

from ledger.alerts.servers import SAME_BOOT, posts_as_other, same_servers
from ledger.domain.nodes import NodeState
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState


def source(**nodes: NodeState) -> SourceState:
    return SourceState("main", node_profiles=dict.fromkeys(("n1", "n2", "n3"), Profile.V2_2), nodes=nodes)


def node(node_id: int | None, *boot: int) -> NodeState:
    return NodeState(node_id=node_id, boot=(boot[0], boot[1]) if boot else None)


def test_two_addresses_that_lead_to_one_server() -> None:
    state = source(n1=node(1001, 50, 60), n2=node(1002, 50, 60), n3=node(1001, 55, 70))
    assert same_servers(state) == {"n1": "n3", "n3": "n1"}


@pytest.mark.parametrize(
    "other",
    [
        node(1002, 50, 60),
        node(None, 50, 60),
        node(1001),
        node(1001, 61 + SAME_BOOT, 70 + SAME_BOOT),
    ],
)
def test_two_servers(other: NodeState) -> None:
    assert same_servers(source(n1=node(1001, 50, 60), n2=other)) == {}


def test_a_node_that_is_no_longer_configured_is_no_matter() -> None:
    state = SourceState("main", node_profiles={"n1": Profile.V2_2}, nodes={"n1": node(1, 5, 6), "n2": node(1, 5, 6)})
    assert same_servers(state) == {}


OWN = {"n1": frozenset({"10.0.0.1"}), "n2": frozenset({"10.0.0.2"}), "n3": frozenset({"10.0.0.3"})}


@pytest.mark.parametrize(
    ("senders", "addresses", "found"),
    [
        ({"n1": "10.0.0.1", "n2": "10.0.0.2"}, OWN, {}),
        ({"n1": "10.0.0.2"}, OWN, {"n1": "n2"}),
        ({"n1": "10.0.0.9"}, OWN, {}),
        ({"n1": "10.0.0.2"}, OWN | {"n1": frozenset()}, {}),
        ({"n1": "10.0.0.2"}, OWN | {"n3": frozenset({"10.0.0.2"})}, {}),
        ({"n1": "10.0.0.2"}, OWN | {"n1": frozenset({"10.0.0.1", "10.0.0.2"})}, {}),
        ({}, OWN, {}),
    ],
)
def test_posts_under_the_name_of_another(
    senders: dict[str, str], addresses: dict[str, frozenset[str]], found: dict[str, str]
) -> None:
    assert posts_as_other(senders, addresses) == found

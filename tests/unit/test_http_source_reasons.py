"""Why a source is not good for what is refused, what never came, and what cannot be seen."""

from typing import Any, NamedTuple

import pytest

from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http import source_reasons

NOW = 1_800_000_000 * SECOND


class Refused(NamedTuple):
    node: str
    reason: str
    number: int
    last_at: float


def source(number: int = 1, **fields: Any) -> SourceState:
    profiles = {f"n{each}": Profile.V2_2 for each in range(1, number + 1)}
    return SourceState("main", node_profiles=profiles, **fields)


def looks(connections: int | None) -> dict[str, Any]:
    """What the leading instance noted; None: not all nodes can be asked for their connections."""
    return {"all_connections": None if connections is None else {"connections": connections}}


@pytest.mark.parametrize(
    ("heard", "noted", "expected"),
    [
        pytest.param(None, looks(12), 1, id="never a webhook, and people are connected"),
        pytest.param(None, looks(0), 0, id="nobody is connected"),
        pytest.param(None, looks(None), 0, id="nobody can tell"),
        pytest.param(None, {}, 0, id="nothing is noted yet"),
        pytest.param(NOW, looks(12), 0, id="webhooks come"),
    ],
)
def test_a_source_that_never_posted_though_its_nodes_hold_connections(
    heard: int | None, noted: dict[str, Any], expected: int
) -> None:
    found = list(source_reasons.never_posted(source(last_webhook_at=heard), noted))
    assert len(found) == expected
    assert all("12 connections" in reason for reason in found)


@pytest.mark.parametrize(
    ("refused_ago", "heard_ago", "expected"),
    [
        pytest.param(10.0, None, 1, id="refused, and never taken"),
        pytest.param(10.0, 20.0, 1, id="refused since one was taken"),
        pytest.param(10.0, 5.0, 0, id="taken since"),
        pytest.param(301.0, None, 0, id="long ago"),
    ],
)
def test_a_node_whose_webhooks_are_refused(refused_ago: float, heard_ago: float | None, expected: int) -> None:
    heard = None if heard_ago is None else NOW - round(heard_ago * SECOND)
    state = source(nodes={"n1": NodeState(last_webhook_at=heard)})
    refused = Refused("n1", "wrong_secret", 3, NOW / SECOND - refused_ago)
    found = list(source_reasons.refused(state, [refused], NOW))
    assert len(found) == expected
    assert all(reason.startswith("n1: its webhooks are refused (wrong secret; 3, the last at ") for reason in found)


def test_webhooks_of_a_node_that_the_settings_do_not_have_are_told_with_the_way_out() -> None:
    [reason] = source_reasons.refused(source(), [Refused("(unknown)", "unknown_node", 4, NOW / SECOND - 10)], NOW)
    assert "a node that the settings do not have are refused (4, the last at " in reason
    assert reason.endswith(f"add the node to the source, or {source_reasons.PASTE} that posts")


@pytest.mark.parametrize(
    ("state", "noted", "expected"),
    [
        pytest.param(source(2), looks(None), 1, id="a cluster of whose nodes not all have an api_url"),
        pytest.param(source(2), looks(3), 0, id="all have"),
        pytest.param(source(1), looks(None), 0, id="one node"),
        pytest.param(source(2), {}, 0, id="nothing is noted yet"),
    ],
)
def test_a_cluster_of_which_no_look_tells_who_has_gone(
    state: SourceState, noted: dict[str, Any], expected: int
) -> None:
    assert len(list(source_reasons.unconfirmed(state, noted))) == expected

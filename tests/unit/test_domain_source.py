"""The source's rules and state: repeated bodies, suspicion of a restart, configuration, what nodes named last."""

import msgspec
import pytest

from ledger.domain.events import BodyRejected, Configured, DeliveryReceived, ServiceStarted
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import COUNTING, Profile
from ledger.domain.source import Delivery, SourceState, decide_delivery, evolve_source

T = 1_800_000_000 * SECOND


def configured(profile: Profile = Profile.V2_2, policy: Policy = DEFAULT_POLICY, **nodes: Profile) -> SourceState:
    event = Configured(
        at=T, instance="i", policy=policy, profile=profile, nodes=nodes or {"n1": profile}, rules_version=1
    )
    return evolve_source(SourceState("main"), event, 1)


def delivery(seconds: float, digest: str = "a", conn_ids: tuple[int, int] = (0, 0), node: str = "n1") -> Delivery:
    at = T + round(seconds * SECOND)
    return Delivery(f"d{seconds}", "main", node, at, digest, size=10, items=2, rejected=1, conn_ids=conn_ids)


def take(source: SourceState, *deliveries: Delivery) -> tuple[SourceState, DeliveryReceived]:
    """The source after the deliveries, and the event of the last one."""
    event = None
    for each in deliveries:
        event = decide_delivery(source, each)
        source = evolve_source(source, event, source.version + 1)
    assert event is not None
    return source, event


def test_a_delivery_is_recorded_as_it_came() -> None:
    _, event = take(configured(), delivery(1, conn_ids=(3, 7)))
    assert event == DeliveryReceived(
        delivery="d1",
        node="n1",
        received_at=T + SECOND,
        digest="a",
        size=10,
        items=2,
        rejected=1,
        lowest_conn_id=3,
        highest_conn_id=7,
    )


def test_the_same_body_of_the_same_node_within_the_window_repeats() -> None:
    _, event = take(configured(), delivery(1), delivery(2, "b"), delivery(61))
    assert (event.repeats, event.first_received_at) == ("d1", T + SECOND)


def test_a_body_repeats_the_last_time_that_it_came() -> None:
    _, event = take(configured(), delivery(1), delivery(50), delivery(100))
    assert event.repeats == "d50"


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(delivery(61.000001), id="beyond the window"),
        pytest.param(delivery(2, node="n2"), id="another node"),
        pytest.param(delivery(2, "b"), id="another body"),
    ],
)
def test_anything_else_does_not_repeat(second: Delivery) -> None:
    _, event = take(configured(), delivery(1), second)
    assert (event.repeats, event.first_received_at) == (None, None)


def test_bodies_beyond_the_window_are_forgotten() -> None:
    source, _ = take(configured(), *(delivery(seconds, f"{seconds}") for seconds in range(200)))
    assert len(source.recent) == 61


def test_an_online_not_above_those_named_before_suspects_a_restart() -> None:
    source, event = take(configured(), delivery(1, "a", (5, 9)), delivery(2, "b", (9, 12)))
    assert event.suspects_restart
    assert source.nodes["n1"].highest_conn_id == 12


def test_after_the_suspicion_counting_starts_anew() -> None:
    source, event = take(configured(), delivery(1, "a", (90, 99)), delivery(2, "b", (1, 2)), delivery(3, "c", (3, 4)))
    assert not event.suspects_restart
    assert source.nodes["n1"].highest_conn_id == 4


@pytest.mark.parametrize(
    "second",
    [
        pytest.param(delivery(2, "b", (10, 12)), id="ascending"),
        pytest.param(delivery(2, "b", (0, 0)), id="no onlines"),
        pytest.param(delivery(2, "a", (5, 9)), id="repeated"),
        pytest.param(delivery(2, "b", (1, 2), node="n2"), id="another node"),
    ],
)
def test_nothing_else_suspects_one(second: Delivery) -> None:
    source, event = take(configured(), delivery(1, "a", (5, 9)), second)
    assert not event.suspects_restart
    assert source.nodes["n1"].highest_conn_id >= 9


def test_in_a_cluster_that_counts_as_a_whole_numbers_tell_nothing() -> None:
    source = configured(n1=Profile.V2_2, n2=Profile.V2_2)
    _, event = take(source, delivery(1, "a", (5, 9)), delivery(2, "b", (1, 2)))
    assert not event.suspects_restart


def test_in_a_cluster_that_counts_node_by_node_they_do() -> None:
    source = configured(Profile.V3, n1=Profile.V3, n2=Profile.V3)
    _, event = take(source, delivery(1, "a", (5, 9)), delivery(2, "b", (1, 2)))
    assert event.suspects_restart


def test_a_node_has_its_own_profile_or_its_sources() -> None:
    source = configured(Profile.V2_2, n1=Profile.V3)
    assert source.counting("n1") == COUNTING[Profile.V3]
    assert source.counting("n2") == COUNTING[Profile.V2_2]


def test_a_configuration_replaces_the_one_before_and_nothing_else() -> None:
    source, _ = take(configured(), delivery(1, "a", (5, 9)))
    nodes = {"n1": Profile.V3, "n2": Profile.V3}
    event = Configured(
        at=T, instance="i", policy=Policy(grace_seconds=3), profile=Profile.V3, nodes=nodes, rules_version=1
    )
    after = evolve_source(source, event, source.version + 1)
    assert (after.policy, after.profile, after.node_profiles, after.retired) == (event.policy, Profile.V3, nodes, {})
    assert (after.nodes, after.recent, after.last_webhook_at) == (source.nodes, source.recent, source.last_webhook_at)
    assert after.version == source.version + 1


@pytest.mark.parametrize(
    "event",
    [
        ServiceStarted(at=T, instance="i", software_version="1"),
        BodyRejected(delivery="d", node="n1", received_at=T, reason="r", raw_base64="", size=0, digest=""),
    ],
)
def test_other_events_raise_the_version_alone(event: ServiceStarted | BodyRejected) -> None:
    source, _ = take(configured(), delivery(1))
    assert evolve_source(source, event, source.version + 1) == msgspec.structs.replace(
        source, version=source.version + 1
    )


def test_the_instant_of_the_last_webhook_never_goes_back() -> None:
    source, _ = take(configured(), delivery(5), delivery(4, "b"))
    assert source.last_webhook_at == T + 5 * SECOND

"""The source's rules and state: repeated bodies, configuration, what nodes named last."""

import msgspec
import pytest

from ledger.domain.events import BodyRejected, Configured, DeliveryReceived, ServiceStarted
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import COUNTING, Profile
from ledger.domain.reconciliation_events import NodeBooted
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
    _, event = take(configured(), delivery(1), delivery(61))
    assert (event.repeats, event.first_received_at, event.anew) == ("d1", T + SECOND, False)


@pytest.mark.parametrize("profile", [Profile.V1, Profile.V2_1, Profile.V2_2])
def test_one_that_posts_in_turn_does_not_come_back_to_an_older_body(profile: Profile) -> None:
    _, event = take(configured(profile), delivery(1), delivery(2, "b"), delivery(61))
    assert (event.repeats, event.first_received_at, event.anew) == ("d1", T + SECOND, True)


def test_one_of_several_senders_may() -> None:
    _, event = take(configured(Profile.V3), delivery(1), delivery(2, "b"), delivery(61))
    assert (event.repeats, event.anew) == ("d1", False)


def test_what_another_node_says_in_between_is_no_matter() -> None:
    _, event = take(configured(), delivery(1), delivery(2, "b", node="n2"), delivery(61))
    assert (event.repeats, event.anew) == ("d1", False)


def test_an_instance_that_was_slow_has_the_older_post() -> None:
    """Cut off and sent again to another instance, which had it recorded before the first one did."""
    _, event = take(configured(), delivery(2), delivery(3, "b"), delivery(1))
    assert (event.repeats, event.anew) == ("d2", False)


@pytest.mark.parametrize(
    ("nodes", "booted", "is_anew"),
    [
        pytest.param({"n1": Profile.V2_2}, "n1", True, id="the only node"),
        pytest.param(
            {"n1": Profile.V2_2, "n2": Profile.V2_2}, "n2", True, id="another one, whose connections it names"
        ),
        pytest.param({"n1": Profile.V3, "n2": Profile.V3}, "n1", True, id="of several, itself"),
        pytest.param({"n1": Profile.V3, "n2": Profile.V3}, "n2", False, id="another one, that speaks for itself"),
    ],
)
def test_after_a_boot_the_same_bytes_are_new(nodes: dict[str, Profile], booted: str, is_anew: bool) -> None:
    source, _ = take(configured(nodes["n1"], DEFAULT_POLICY, **nodes), delivery(1))
    for earliest, expected in ((-2, False), (0, is_anew), (10, is_anew)):
        event = NodeBooted(
            node=booted, at=T + 20 * SECOND, earliest=T + earliest * SECOND, latest=T + (earliest + 2) * SECOND,
            route="/varz",
        )  # fmt: skip
        _, again = take(evolve_source(source, event, 9), delivery(30))
        assert (again.repeats, again.anew) == ("d1", expected)


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


def test_the_highest_connection_is_that_since_the_last_known_boot() -> None:
    source, _ = take(configured(), delivery(1, "a", (5, 9)), delivery(2, "b", (1, 2)), delivery(3, "c"))
    assert source.nodes["n1"].highest_conn_id == 9
    booted = NodeBooted(node="n1", at=T, earliest=T, latest=T, route="/varz")
    source, _ = take(evolve_source(source, booted, 9), delivery(4, "d", (1, 2)))
    assert source.nodes["n1"].highest_conn_id == 2


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

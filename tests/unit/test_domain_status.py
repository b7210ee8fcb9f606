"""The status shown: across sources and nodes, with darkness, dead nodes and the grace period."""

import pytest
from msgspec.structs import replace

from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.domain.status import (
    NEVER_OBSERVED,
    derive,
    derive_device,
    grace_seconds,
    longest_grace,
    next_change_at,
    shown_alone,
    shows_presence_alone,
)
from tests.support.scenario import PAUSE_SECONDS, STARTED_AT, Step, given

FIRST = STARTED_AT + round(PAUSE_SECONDS * SECOND)
LEFT_AT = FIRST + round(PAUSE_SECONDS * SECOND)
NOW = LEFT_AT + SECOND
DOWN_AT = LEFT_AT + 1
DARK_AT = FIRST + 2


def graceful(name: str = "main", seconds: float = 5.0) -> dict[str, SourceState]:
    return {name: SourceState(name, policy=Policy(grace_seconds=seconds))}


GRACE = graceful()


def node_down(*names: str, up: tuple[str, ...] = ()) -> dict[str, SourceState]:
    nodes = {name: NodeState(down_since=DOWN_AT) for name in names} | {name: NodeState() for name in up}
    return {"main": SourceState("main", nodes=nodes)}


def dark(name: str = "main") -> dict[str, SourceState]:
    return {name: SourceState(name, dark_since=DARK_AT)}


def shown(presence: Presence, sources: dict[str, SourceState]) -> tuple[str, str | None]:
    status = derive(presence, sources, NOW)
    return status.status, status.reason


ONLINE = given("u-0-1-5-1-1").presence
OFFLINE = given("u-0-1-5-1-1", "u-0-0-5-0-0").presence
NEVER_ONLINE = given("u-0-0-5-0-0").presence
TWO_SOURCES = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", source="other")).presence
TWO_NODES = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", node="n2"), profile=Profile.V3).presence


def test_a_user_never_observed_is_unknown() -> None:
    assert derive(Presence("u"), {}, FIRST) is NEVER_OBSERVED
    assert (NEVER_OBSERVED.status, NEVER_OBSERVED.reason) == ("unknown", "never_observed")


def test_online_has_its_instant_and_cause() -> None:
    status = derive(ONLINE, {}, FIRST)
    assert (status.status, status.since, status.reason) == ("online", FIRST, None)
    assert status.cause is not None
    assert (status.cause.kind, status.cause.at, status.cause.position) == ("webhook", FIRST, 1)


def test_offline_shows_at_once_without_grace() -> None:
    status = derive(OFFLINE, {}, LEFT_AT)
    assert (status.status, status.since) == ("offline", LEFT_AT)


@pytest.mark.parametrize(
    ("presence", "sources", "expected"),
    [
        pytest.param(ONLINE, dark(), ("unknown", "source_dark"), id="dark"),
        pytest.param(OFFLINE, dark(), ("unknown", "source_dark"), id="an offline in the dark"),
        pytest.param(ONLINE, dark("other"), ("online", None), id="another source is dark"),
        pytest.param(TWO_SOURCES, dark(), ("online", None), id="online in a source that is not dark"),
        pytest.param(TWO_SOURCES, dark() | dark("other"), ("unknown", "source_dark"), id="both are dark"),
        pytest.param(ONLINE, node_down("n1"), ("unknown", "node_down"), id="node down"),
        pytest.param(OFFLINE, node_down("n1"), ("offline", None), id="an offline does not hang on a node"),
        pytest.param(ONLINE, node_down(up=("n1",)), ("online", None), id="node up"),
        pytest.param(ONLINE, node_down("n2"), ("online", None), id="another node is down"),
        pytest.param(TWO_NODES, node_down("n2", up=("n1",)), ("online", None), id="online on a living node"),
        pytest.param(TWO_NODES, node_down("n1", "n2"), ("unknown", "node_down"), id="both are down"),
    ],
)
def test_what_is_not_to_be_trusted_is_unknown(
    presence: Presence, sources: dict[str, SourceState], expected: tuple[str, str | None]
) -> None:
    assert shown(presence, sources) == expected


def test_a_session_on_a_living_node_keeps_its_device_online() -> None:
    presence = given("u-0-1-5-1-1", Step("u-0-1-6-2-2", node="n2")).presence
    assert shown(presence, node_down("n1", up=("n2",))) == ("online", None)
    assert shown(presence, node_down("n1")) == ("online", None)
    assert derive(presence, node_down("n1", "n2"), FIRST).since == DOWN_AT


def test_the_grace_period_shows_the_online_period_before() -> None:
    shows_at = LEFT_AT + 5 * SECOND
    before = derive(OFFLINE, GRACE, shows_at - 1)
    assert (before.status, before.since) == ("online", FIRST)
    after = derive(OFFLINE, GRACE, shows_at)
    assert (after.status, after.since) == ("offline", shows_at)


def test_the_grace_period_tells_when_it_ends() -> None:
    shows_at = LEFT_AT + 5 * SECOND
    assert next_change_at(OFFLINE, GRACE, shows_at - 1) == shows_at
    assert next_change_at(OFFLINE, GRACE, shows_at) is None


@pytest.mark.parametrize("presence", [Presence("u"), ONLINE, NEVER_ONLINE])
def test_nothing_else_changes_by_itself(presence: Presence) -> None:
    assert next_change_at(presence, GRACE, STARTED_AT) is None


def test_an_offline_before_any_online_shows_at_once_even_with_grace() -> None:
    status = derive(NEVER_ONLINE, GRACE, FIRST)
    assert (status.status, status.since) == ("offline", FIRST)


def test_a_node_that_failed_in_the_grace_period_changes_nothing() -> None:
    sources = {"main": replace(node_down("n1")["main"], policy=GRACE["main"].policy)}
    assert derive(OFFLINE, sources, NOW).status == "online"


LEFT_OTHER_LAST = given(
    "u-0-1-5-1-1",
    Step("u-0-1-6-1-1", source="other"),
    "u-0-0-5-0-0",
    Step("u-0-0-6-0-0", source="other"),
).presence
WITHOUT_DEVICES = replace(OFFLINE, devices=())


@pytest.mark.parametrize(
    ("presence", "sources", "seconds"),
    [
        pytest.param(OFFLINE, graceful("other"), 0.0, id="not that of a source that they were never in"),
        pytest.param(OFFLINE, graceful("a", 1.0) | GRACE | graceful("z", 9.0), 5.0, id="that of their source"),
        pytest.param(LEFT_OTHER_LAST, graceful("other", 9.0) | GRACE, 9.0, id="that of the source they left last"),
        pytest.param(LEFT_OTHER_LAST, GRACE, 0.0, id="of a source that was never configured"),
        pytest.param(WITHOUT_DEVICES, GRACE | graceful("other", 9.0), 9.0, id="the longest where none is left"),
        pytest.param(WITHOUT_DEVICES, {}, 0.0, id="nowhere a source"),
    ],
)
def test_the_grace_period_is_that_of_the_source_which_told_of_the_offline(
    presence: Presence, sources: dict[str, SourceState], seconds: float
) -> None:
    assert presence.flip is not None
    assert grace_seconds(presence, sources) == seconds
    left_at = presence.flip.since
    assert derive(presence, sources, left_at + 60 * SECOND).since == left_at + round(seconds * SECOND)
    assert longest_grace(sources) >= seconds


@pytest.mark.parametrize(
    ("sources", "plain"),
    [
        (node_down(up=("n1",)), True),
        (node_down("n1", up=("n2",)), False),
        (dark(), False),
        (GRACE, False),
    ],
)
def test_without_grace_and_doubt_a_presence_says_what_is_shown(sources: dict[str, SourceState], plain: bool) -> None:
    assert shows_presence_alone(sources["main"]) == plain
    assert shown_alone(ONLINE, sources) == shown_alone(OFFLINE, sources) == plain


def test_of_a_user_without_devices_any_source_may_have_told() -> None:
    assert not shown_alone(WITHOUT_DEVICES, GRACE)
    assert shown_alone(WITHOUT_DEVICES, node_down(up=("n1",)))
    assert shown_alone(OFFLINE, {})


def test_a_user_whom_a_dead_node_alone_held_is_back_once_the_doubt_is_over() -> None:
    assert shown(ONLINE, node_down("n1")) == ("unknown", "node_down")
    assert shown(ONLINE, {"main": SourceState("main")}) == ("online", None)


@pytest.mark.parametrize(
    ("presence", "sources", "expected"),
    [
        (ONLINE, {}, "online"),
        (OFFLINE, {}, "offline"),
        (ONLINE, dark(), "unknown"),
        (OFFLINE, dark(), "unknown"),
        (TWO_NODES, node_down("n1", up=("n2",)), "online"),
        (TWO_NODES, node_down("n1", "n2"), "unknown"),
    ],
)
def test_a_devices_status(presence: Presence, sources: dict[str, SourceState], expected: str) -> None:
    assert derive_device(presence.devices, sources.get("main")) == expected


def test_without_grace_an_offline_shows_even_where_the_clock_is_behind_it() -> None:
    status = derive(OFFLINE, {}, LEFT_AT - SECOND)
    assert (status.status, status.since) == ("offline", LEFT_AT)


def source_of(profile: Profile, **nodes: NodeState) -> dict[str, SourceState]:
    state = SourceState("main", profile=profile, node_profiles=dict.fromkeys(nodes, profile), nodes=nodes)
    return {"main": state}


UP, DOWN = NodeState(), NodeState(down_since=DOWN_AT)
V2_2, V3 = Profile.V2_2, Profile.V3


def held_by(node: str | None, seen_at: int = FIRST) -> Presence:
    device = Device("main", "", 0, FIRST, (Session(5, "n1", FIRST, seen_at, node),))
    return replace(ONLINE, devices=(device,))


@pytest.mark.parametrize(
    ("presence", "sources", "expected"),
    [
        pytest.param(held_by(None), source_of(V2_2, n1=DOWN, n2=UP), "unknown", id="v2: who holds it is not known"),
        pytest.param(held_by(None), source_of(V2_2, n1=UP, n2=UP), "online", id="v2: nobody is down"),
        pytest.param(held_by("n2"), source_of(V2_2, n1=DOWN, n2=UP), "online", id="v2: seen at the living node"),
        pytest.param(held_by("n1"), source_of(V2_2, n1=DOWN, n2=UP), "unknown", id="v2: seen at the dead one"),
        pytest.param(held_by("n3"), source_of(V2_2, n1=DOWN, n2=UP), "online", id="seen at a node that is retired"),
        pytest.param(held_by(None, DOWN_AT), source_of(V2_2, n1=DOWN), "unknown", id="last evidence when it went"),
        pytest.param(held_by(None, DOWN_AT + 1), source_of(V2_2, n1=DOWN), "online", id="evidence after it"),
        pytest.param(TWO_NODES, source_of(V3, n1=DOWN, n2=UP), "online", id="v3: another session lives"),
        pytest.param(TWO_NODES, source_of(V3, n1=DOWN, n2=DOWN), "unknown", id="v3: both are down"),
    ],
)
def test_while_a_node_is_down_what_it_holds_or_may_hold_is_not_known(
    presence: Presence, sources: dict[str, SourceState], expected: str
) -> None:
    assert shown(presence, sources)[0] == expected
    assert derive_device(presence.devices, sources["main"]) == expected


def test_a_doubt_began_when_the_last_of_the_nodes_went() -> None:
    sources = source_of(V2_2, n1=DOWN, n2=NodeState(down_since=DOWN_AT + 5))
    assert derive(held_by(None), sources, NOW).since == DOWN_AT + 5


def test_darkness_is_said_before_a_dead_node() -> None:
    sources = {"main": replace(node_down("n1")["main"], dark_since=DARK_AT)}
    assert shown(ONLINE, sources) == ("unknown", "source_dark")
    assert derive(ONLINE, sources, NOW).since == DARK_AT

"""What a look says of one user, held against what we know: rows by device flag, connections by node and connId."""

import pytest

from ledger.domain.counts import MAX_UNNAMED
from ledger.domain.drift import Difference, against_rows, attribute, is_silenced
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Located, OpenedSession
from ledger.domain.source import SourceState
from tests.support.looking import Looking, given, row
from tests.support.scenario import Step, session

ONLINE = "u-0-1-5-1-1"
TWO = ("n1", "n2")


def opened(
    conn_id: int | None = None, flag: int | None = 0, held_by: str | None = None, node: str = "n1"
) -> OpenedSession:
    return OpenedSession("", flag, conn_id, node, held_by)


def cluster(*history: Step | str, profile: Profile = Profile.V2_2) -> Looking:
    """A user of two nodes that both have said when they booted, long ago."""
    looking = given(profile=profile, nodes=TWO).boots("n1", ago=1000.0).boots("n2", ago=1000.0, after=0.0)
    looking.looks_at_nodes(n1=[], n2=[])
    return looking.hears(*history)


def lost(*history: Step | str) -> Looking:
    """The same, after n2 was not there for a moment: from then on it is noted who holds what."""
    looking = cluster().is_refused("n2").boots("n2", ago=1000.0, after=1.0)
    return looking.hears(*history)


# Rows of /user/onlinestatus.


@pytest.mark.parametrize("rows", [{0: 1}, {0: 1, 1: 0}])
def test_rows_that_agree_differ_in_nothing(rows: dict[int, int]) -> None:
    world = given(ONLINE).world
    assert against_rows(world.presence("u"), world.source, "n1", rows) == Difference()


def test_more_connections_of_a_device_than_we_know() -> None:
    looking = given(ONLINE).looks({0: 3})
    looking.then("corrected", "devices", "online", rule="poll_devices", opened=(opened(), opened()))
    looking.left(session(5), session(None), session(None))


def test_rows_make_no_more_sessions_without_a_name_than_a_count_may() -> None:
    looking = given(ONLINE).looks({0: 100_000})
    looking.left(session(5), *[session(None)] * MAX_UNNAMED)
    looking.looks({0: 100_000}).then(None, None, "online")
    looking.looks({0: 3}).looks({0: 3}).left(session(5), session(None), session(None))


def test_several_devices_at_once() -> None:
    looking = given().looks({0: 1, 1: 2, 99: 1})
    several = (opened(), opened(flag=1), opened(flag=1), opened(flag=99))
    looking.then("corrected", "missed", "online", rule="poll_missed", opened=several)


def test_a_session_of_no_device_is_of_the_device_that_a_look_tells() -> None:
    """A total of two told of another connection, not of which device."""
    looking = given("u-0-1-5-1-2").left(session(5), session(None, None)).looks({0: 1, 1: 1})
    closed = (session(None, None),)
    looking.then("corrected", "devices", "online", rule="poll_devices", opened=(opened(flag=1),), closed=closed)
    looking.left(session(5), session(None, 1))


def test_a_session_of_no_device_that_no_look_finds_is_gone() -> None:
    looking = given("u-0-1-5-1-2").looks({0: 1}).then("open", "devices", "online").looks({0: 1}, after=3.0)
    looking.then("corrected", "devices", "online", rule="poll_devices", closed=(session(None, None),)).left(session(5))


def test_the_least_certain_session_goes_first_a_nameless_one_then_the_longest_unseen() -> None:
    looking = given(ONLINE, "u-0-1-6-2-2", "u-0-1-8-4-4").hears("u-0-1-5-4-4")
    looking.looks({0: 2}).looks({0: 2}, after=3.0)
    closed = (session(None), session(6))
    looking.then("corrected", "devices", "online", rule="poll_devices", closed=closed).left(session(5), session(8))


def test_a_session_that_v3_told_of_is_its_nodes_where_there_is_one() -> None:
    looking = given(profile=Profile.V3).looks({0: 1})
    told = OpenedSession("n1", 0, None, "n1")
    looking.then("corrected", "missed", "online", rule="poll_missed", opened=(told,)).left(session(None, scope="n1"))
    looking.hears(ONLINE).left(session(5, scope="n1"))


def test_a_session_that_a_cluster_of_v3_told_of_waits_for_the_webhook_that_places_it() -> None:
    looking = given(profile=Profile.V3, nodes=TWO).looks({0: 1})
    looking.then("corrected", "missed", "online", rule="poll_missed", opened=(opened(),)).left(session(None))
    looking.hears(Step(ONLINE, node="n2")).left(session(5, scope="n2"))


def test_where_a_cluster_of_v3_told_of_a_session_its_holder_is_not_known() -> None:
    """The node that was asked spoke for all of them: when it boots, the session may live on."""
    looking = given(profile=Profile.V3, nodes=TWO).boots("n1", ago=1000.0).boots("n2", ago=1000.0, after=0.0)
    looking.looks({0: 1}, node="n1").boots("n1").left(session(None))
    assert looking.world.presence("u").status == "online"
    assert looking.world.agenda.get("u").urgent == "restart"
    placed = given(Step(ONLINE, node="n1"), profile=Profile.V3, nodes=TWO).boots("n1", ago=1.0)
    placed.left()


# Connections of /connz.


def test_connections_that_agree_leave_no_event() -> None:
    given(ONLINE).looks_at_nodes(n1=[row(5)]).then(None, None, "online")


@pytest.mark.parametrize("node", ["n1", None], ids=["v2 names the node", "v1 does not"])
def test_a_connection_that_we_do_not_know_is_opened_with_its_connid(node: str | None) -> None:
    looking = given().looks_at_nodes(n1=[row(7, node=node)])
    looking.then("corrected", "missed", "online", rule="connz_missed", opened=(opened(7),)).left(session(7))
    looking.hears(Step("u-0-1-7-1-1", after=1.0)).left(session(7))


def test_somebody_never_heard_of_is_found() -> None:
    looking = given()
    assert "u" not in looking.world.agenda
    looking.looks_at_nodes(n1=[row(7, flag=1)]).then(
        "corrected", "missed", "online", rule="connz_missed", opened=(opened(7, 1),)
    )
    assert "u" in looking.world.agenda


def test_a_ghost_needs_two_passes() -> None:
    looking = given(ONLINE).looks_at_nodes(n1=[]).then("open", "ghost", "online")
    looking.looks_at_nodes(n1=[], after=3.0)
    looking.then("corrected", "ghost", "offline", rule="connz_ghost", closed=(session(5),)).left()


def test_another_connection_of_the_same_device_is_another() -> None:
    looking = given(ONLINE).looks_at_nodes(n1=[row(6)])
    looking.then("open", "devices", "online", rule="connz_devices", opened=(opened(6),)).left(session(5), session(6))
    looking.looks_at_nodes(n1=[row(6)], after=3.0)
    looking.then("corrected", "devices", "online", rule="connz_devices", closed=(session(5),)).left(session(6))


def test_a_connection_names_the_session_that_a_count_told_of() -> None:
    looking = given("u-0-1-5-2-2").left(session(5), session(None)).looks_at_nodes(n1=[row(5), row(4)])
    looking.then(
        "corrected", "devices", "online", rule="connz_devices", opened=(opened(4),), closed=(session(None),)
    ).left(session(5), session(4))


def test_a_connection_names_a_session_of_no_device() -> None:
    looking = given("u-0-1-5-1-2").looks_at_nodes(n1=[row(5), row(4, flag=1)])
    closed = (session(None, None),)
    looking.then("corrected", "devices", "online", rule="connz_devices", opened=(opened(4, 1),), closed=closed)
    looking.left(session(5), session(4, 1))


@pytest.mark.parametrize("flag", [4, 5, 99])
def test_custom_flags_have_one_label_and_match_by_connid(flag: int) -> None:
    given(f"u-{flag}-1-5-1-1").looks_at_nodes(n1=[row(5, flag=None)]).then(None, None, "online")


def test_the_label_of_a_custom_flag_is_no_app() -> None:
    looking = given(ONLINE).looks_at_nodes(n1=[row(5, flag=None)])
    looking.then("open", "devices", "online", rule="connz_devices", opened=(opened(5, None),))


def test_a_nameless_session_of_a_custom_flag_keeps_its_flag() -> None:
    looking = given("u-4-1-5-2-2").looks_at_nodes(n1=[row(5, flag=None), row(6, flag=None)])
    closed = (session(None, 4),)
    looking.then("corrected", "devices", "online", rule="connz_devices", opened=(opened(6, 4),), closed=closed)


def test_a_connection_whose_device_nobody_tells_is_one_of_no_device() -> None:
    looking = given().looks_at_nodes(n1=[row(5, flag=None)])
    looking.then("corrected", "missed", "online", rule="connz_missed", opened=(opened(5, None),))
    looking.looks_at_nodes(n1=[row(5, flag=None)]).then(None, None, "online").left(session(5, None))


def test_two_nodes_may_use_one_connid_for_two_connections() -> None:
    looking = lost(ONLINE).looks_at_nodes(n1=[row(5)], n2=[row(5, node="n2")])
    both = (opened(5, held_by="n2", node="n2"),)
    looking.then(
        "corrected", "devices", "online", rule="connz_devices", opened=both, located=(Located(session(5), "n1"),)
    )
    looking.looks_at_nodes(n1=[row(5)], n2=[row(5, node="n2")]).then(None, None, "online")
    looking.looks_at_nodes(n1=[], n2=[row(5, node="n2")]).then("open", "devices", "online")


def test_rows_of_other_nodes_are_memories_and_no_evidence() -> None:
    looking = cluster(ONLINE).looks_at_nodes(n1=[row(5, node="n2")], n2=[])
    looking.then("open", "ghost", "online")


def test_after_a_node_was_lost_sessions_are_located() -> None:
    looking = lost(ONLINE).looks_at_nodes(n1=[], n2=[row(5, node="n2")])
    located = (Located(session(5), "n2"),)
    looking.then(None, None, "online", rule="connz_located", located=located)
    (held,) = looking.world.presence("u").devices[0].sessions
    assert (held.held_by, held.seen_at) == ("n2", looking.world.at)
    assert looking.world.presence("u").last_seen_at == looking.world.at
    looking.looks_at_nodes(n1=[], n2=[row(5, node="n2")]).then(None, None, "online")


def test_what_is_nowhere_else_is_at_the_silent_node_but_that_is_no_evidence() -> None:
    looking = cluster(ONLINE)
    seen = looking.world.presence("u").last_seen_at
    looking.looks_at_nodes(n1=[], n2=None)
    located = (Located(session(5), "n2", seen=False),)
    looking.then(None, None, "online", rule="connz_located", located=located)
    (held,) = looking.world.presence("u").devices[0].sessions
    assert (held.held_by, held.seen_at) == ("n2", seen)
    assert looking.world.presence("u").last_seen_at == seen


def test_a_silent_node_keeps_what_it_was_seen_to_hold() -> None:
    looking = lost(ONLINE).looks_at_nodes(n1=[], n2=[row(5, node="n2")])
    looking.looks_at_nodes(n1=[], n2=None).then(None, None, "online")
    looking.looks_at_nodes(n1=None, n2=[]).then("open", "ghost", "online")


def test_nobody_is_missed_who_may_be_at_one_of_several_silent_nodes() -> None:
    looking = given(ONLINE, nodes=("n1", "n2", "n3")).boots("n1", ago=1000.0)
    looking.looks_at_nodes(n1=[], n2=None, n3=None)
    assert looking.judged is None
    looking.looks_at_nodes(n1=[row(5)], n2=None, n3=None).then(None, None, "online")


def test_nobody_never_observed_is_said_to_be_away_by_some_nodes_alone() -> None:
    looking = given(nodes=TWO).boots("n1", ago=1000.0).boots("n2", ago=1000.0).looks_at_nodes(n1=[], n2=None)
    assert looking.judged is None
    assert looking.due_in == 4.0
    looking.looks_at_nodes(n1=[], n2=[]).then(None, None, "offline", rule="connz_absent")


def test_a_boot_since_the_last_evidence_proves_that_a_session_is_over() -> None:
    looking = cluster(ONLINE).boots("n2").looks_at_nodes(n1=[], n2=[])
    looking.then("corrected", "ghost", "offline", rule="connz_after_boot", closed=(session(5),))
    assert (looking.correction.looks, looking.correction.attributed_to) == (1, "restart")


def test_a_boot_of_another_node_than_its_holder_proves_nothing() -> None:
    looking = lost(ONLINE).looks_at_nodes(n1=[row(5)], n2=[]).boots("n2").looks_at_nodes(n1=[], n2=[])
    looking.then("open", "ghost", "online")


def test_evidence_within_the_boots_interval_proves_nothing() -> None:
    looking = cluster(ONLINE).boots("n2", after=0.5, ago=0.0, long_held=2.0).looks_at_nodes(n1=[], n2=[])
    looking.then("open", "ghost", "online")


def test_a_connection_that_came_back_with_the_boot_replaces_the_one_before_at_once() -> None:
    looking = cluster(ONLINE).boots("n2").looks_at_nodes(n1=[], n2=[row(1, node="n2")])
    again = (opened(1, held_by="n2", node="n2"),)
    looking.then("corrected", "devices", "online", rule="connz_after_boot", opened=again, closed=(session(5),))


# Attribution.


def source(profile: Profile = Profile.V2_2, last_webhook: int | None = 100, **nodes: NodeState) -> SourceState:
    at = None if last_webhook is None else last_webhook * SECOND
    return SourceState("main", profile=profile, nodes=nodes or {"n1": NodeState()}, last_webhook_at=at)


@pytest.mark.parametrize(
    ("state", "uid", "drift", "agreed", "expected"),
    [
        pytest.param(source(n1=NodeState(down_since=1)), "u", "ghost", 50, "node", id="a node is down"),
        pytest.param(source(n1=NodeState(boot=(59, 60 * SECOND))), "u", "ghost", 50, "restart", id="booted since"),
        pytest.param(source(n1=NodeState(boot=(39, 40 * SECOND))), "u", "ghost", 50, "gap", id="booted before"),
        pytest.param(source(n1=NodeState(boot=(59, 60 * SECOND))), "u", "missed", None, "gap", id="never agreed"),
        pytest.param(source(), "bob", "ghost", 50, "upstream_defect", id="silenced"),
        pytest.param(source(), "bob", "missed", 50, "gap", id="onlines are not silenced"),
        pytest.param(source(Profile.V3), "bob", "ghost", 50, "gap", id="nor are they by v3"),
        pytest.param(source(last_webhook=None), "u", "ghost", 50, "sender", id="never a webhook"),
        pytest.param(source(last_webhook=49), "u", "ghost", 50, "sender", id="none since"),
        pytest.param(source(last_webhook=50), "u", "ghost", 50, "gap", id="one since"),
    ],
)
def test_why_webhooks_did_not_say_it(
    state: SourceState, uid: str, drift: str, agreed: int | None, expected: str
) -> None:
    at = None if agreed is None else agreed * SECOND
    assert attribute(state, uid, "n1", "ghost" if drift == "ghost" else "missed", at) == expected


@pytest.mark.parametrize("uid", ["bob", "u36", "49"])
def test_whom_some_versions_never_report_offline(uid: str) -> None:
    assert [is_silenced(uid, profile) for profile in Profile] == [False, True, True, False]
    assert not is_silenced(uid + "y", Profile.V2_2)


def test_a_uid_of_any_characters_has_its_slot() -> None:
    assert is_silenced("40\ud800", Profile.V2_2)
    assert not is_silenced("用户\ud800", Profile.V2_2)


def test_a_node_of_another_profile_silences_by_its_own() -> None:
    mixed = SourceState("main", profile=Profile.V3, node_profiles={"n1": Profile.V2_2, "n2": Profile.V3})
    mixed_states = [attribute(mixed, "bob", node, "ghost", None) for node in ("n1", "n2")]
    assert mixed_states == ["upstream_defect", "sender"]

"""Looks in clusters that count together: missing rows, rows of closed connections, who a dead node may have held."""

from typing import Any

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Located
from ledger.domain.sweeps import swept_by_retirement
from ledger.sources.wukongim.answers import NodeConnection as Row
from tests.support.looking import Looking, given, row
from tests.support.scenario import Step, session

TWO = ("n1", "n2")
ONLINE, OFFLINE = "u-0-1-5-1-1", "u-0-0-5-0-0"


def cluster(*history: Step | str, nodes: tuple[str, ...] = TWO) -> Looking:
    """A user of nodes that all have said when they booted, long ago, and whose connections have been looked at."""
    looking = given(nodes=nodes)
    for node in nodes:
        looking.boots(node, ago=1000.0, after=1.0)
    nothing: dict[str, Any] = {node: [] for node in nodes}
    looking.looks_at_nodes(**nothing)
    return looking.hears(*history)


def up(seconds: int, conn_id: int = 5, node: str = "n1") -> Row:
    return row(conn_id, node=node)._replace(up_seconds=seconds)


# Rows that are missing.


def test_a_missing_row_ends_nothing_and_only_connections_tell() -> None:
    looking = cluster(ONLINE)
    verified_at = looking.world.agenda.get("u").verified_at
    looking.looks({}).then(None, None, "online").looks({}, after=60.0).then(None, None, "online")
    assert looking.judged is not None
    assert (looking.judged.said_nothing, looking.judged.waits, looking.judged.agreed) == (True, True, False)
    assert looking.world.agenda.get("u").verified_at == verified_at
    looking.looks_at_nodes(n1=[row(5)], n2=[]).then(None, None, "online")
    assert looking.judged.agreed


def test_of_one_who_is_offline_a_missing_row_tells_nothing_either_and_nobody_waits_for_more() -> None:
    looking = cluster(ONLINE, OFFLINE).looks({}).then(None, None, "offline")
    assert looking.judged is not None
    assert (looking.judged.said_nothing, looking.judged.waits) == (True, False)


def test_a_row_tells_of_a_connection_all_the_same() -> None:
    looking = cluster(ONLINE).looks({0: 1})
    assert looking.judged is not None
    assert looking.judged.agreed
    looking.looks({1: 1})
    looking.then("corrected", "devices", "online", rule="poll_devices", opened=looking.correction.opened)
    looking.left(session(5), session(None, 1))


def test_a_missing_row_leaves_a_doubt_as_it_was() -> None:
    looking = cluster(ONLINE).looks_at_nodes(n1=[], n2=[]).then("open", "ghost", "online")
    looking.looks({}, after=3.0).then(None, None, "online")
    looking.looks_at_nodes(n1=[], n2=[], after=3.0)
    looking.then("corrected", "ghost", "offline", rule="connz_ghost", closed=(session(5),))


# Rows of connections that an offline has closed.


def test_what_an_offline_has_closed_opens_nothing_again_however_often_it_is_listed() -> None:
    looking = given(ONLINE, OFFLINE)
    for _ in range(3):
        looking.looks_at_nodes(n1=[up(100)]).then(None, None, "offline").hears(OFFLINE)
    assert looking.judged is not None
    assert looking.judged.contradicted == 1
    assert [event.findings for event in looking.polls()] == []


def test_what_a_look_alone_has_closed_opens_again() -> None:
    looking = given(ONLINE).looks_at_nodes(n1=[]).looks_at_nodes(n1=[], after=3.0).left()
    looking.looks_at_nodes(n1=[row(5)]).left(session(5))


def test_a_later_boot_begins_the_numbers_anew() -> None:
    looking = given(ONLINE, OFFLINE).boots("n1").looks_at_nodes(n1=[row(5)])
    looking.left(session(5))


@pytest.mark.parametrize(
    ("seconds", "nodes", "left"),
    [
        pytest.param(10, TWO, 1, id="about when the offline came: at another node, of the same number"),
        pytest.param(20, TWO, 0, id="long before: the very connection"),
        pytest.param(None, TWO, 0, id="nobody tells when"),
        pytest.param(10, ("n1",), 0, id="one node gives each number once"),
    ],
)
def test_in_a_cluster_the_uptime_tells_two_connections_of_one_number_apart(
    seconds: int | None, nodes: tuple[str, ...], left: int
) -> None:
    looking = cluster(ONLINE, OFFLINE, nodes=nodes)
    last = nodes[-1]
    listed = row(5, node=last)._replace(up_seconds=seconds)
    found: dict[str, Any] = {node: [listed] if node == last else [] for node in nodes}
    looking.looks_at_nodes(after=10.0, **found)
    looking.left(*[session(5)] * left)


# Who a node that is down may have held.


def at(node: str, *, seen: bool = True) -> dict[str, tuple[Located, ...]]:
    return {"located": (Located(session(5), node, seen=seen),)}


def test_what_opened_before_a_node_went_may_be_at_it() -> None:
    looking = cluster(ONLINE).is_refused("n2", times=3).looks_at_nodes(n1=[], n2=None, after=1.0)
    looking.then(None, None, "online", rule="connz_located", **at("n2", seen=False))


def test_what_was_heard_of_after_a_node_went_is_not_at_it() -> None:
    looking = cluster().is_refused("n2", times=3).hears(ONLINE)
    looking.looks_at_nodes(n1=[], n2=None).then("open", "ghost", "online")
    looking.looks_at_nodes(n1=[], n2=None, after=3.0)
    looking.then("corrected", "ghost", "offline", rule="connz_ghost", closed=(session(5),))


# Offlines after a boot.


def test_after_a_boot_an_offline_is_doubted_until_all_connections_have_settled_it() -> None:
    looking = cluster(ONLINE).is_refused("n2").boots("n2", ago=0.0, after=5.0)
    looking.looks_at_nodes(n1=[row(5)], n2=None).hears(OFFLINE)
    assert looking.world.shown("u").status == "unknown"
    looking.looks_at_nodes(n1=[up(100)], n2=[], after=3.0)
    assert looking.world.shown("u").status == "unknown", "n1 lists what was said offline"
    looking.looks_at_nodes(n1=[], n2=[], after=3.0)
    assert looking.world.shown("u").status == "offline"


def test_whom_the_boot_itself_has_ended_is_offline_at_once() -> None:
    looking = cluster(ONLINE).is_refused("n2").looks_at_nodes(n1=[], n2=None, after=1.0)
    looking.boots("n2", ago=0.0, after=5.0)
    assert not looking.world.source.nodes["n2"].swept
    assert looking.world.shown("u").status == "offline"


def test_an_offline_of_before_the_boot_is_not_doubted() -> None:
    looking = cluster(ONLINE, OFFLINE).is_refused("n2").boots("n2", ago=0.0, after=5.0)
    assert looking.world.shown("u").status == "offline"


# Nodes that the settings no longer name.


def test_where_no_look_will_tell_who_told_of_a_session_stands_for_who_held_it() -> None:
    looking = cluster(ONLINE)
    looking.world.configure({"n2": Profile.V2_2}, Profile.V2_2, DEFAULT_POLICY)
    presence, source = looking.world.presence("u"), looking.world.source
    assert swept_by_retirement(presence, source, "n1") == ((), True)
    assert swept_by_retirement(presence, source, "n1", by_sender=True) == ((session(5),), False)
    assert source.clustered_until is not None
    assert looking.world.at - source.clustered_until < SECOND


# A cluster of v3: a row does not tell its node.


def v3(*history: Step | str) -> Looking:
    """A user of a cluster of v3, with one connection that a look found and no webhook named."""
    return given(*history, profile=Profile.V3, nodes=TWO).looks({0: 1})


def test_v3_the_offline_of_a_node_ends_what_a_look_told_of_without_its_node() -> None:
    looking = v3().left(session(None)).hears(Step("u-0-0-7-0-0", node="n2")).left()
    assert looking.world.presence("u").status == "offline"
    # Most likely that one: the user is looked at at once, and a row brings it back.
    assert looking.world.agenda.get("u").urgent == "late_offline"
    looking.looks({0: 1}).left(session(None))


def test_v3_of_another_device_it_ends_nothing() -> None:
    looking = v3().hears(Step("u-1-0-7-0-0", node="n2")).left(session(None))
    assert looking.world.presence("u").status == "online"


def test_v3_what_another_node_was_heard_to_hold_stays() -> None:
    looking = given(Step("u-0-1-5-1-1", node="n1"), profile=Profile.V3, nodes=TWO).looks({0: 2})
    looking.left(session(5, scope="n1"), session(None)).hears(Step("u-0-0-7-0-0", node="n2"))
    looking.left(session(5, scope="n1"))


def test_v3_a_count_that_is_not_zero_is_held_to_what_the_node_was_heard_to_hold() -> None:
    looking = given(Step("u-0-1-5-1-1", node="n2"), profile=Profile.V3, nodes=TWO).looks({0: 2})
    looking.hears(Step("u-0-0-7-1-1", node="n2")).left(session(5, scope="n2"))
    looking.looks({0: 2}).hears(Step("u-0-0-8-0-1", node="n2")).left(session(None, None, scope="n2"))

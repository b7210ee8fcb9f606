"""What a source is asked and believed, whose looks count while a node is silent, and sweeps with their bounds."""

import pytest
from msgspec.structs import replace

from ledger.domain.events import Configured
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY, RULES_VERSION
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeSettled, Swept
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.sweeps import swept_by_boot
from ledger.reconcile.plan import (
    CONNECTIONS,
    LEADER_MEMORY_SECONDS,
    NUMBER_UNKNOWN,
    ROUTE_LIFE_SECONDS,
    ROWS,
    LookRoute,
    Wait,
    answering,
    has_connections,
    is_settled_by,
    needs_connections,
    own_connections,
    own_connections_of_all,
    route_for,
    silent_node,
    swept,
    union_connections,
)
from ledger.sources.wukongim.answers import NodeConnections, Unanswered
from tests.support.looking import Looking, given, row
from tests.support.reconciler import STARTED_AT
from tests.support.scenario import Step, session

T = 1_800_000_000 * SECOND
DOWN = NodeState(down_since=T)
BOOTED = NodeState(down_since=T, boot=(T, T), swept=False)
V2, V3 = Profile.V2_2, Profile.V3
A_SECOND_ON = Wait(T + SECOND)


def source(profile: Profile, nodes: int = 2, *, lost: float | None = None, **states: NodeState) -> SourceState:
    """`lost`: so many seconds ago its cluster lost a node."""
    return SourceState(
        "main",
        profile=profile,
        node_profiles={f"n{n}": profile for n in range(1, nodes + 1)},
        nodes=states,
        lost_node_at=None if lost is None else T - round(lost * SECOND),
    )


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        pytest.param(source(V2, 1), ROWS, id="one node"),
        pytest.param(source(V2, 1, lost=1), ROWS, id="one node that booted: its rows are right at once"),
        pytest.param(source(V3, 1, lost=1), ROWS, id="v3: one node that booted"),
        pytest.param(source(V2, 1, n1=DOWN), A_SECOND_ON, id="the only node is down"),
        pytest.param(source(V2, 1, n1=BOOTED), ROWS, id="the only node is back, and not swept yet"),
        pytest.param(source(V2), ROWS, id="v2: a cluster that lost nobody"),
        pytest.param(source(V2, lost=1), CONNECTIONS, id="v2: a cluster that lost a node"),
        pytest.param(source(V2, lost=1, n2=DOWN), CONNECTIONS, id="v2: while it is down"),
        pytest.param(source(V2, lost=1, n1=DOWN, n2=DOWN), A_SECOND_ON, id="v2: all are down"),
        pytest.param(source(V2, lost=LEADER_MEMORY_SECONDS - 1), CONNECTIONS, id="v2: while leaders remember"),
        pytest.param(source(V2, lost=LEADER_MEMORY_SECONDS), ROWS, id="v2: once they have forgotten"),
        pytest.param(source(V3), ROWS, id="v3: a cluster that lost nobody"),
        pytest.param(source(V3, lost=1, n2=DOWN), A_SECOND_ON, id="v3: while a node is down"),
        pytest.param(source(V3, lost=30), Wait(T + 60 * SECOND), id="v3: for the life of its routes"),
        pytest.param(source(V3, lost=ROUTE_LIFE_SECONDS), ROWS, id="v3: after it"),
        pytest.param(SourceState("main"), ROWS, id="nothing is configured"),
    ],
)
def test_what_is_believed_now(state: SourceState, expected: LookRoute | Wait) -> None:
    assert route_for(state, T) == expected


@pytest.mark.parametrize(
    ("state", "has", "needs"),
    [
        (source(V2, 1), True, False),
        (source(V2, 2), True, True),
        (source(V3, 1), False, False),
        (source(V3, 2), False, False),
        (replace(source(V2, 2), node_profiles={"n1": V2, "n2": V3}), False, False),
    ],
)
def test_where_connections_can_and_must_be_asked_for(state: SourceState, has: bool, needs: bool) -> None:
    assert (has_connections(state), needs_connections(state)) == (has, needs)


def test_who_can_be_asked() -> None:
    assert answering(source(V2, 3, n1=DOWN, n2=BOOTED)) == {"n2", "n3"}


@pytest.mark.parametrize(
    ("answered", "expected"), [(["n1", "n2"], None), (["n1"], "n2"), ([], None), (["n2", "n9"], "n1")]
)
def test_the_one_node_that_is_silent(answered: list[str], expected: str | None) -> None:
    assert silent_node(source(V2), answered) == expected


def test_the_union_is_of_every_nodes_own_sockets() -> None:
    state = source(V2, n1=NodeState(node_id=1001), n2=NodeState(node_id=1002))
    answers = {
        "n1": NodeConnections([row(1), row(2, node="n2")], 1),
        "n2": NodeConnections([row(2, flag=1, node="n2")], 1),
    }
    union = union_connections(own_connections_of_all(state, answers), T)
    assert {uid: [(c.node, c.conn_id, c.device_flag) for c in each] for uid, each in union.items()} == {
        "u": [("n1", 1, 0), ("n2", 2, 1)]
    }


def test_all_sockets_of_a_single_node_are_its_own() -> None:
    state = source(V2, 1, n1=NodeState(node_id=7))
    rows = [row(1), row(2, node="n2")]
    assert own_connections(state, "n1", NodeConnections(rows, 2)) == rows


def test_the_sockets_of_a_node_whose_number_is_unknown_are_not_told_from_others() -> None:
    answers = {"n1": NodeConnections([row(1)], 1)}
    assert own_connections(source(V2), "n1", answers["n1"]) == NUMBER_UNKNOWN
    assert own_connections_of_all(source(V2), answers) == {}


@pytest.mark.parametrize(
    ("rows", "sockets", "believed"),
    [(12, 10, True), (37, 24, True), (100, 0, True), (101, 0, False), (500, 100, True), (501, 100, False)],
)
@pytest.mark.parametrize("state", [NodeState(node_id=1001), NodeState()], ids=["named", "unnamed"])
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_node_has_about_as_many_rows_of_its_own_as_sockets(
    nodes: int, state: NodeState, rows: int, sockets: int, *, believed: bool
) -> None:
    """The first two were recorded; a crowd that goes at once is counted after its rows were written."""
    if nodes > 1 and state.node_id is None:
        return
    own = [row(number) for number in range(rows)]
    of_others = [row(number, node="n2") for number in range(200)] if nodes > 1 else []
    expected = own if believed else Unanswered(f"{rows} connections of {sockets} sockets", answered=True)
    assert own_connections(source(V2, nodes, n1=state), "n1", NodeConnections(own + of_others, sockets)) == expected


# Sweeps.


def sweep_of(looking: Looking) -> Swept:
    (event,) = [kept.event for kept in looking.world.kept if isinstance(kept.event, Swept)]
    return event


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        pytest.param(-2.000001, False, id="evidence before the interval"),
        pytest.param(-2.0, True, id="at its begin"),
        pytest.param(-1.0, True, id="within"),
        pytest.param(0.0, True, id="at its end"),
        pytest.param(0.000001, True, id="after it"),
    ],
)
def test_a_boot_ends_what_shows_no_sign_of_life_since(seen: float, left: bool) -> None:
    """The interval is of two seconds, and its end is 10 s ago."""
    looking = given(Step("u-0-1-5-1-1", after=1000.0 + seen)).looks({0: 1}, after=0.0, takes=0.0)
    looking.boots(ago=5000.0, after=0.0)
    looking.boots(ago=10.0, long_held=2.0, after=10.0 - seen)
    looking.left(*([session(5)] if left else []))
    assert looking.world.presence("u").status == ("online" if left else "offline")
    is_suspect = looking.world.agenda.get("u").urgent == "restart"
    assert is_suspect == (seen <= 0.0)


def test_a_sweep_tells_its_bounds_and_its_proof() -> None:
    looking = given("u-0-1-5-1-1").boots(ago=1000.0).boots(ago=2.0, long_held=1.0)
    event = sweep_of(looking)
    at = looking.world.at
    boot_position = looking.world.source.nodes["n1"].boot_position
    assert (event.rule, event.earliest, event.latest) == ("restart", STARTED_AT + 10 * SECOND, at - 2 * SECOND)
    assert (event.evidence, event.status_before, event.status_after) == (boot_position, "online", "offline")
    assert event.ended == (session(5),)
    assert looking.world.source.nodes["n1"].swept


def test_a_sessions_evidence_on_both_sides_of_the_boot_keeps_it() -> None:
    """A second online is fresh evidence; that the connection began again the counts tell."""
    looking = given("u-0-1-1-1-1").boots(ago=1000.0)
    looking.world.pass_time(10.0)
    looking.world.hear("n1", "u-0-1-1-1-1")
    looking.boots(ago=5.0, after=1.0).left(session(1))


def test_what_is_swept_beside_what_stays_keeps_the_user_online() -> None:
    looking = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", node="n2"), profile=V3, nodes=("n1", "n2"))
    looking.boots("n1", ago=1000.0).boots("n2", ago=1000.0).boots("n2", ago=1.0)
    event = sweep_of(looking)
    assert (event.node, event.ended, event.status_after) == ("n2", (session(6, scope="n2"),), "online")
    looking.left(session(5, scope="n1"))


def test_a_sweeps_bounds_are_those_of_what_it_ends_where_others_look_alike() -> None:
    """Two nameless sessions, one implied by a count before the boot, one found by a look after it."""
    looking = given("u-0-1-5-2-2").boots(ago=1000.0)
    looking.world.pass_time(10.0)
    booted_at = looking.world.at
    looking.hears(Step("u-0-1-1-3-3", after=1.0), Step("u-0-1-2-5-5", after=1.0))
    looking.boots(after=1.0, ago=(looking.world.at + SECOND - booted_at) / SECOND)
    event = sweep_of(looking)
    assert event.ended == (session(5),)
    assert event.earliest == STARTED_AT + 10 * SECOND


def test_in_a_cluster_whose_senders_are_not_the_holders_a_boot_sweeps_what_was_located_alone() -> None:
    looking = given("u-0-1-5-1-1", nodes=("n1", "n2")).boots("n1", ago=1000.0).boots("n2", ago=1000.0)
    looking.looks_at_nodes(n1=[], n2=[row(5, node="n2")]).is_refused("n2")
    looking.looks_at_nodes(n1=[], n2=None).hears("u-1-1-6-1-2")
    looking.boots("n2", ago=1.0)
    assert sweep_of(looking).ended == (session(5),)
    looking.left(session(6, 1))
    assert not looking.world.source.nodes["n2"].swept
    looking.looks_at_nodes(n1=[row(6, 1)], n2=[])
    assert looking.world.source.nodes["n2"].swept


def test_a_node_whose_boot_is_not_known_ends_nothing() -> None:
    looking = given("u-0-1-5-1-1")
    assert swept_by_boot(looking.world.presence("u"), looking.world.source, "n1") == ((), False)


def test_of_a_session_that_is_not_there_there_is_no_evidence() -> None:
    world = given("u-0-1-5-1-1").world
    assert swept(world.presence("u"), world.source, "n1", (session(9),), T, "r", 1).earliest is None
    assert swept(world.presence("u"), world.source, "n1", (session(5, 1),), T, "r", 1).earliest is None


def test_retired_nodes_end_their_sessions() -> None:
    looking = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", node="n2"), profile=V3, nodes=("n1", "n2"))
    looking.world.pass_time(1.0)
    looking.world.configure({"n1": V3}, V3, DEFAULT_POLICY)
    event = sweep_of(looking)
    (proof,) = [kept.event for kept in looking.world.kept if kept.position == event.evidence]
    assert isinstance(proof, Configured)
    assert (event.rule, event.node, event.ended) == ("node_retired", "n2", (session(6, scope="n2"),))
    assert (event.earliest, event.latest) == (STARTED_AT + 20 * SECOND, None)
    looking.left(session(5, scope="n1"))
    assert looking.world.source.retired == {}
    assert isinstance(looking.world.kept[-1].event, NodeSettled)


def test_of_a_cluster_that_counts_together_only_what_was_seen_at_the_retired_node_ends_with_it() -> None:
    looking = given("u-0-1-5-1-1", Step("u-1-1-6-1-2", node="n2"), nodes=("n1", "n2"))
    looking.boots("n1").boots("n2").looks_at_nodes(n1=[row(6, 1)], n2=[row(5, node="n2")])
    looking.hears(Step("u-2-1-7-1-3", node="n2"))
    looking.world.configure({"n1": V2}, V2, DEFAULT_POLICY)
    # The one that n2 told of may be at n1, as the other was.
    looking.left(session(6, 1), session(7, 2))


@pytest.mark.parametrize(
    ("profile", "nodes", "left", "booted", "expected"),
    [
        pytest.param(V2, 1, 1, None, True, id="one node, ever"),
        pytest.param(V2, 2, 2, None, False, id="a cluster that counts together"),
        pytest.param(V3, 2, 2, None, True, id="v3"),
        pytest.param(V2, 2, 1, None, False, id="the node that is left of a cluster"),
        pytest.param(V2, 2, 1, -1, False, id="whose boot was before"),
        pytest.param(V2, 2, 1, 1, True, id="which has booted since"),
    ],
)
def test_where_a_missing_row_tells_that_somebody_is_offline(
    profile: Profile, nodes: int, left: int, booted: int | None, *, expected: bool
) -> None:
    names = {f"n{n}": profile for n in range(1, left + 1)}
    configured = Configured(
        at=T, instance="i", policy=DEFAULT_POLICY, profile=profile, nodes=names, rules_version=RULES_VERSION
    )
    state = evolve_source(source(profile, nodes), configured, 1)
    if booted is not None:
        at = T + booted * SECOND
        boot = NodeBooted(node="n1", at=at, earliest=at, latest=at, route="/varz")
        state = evolve_source(state, boot, 2)
    assert state.absence_tells == expected


def test_a_cluster_that_refuses_its_token_is_looked_at_through_its_connections() -> None:
    assert route_for(source(V2), T, names=False) is CONNECTIONS
    assert route_for(source(V2), T, ["n1"], names=False) is ROWS
    assert route_for(source(V3), T, names=False) is ROWS


@pytest.mark.parametrize(
    ("node", "contradicted", "expected"),
    [
        pytest.param(BOOTED, 0, True, id="all is clear"),
        pytest.param(NodeState(), 0, False, id="nothing to settle"),
        pytest.param(BOOTED, 1, False, id="an offline is contradicted"),
        pytest.param(replace(BOOTED, boot=(T, T - 60 * SECOND)), 1, True, id="for a minute"),
        pytest.param(replace(BOOTED, boot=(T, T + 2 * SECOND)), 0, False, id="asked before the boot was over"),
    ],
)
def test_connections_settle_a_boot(node: NodeState, contradicted: int, *, expected: bool) -> None:
    assert is_settled_by(node, T + SECOND, contradicted) == expected


def test_a_connection_began_when_its_uptime_says() -> None:
    up = row(1)._replace(up_seconds=5)
    (connection,) = union_connections({"n1": [up]}, T + 300_000)["u"]
    assert connection.began_at == T - 5 * SECOND

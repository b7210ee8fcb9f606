"""A source's state after what reconciliation found: nodes down, booted, settled, retired; runs, darkness, breaker."""

import pytest

from ledger.domain.event_types import SourceEvent
from ledger.domain.events import Configured
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Device, Session
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import (
    BreakerClosed,
    BreakerOpened,
    NodeBooted,
    NodeDown,
    NodeSettled,
    PollObserved,
    RunCounts,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
)
from ledger.domain.source import SourceState, evolve_source

T = 1_800_000_000 * SECOND


def configured(*nodes: str, profile: Profile = Profile.V2_2) -> Configured:
    names = dict.fromkeys(nodes, profile)
    return Configured(at=T, instance="i", policy=DEFAULT_POLICY, profile=profile, nodes=names, rules_version=1)


def after(*events: SourceEvent) -> SourceState:
    """A source of n1 and n2 after these events, which stand at positions 2, 3, …"""
    source = evolve_source(SourceState("main"), configured("n1", "n2"), 1)
    for position, event in enumerate(events, 2):
        source = evolve_source(source, event, position)
    assert source.version == len(events) + 1
    return source


def down(at: float, since: float, node: str = "n1") -> NodeDown:
    return NodeDown(node=node, at=T + round(at * SECOND), since=T + round(since * SECOND), reason="refused")


def booted(at: float, node: str = "n1", *, node_id: int | None = None, first: bool = False) -> NodeBooted:
    return NodeBooted(
        node=node,
        at=T + round(at * SECOND),
        earliest=T + round((at - 2) * SECOND),
        latest=T + round((at - 1) * SECOND),
        route="/varz",
        node_id=node_id,
        first=first,
    )


def settled(at: float, node: str = "n1", *, booted: bool = False) -> NodeSettled:
    return NodeSettled(node=node, at=T + round(at * SECOND), booted=booted)


def test_a_node_is_down_since_its_first_failed_probe() -> None:
    source = after(down(5, 3))
    assert source.nodes["n1"].down_since == T + 3 * SECOND
    assert source.lost_node_at == T + 3 * SECOND


def test_a_node_that_is_down_is_so_since_the_first_time() -> None:
    assert after(down(5, 3), down(9, 8)).nodes["n1"].down_since == T + 3 * SECOND


def test_a_node_that_answers_as_before_is_believed_again_but_was_lost() -> None:
    source = after(down(5, 3), settled(7))
    assert source.nodes["n1"].down_since is None
    assert source.lost_node_at == T + 3 * SECOND


def test_a_boot_puts_in_doubt_what_was_known_before_it_until_that_is_swept() -> None:
    source = after(booted(10, node_id=1001))
    state = source.nodes["n1"]
    assert (state.down_since, state.boot, state.boot_position) == (T + 8 * SECOND, (T + 8 * SECOND, T + 9 * SECOND), 2)
    assert (state.swept, state.node_id, source.lost_node_at) == (False, 1001, T + 9 * SECOND)
    state = after(booted(10, node_id=1001), settled(11, booted=True)).nodes["n1"]
    assert (state.down_since, state.swept, state.boot) == (None, True, (T + 8 * SECOND, T + 9 * SECOND))


def test_the_boot_of_a_node_that_was_down_ends_no_doubt_of_its_own() -> None:
    assert after(down(5, 3), booted(10)).nodes["n1"].down_since == T + 3 * SECOND


def test_a_boot_that_does_not_name_the_node_leaves_its_number() -> None:
    assert after(booted(10, node_id=1001), booted(20)).nodes["n1"].node_id == 1001


def test_connids_begin_anew_with_a_boot_but_not_with_the_first_we_learn_of() -> None:
    known = SourceState("main", nodes={"n1": NodeState(highest_conn_id=9)})
    assert evolve_source(known, booted(10), 2).nodes["n1"].highest_conn_id == 0
    first = evolve_source(known, booted(10, first=True), 2)
    assert first.nodes["n1"].highest_conn_id == 9
    assert (first.nodes["n1"].down_since, first.lost_node_at) == (None, None)


def test_runs_are_open_until_they_end() -> None:
    started = RunStarted(run="r", at=T, instance="i", scope="restart", node="n1")
    source = after(started)
    assert source.open_runs == {"r": OpenRun(T, "restart", "n1")}
    ended = RunEnded(run="r", at=T, started_at=T, scope="restart", outcome="completed", counts=RunCounts())
    assert after(started, RunStarted(run="s", at=T, instance="i", scope="rotation"), ended).open_runs.keys() == {"s"}


def test_a_run_of_which_a_slice_has_cut_out_everybody_is_nobodys_to_make() -> None:
    named = RunStarted(run="r", at=T, instance="i", scope="manual", users=2, uids=("u", "v"))
    everybody = RunStarted(run="s", at=T, instance="i", scope="manual")
    cut = RunStarted(run="t", at=T, instance="i", scope="manual", users=2)
    known = RunStarted(run="v", at=T, instance="i", scope="restart", node="n1", users=2)
    source = after(named, everybody, cut, known)
    assert source.open_runs == {
        "r": OpenRun(T, "manual", None, ("u", "v")),
        "s": OpenRun(T, "manual"),
        "v": OpenRun(T, "restart", "n1"),
    }
    ended = RunEnded(run="t", at=T, started_at=T, scope="manual", outcome="completed", counts=RunCounts())
    assert after(cut, ended).open_runs == {}


def test_a_source_is_dark_until_it_speaks() -> None:
    assert after(SourceDark(at=T, since=T - 5)).dark_since == T - 5
    assert after(SourceDark(at=T, since=T - 5), SourceLit(at=T, by="poll")).dark_since is None


def test_the_breaker_holds_until_it_closes() -> None:
    opened = BreakerOpened(at=T, looked=100, missing=30, window_seconds=60.0, until=T + 60)
    assert after(opened).breaker_until == T + 60
    assert after(opened, BreakerClosed(at=T + 60)).breaker_until is None


def test_a_poll_changes_nothing_of_its_source() -> None:
    poll = PollObserved(
        poll="p",
        run="r",
        node="n1",
        route="GET /connz",
        asked_at=T,
        answered_at=T,
        head=0,
        asked=1,
        agreed=0,
        findings=(),
    )
    before = after()
    assert evolve_source(before, poll, 2).nodes == before.nodes


def test_a_node_that_the_configuration_no_longer_names_is_to_be_swept() -> None:
    source = after(down(5, 3, node="n2"), configured("n1"))
    assert (source.retired, set(source.node_profiles), set(source.nodes)) == ({"n2": 3}, {"n1"}, set())
    source = after(down(5, 3, node="n2"), configured("n1"), settled(9, node="n2"))
    assert (source.retired, "n2" in source.nodes) == ({}, False)


def test_a_retired_node_that_comes_back_is_not_swept() -> None:
    assert after(configured("n1"), configured("n1", "n2")).retired == {}


def test_a_second_configuration_keeps_who_is_still_to_be_swept() -> None:
    assert after(configured("n1"), configured("n3")).retired == {"n2": 2, "n1": 3}


def test_a_retired_node_may_be_settled_while_others_are_not() -> None:
    source = after(configured("n3"), settled(5, node="n1"))
    assert source.retired == {"n2": 2}


@pytest.mark.parametrize(
    ("profile", "nodes", "scope", "held_by", "expected"),
    [
        pytest.param(Profile.V2_2, ("n1",), "", None, "n1", id="one node"),
        pytest.param(Profile.V2_2, ("n1", "n2"), "", None, None, id="a cluster whose senders are not the holders"),
        pytest.param(Profile.V2_2, ("n1", "n2"), "", "n2", "n2", id="where it was seen"),
        pytest.param(Profile.V3, ("n1", "n2"), "n1", None, "n1", id="v3: a webhook told of it"),
        pytest.param(Profile.V3, ("n1", "n2"), "", None, None, id="v3: a query told of it"),
        pytest.param(Profile.V3, ("n1",), "", None, "n1", id="v3: a query of the only node"),
    ],
)
def test_who_holds_a_session(
    profile: Profile, nodes: tuple[str, ...], scope: str, held_by: str | None, expected: str | None
) -> None:
    source = evolve_source(SourceState("main"), configured(*nodes, profile=profile), 1)
    held = Session(5, "n1", T, T, held_by)
    assert source.holder(Device("main", scope, 0, T, (held,)), held) == expected

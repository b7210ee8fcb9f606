"""Whether to send a push notification: never none where the connection is not sure, and the reason why."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.presence import Device, Presence
from ledger.domain.profile import Profile
from ledger.domain.reach import Because, Mark, PushAdvice, mark_from, reach
from ledger.domain.reach_policy import DEFAULT_REACH, ReachPolicy
from ledger.domain.source import SourceState
from tests.support.scenario import PAUSE_SECONDS, STARTED_AT, Step, given

FIRST = STARTED_AT + round(PAUSE_SECONDS * SECOND)
BOUND = round(DEFAULT_REACH.reach_verified_seconds * SECOND)
NOW = FIRST + SECOND
ANY = ReachPolicy(reach_any_device=True)

ON_APP = given("u-0-1-5-1-1").presence
ON_WEB = given("u-1-1-5-1-1").presence
ON_BOTH = given("u-0-1-5-1-1", "u-1-1-6-1-2").presence
GONE = given("u-0-1-5-1-1", "u-0-0-5-0-0").presence
OF_A_TOTAL = given("u-0-0-5-0-1").presence
SILENCED = replace(ON_APP, uid="bob")
PLAIN: Mapping[str, SourceState] = {"main": SourceState("main")}


def asked(
    presence: Presence,
    *,
    at: int = NOW,
    sources: Mapping[str, SourceState] = PLAIN,
    policy: ReachPolicy = DEFAULT_REACH,
    verified_at: int | None = None,
) -> PushAdvice:
    return reach(presence, sources, {"main": Mark(verified_at)}, at, policy).answer


SURE = PushAdvice(False, "online", True)


@pytest.mark.parametrize(
    ("presence", "expected"),
    [
        (ON_APP, SURE),
        (ON_BOTH, SURE),
        (ON_WEB, PushAdvice(True, "other_device", True)),
        (GONE, PushAdvice(True, "offline", True)),
        (OF_A_TOTAL, PushAdvice(True, "device_unknown", False)),
        (Presence("u"), PushAdvice(True, "never_observed", False)),
    ],
)
def test_a_connection_of_the_app_makes_it_unnecessary(presence: Presence, expected: PushAdvice) -> None:
    assert asked(presence, at=NOW + round(PAUSE_SECONDS * SECOND)) == expected


def test_any_device_does_where_the_policy_says_so() -> None:
    system = given("u-99-1-5-1-1").presence
    assert asked(ON_WEB, policy=ANY) == SURE
    assert asked(OF_A_TOTAL, policy=ANY) == SURE
    assert asked(system, policy=ANY) == PushAdvice(True, "other_device", True)


def test_an_online_is_relied_upon_until_the_bound() -> None:
    assert asked(ON_APP, at=FIRST + BOUND) == SURE
    assert asked(ON_APP, at=FIRST + BOUND + 1) == PushAdvice(True, "unverified", False)
    assert asked(ON_APP, at=FIRST + BOUND + 1, verified_at=FIRST + 1) == SURE
    # A look before the connection opened says nothing of it.
    assert asked(ON_APP, at=FIRST + BOUND + 1, verified_at=FIRST - 1) == PushAdvice(True, "unverified", False)


@pytest.mark.parametrize(
    ("because", "mark"),
    [("doubted", Mark(NOW, doubted=True)), ("suspect", Mark(NOW, suspect=True))],
)
def test_a_doubt_that_stands_wants_a_notification(because: Because, mark: Mark) -> None:
    def answer(presence: Presence) -> PushAdvice:
        return reach(presence, PLAIN, {"main": mark}, NOW).answer

    assert answer(ON_APP) == PushAdvice(True, because, False)
    assert answer(GONE) == answer(ON_WEB) == PushAdvice(True, "offline", False)


def test_a_doubt_in_one_source_leaves_the_other() -> None:
    both = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", source="other")).presence
    found = reach(both, PLAIN, {"main": Mark(doubted=True)}, NOW)
    assert found.answer == SURE
    assert [(each.source, each.answer.because) for each in found.devices] == [
        ("main", "doubted"),
        ("other", "online"),
    ]


def test_who_is_never_told_offline_has_to_be_found_by_a_look() -> None:
    muted = {"main": SourceState("main", node_profiles={"n1": Profile.V2_2})}
    assert asked(SILENCED, sources=muted) == PushAdvice(True, "never_told_offline", False)
    assert asked(SILENCED, sources=muted, verified_at=FIRST) == SURE
    assert asked(SILENCED, sources={"main": SourceState("main", profile=Profile.V3)}) == SURE
    assert asked(SILENCED, sources={}) == SURE


def test_what_is_unknown_wants_a_notification() -> None:
    down = {"main": SourceState("main", nodes={"n1": NodeState(down_since=NOW)})}
    dark = {"main": SourceState("main", dark_since=NOW)}
    assert asked(ON_APP, sources=down) == PushAdvice(True, "node_down", False)
    assert asked(ON_APP, sources=dark) == PushAdvice(True, "source_dark", False)
    assert asked(GONE, sources=dark) == PushAdvice(True, "source_dark", False)
    # Its own device flag is known, and nothing else is.
    assert asked(ON_WEB, sources=dark) == PushAdvice(True, "source_dark", False)


def test_an_offline_that_is_not_shown_yet_wants_one() -> None:
    graceful = {"main": SourceState("main", policy=Policy(grace_seconds=30.0))}
    left_at = FIRST + round(PAUSE_SECONDS * SECOND)
    assert asked(GONE, at=left_at + SECOND, sources=graceful) == PushAdvice(True, "in_grace", False)
    assert asked(GONE, at=left_at + 31 * SECOND, sources=graceful) == PushAdvice(True, "offline", True)
    unplaced = replace(GONE, devices=())
    default = {"main": SourceState("main", policy=Policy(grace_seconds=30.0))}
    assert asked(unplaced, at=left_at + SECOND, sources=default) == PushAdvice(True, "in_grace", False)


def test_each_device_has_its_own_answer() -> None:
    found = reach(ON_WEB, PLAIN, {}, NOW)
    assert [(each.device_flag, each.answer) for each in found.devices] == [(1, SURE)]
    left = given("u-0-1-5-1-1", "u-1-1-6-1-2", "u-0-0-5-0-1").presence
    found = reach(left, PLAIN, {}, NOW + 20 * SECOND)
    assert {each.device_flag: each.answer.because for each in found.devices} == {0: "offline", 1: "online"}
    assert found.answer == PushAdvice(True, "other_device", True)


def test_the_best_connection_of_a_device_counts() -> None:
    [first] = ON_APP.devices
    [session] = first.sessions
    old = Device("main", "n2", 0, FIRST, (replace(session, node="n2", seen_at=FIRST - BOUND),))
    assert asked(replace(ON_APP, devices=(old, first)), at=FIRST + BOUND) == SURE


def test_what_a_watch_leaves() -> None:
    doubt = Doubt("ghost", None, NOW, 7)
    assert mark_from(Watch(0)) == Mark()
    assert mark_from(Watch(0, "late_offline", 5)) == Mark(5, suspect=True)
    assert mark_from(Watch(0, "confirm", 5, doubt)) == Mark(5, doubted=True, suspect=True)
    assert mark_from(Watch(0, "overtaken", 5)) == Mark(5)

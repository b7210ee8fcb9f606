"""The memory of steady watches: what it forgets of whom, and how many it holds."""

import pytest
from msgspec.structs import replace

from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.reconcile import steady_watches
from ledger.reconcile.steady_watches import SteadyWatches
from ledger.working_state.followers import Following

MAIN, OTHER = SourceState("main"), SourceState("other")
STATES = {"main": MAIN, "other": OTHER}
FOUND = {"main": {"user:a": 5, "user:b": 5}, "other": {"user:a": 6}}


def remembering() -> SteadyWatches:
    """One that has heard the ledger up to 10."""
    steady = SteadyWatches(["main", "other"])
    steady.begin(Following(0, False, []), 0, STATES)
    steady.end(10, 0, FOUND)
    return steady


def test_what_was_found_is_remembered_while_nobody_else_has_heard_the_ledger() -> None:
    steady = remembering()
    steady.begin(Following(10, False, []), 0, STATES)
    assert steady.since == FOUND
    # An instance that does not follow a source hears nothing of it.
    steady.begin(Following(10, False, []), 0, {"main": MAIN, "strange": MAIN})
    assert steady.since == FOUND


@pytest.mark.parametrize(
    ("following", "lineage"),
    [
        pytest.param(Following(9, False, []), 0, id="the database went back"),
        pytest.param(Following(11, False, []), 0, id="another instance has followed"),
        pytest.param(Following(10, False, []), 1, id="the ledger went back"),
        pytest.param(Following(10, True, []), 0, id="somebody is being erased"),
    ],
)
def test_everybody_is_forgotten_where_anything_may_have_changed(following: Following, lineage: int) -> None:
    steady = remembering()
    steady.begin(following, lineage, STATES)
    assert steady.since == {"main": {}, "other": {}}


@pytest.mark.parametrize(
    "other", [replace(MAIN, policy=Policy(tier_normal_seconds=9.0)), replace(MAIN, profile=Profile.V3)]
)
def test_a_source_is_forgotten_with_its_policy_and_its_profile(other: SourceState) -> None:
    steady = remembering()
    steady.begin(Following(10, False, []), 0, {"main": other, "other": OTHER})
    assert steady.since == {"main": {}, "other": {"user:a": 6}}


def test_a_user_is_forgotten_in_one_source_or_in_all() -> None:
    steady = remembering()
    steady.forget("main", ["a", "nobody"])
    assert steady.since == {"main": {"user:b": 5}, "other": {"user:a": 6}}
    steady = remembering()
    steady.forget_user("user:a")
    assert steady.since == {"main": {"user:b": 5}, "other": {}}
    steady = remembering()
    steady.begin(Following(10, False, ["a"]), 0, STATES)
    assert steady.since == {"main": {"user:b": 5}, "other": {}}


def test_those_asked_for_longest_ago_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_watches, "MOST_USERS", 16)
    steady = SteadyWatches(["main"])
    steady.end(1, 0, {"main": {f"user:{number}": number for number in range(16)}})
    steady.end(2, 0, {"main": {"user:0": 20}})
    assert len(steady.since["main"]) == 16
    steady.end(3, 0, {"main": {"user:new": 21}})
    assert list(steady.since["main"]) == [*[f"user:{number}" for number in range(4, 16)], "user:0", "user:new"]

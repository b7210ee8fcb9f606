"""Replays whose users are divided among several who judge add up to the replay of one; stories can be left out."""

from collections import Counter
from collections.abc import Sequence

import pytest

from ledger.replay import slice as replaying
from ledger.replay.slice import Trial, replay_slice
from ledger.slices.share import MAX_SHARES, Share
from tests.support.slices import MAPPER, eventful, replayed, replayed_in_shares, slice_of

POLICIES: Sequence[dict[str, float]] = (
    {},
    {"confirmations": 1},
    {"confirmations": 3},
    {"grace_seconds": 5.0},
    {"dedupe_seconds": 0.0, "grace_seconds": 0.0},
    {"reorder_seconds": 60.0},
)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("start", [0, 20])
def test_shares_add_up_to_the_whole(policy: dict[str, float], number: int, start: int) -> None:
    taken = slice_of(eventful().kept, start)
    assert replayed_in_shares(taken, number, policy).as_dict() == replayed(taken, **policy).as_dict()


def test_each_user_is_in_one_share_of_about_one_size() -> None:
    sizes = Counter(
        next(index for index in range(MAX_SHARES) if Share(index, MAX_SHARES).has(f"u{number}"))
        for number in range(6400)
    )
    assert sizes.keys() == set(range(MAX_SHARES))
    assert sizes.total() == 6400
    assert max(sizes.values()) < 200


def test_a_user_of_whom_nobody_could_make_utf8_is_in_one() -> None:
    assert sum(Share(index, 5).has("\ud800") for index in range(5)) == 1


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("remembered", [0, 3, 1000])
def test_without_stories_the_same_times_differ(
    monkeypatch: pytest.MonkeyPatch, policy: dict[str, float], remembered: int
) -> None:
    taken = slice_of(eventful().kept)
    whole = replayed(taken, **policy)
    monkeypatch.setattr(replaying, "REMEMBERED_EVENTS", remembered)
    for number in (1, 3):
        summed = replayed_in_shares(taken, number, policy, with_stories=False)
        expected = whole.as_dict()
        expected["users"] = {
            uid: {"differing_seconds": story["differing_seconds"]}
            for uid, story in expected["users"].items()
            if story["recorded"] != story["replayed"]
        }
        assert summed.as_dict() == expected


def test_without_stories_little_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "REMEMBERED_EVENTS", 0)
    trial = Trial(lambda policy: policy, with_stories=False)
    pairs = replay_slice(slice_of(eventful().kept), MAPPER, trial).side_by_side.users.values()
    assert max(len(pair.recorded) for pair in pairs) <= 4

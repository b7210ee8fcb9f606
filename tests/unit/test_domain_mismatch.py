"""A wrong profile is noticed from the counts, in every recording that tells, and a right one is never accused."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from ledger.domain import mismatch
from ledger.domain.mismatch import SIGNS, TELLING, CountsCheck
from ledger.domain.observation import Claim, parse_item
from ledger.domain.profile import Profile
from ledger.sources.wukongim.payload import parse_body
from ledger.sources.wukongim.recording import RecordedWebhook, read_header, read_lines

RECORDINGS = Path(__file__).parents[1] / "fixtures" / "wukongim"
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in RECORDINGS.glob("*/*.jsonl"))
V1, V2_1, V2_2, V3 = Profile

OWN_COUNTED = "onlines count their own connection"
OWN_LEFT_OUT = "onlines leave out their own connection"
EACH = "offlines come for each connection"
LAST_ALONE = "offlines come for a user's last connection alone"


def claims(name: str) -> Iterator[tuple[str, Claim]]:
    """What each node said, without what it said twice in a row."""
    said: dict[str, bytes] = {}
    with (RECORDINGS / f"{name}.jsonl").open(encoding="utf-8") as lines:
        header = read_header(next(lines))
        for line in read_lines(lines, header, None, all_deliveries=False, polls=False):
            if isinstance(line, RecordedWebhook) and said.get(line.node) != line.body:
                said[line.node] = line.body
                elements = parse_body(line.body)
                assert isinstance(elements, list)
                yield from ((line.node, each.parsed) for each in elements if isinstance(each.parsed, Claim))


@cache
def checks(name: str) -> dict[str, CountsCheck]:
    """What each node of a recording told of its counts."""
    found: defaultdict[str, CountsCheck] = defaultdict(CountsCheck)
    for node, claim in claims(name):
        found[node].hear(claim)
    return found


def seen(name: str) -> dict[Profile, str]:
    """What speaks against each profile in a recording."""
    found = ((profile, check.mismatch(profile)) for check in checks(name).values() for profile in Profile)
    return {profile: against.what for profile, against in found if against is not None}


@pytest.mark.parametrize("name", NAMES)
def test_the_right_profile_is_never_accused(name: str) -> None:
    right = {"v12": V1, "v21": V2_1, "v22": V2_2, "v3": V3}[name.partition("/")[0]]
    assert right not in seen(name)
    for check in checks(name).values():
        for profile in Profile:
            if (against := check.mismatch(profile)) is not None:
                assert right in against.likely


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("v12/crowd_a", {V2_1: OWN_COUNTED, V3: EACH}),
        ("v21/crowd_a", {V1: OWN_LEFT_OUT, V2_2: OWN_LEFT_OUT, V3: OWN_LEFT_OUT}),
        ("v22/crowd_a", {V2_1: OWN_COUNTED, V3: EACH}),
        ("v3/crowd_a", {V1: LAST_ALONE, V2_1: OWN_COUNTED, V2_2: LAST_ALONE}),
        ("v22/reconnect_storm", {V2_1: OWN_COUNTED}),
        ("v3/reconnect_storm", {V2_1: OWN_COUNTED}),
        ("v21/crash_and_restart", {V1: OWN_LEFT_OUT, V2_2: OWN_LEFT_OUT, V3: OWN_LEFT_OUT}),
        ("v21/basic", {V1: OWN_LEFT_OUT, V2_2: OWN_LEFT_OUT, V3: OWN_LEFT_OUT}),
        ("v22/flapping", {V2_1: OWN_COUNTED, V3: EACH}),
        ("v3/flapping", {V2_1: OWN_COUNTED}),
    ],
)
def test_each_wrong_one_is_noticed_that_the_counts_can_tell(name: str, wrong: dict[Profile, str]) -> None:
    """v1 counts as v2.2 does; a user with one device at a time tells v3 from neither."""
    assert seen(name) == wrong


def told(*items: str) -> CountsCheck:
    check = CountsCheck()
    for item in items:
        claim = parse_item(item)
        assert isinstance(claim, Claim)
        check.hear(claim)
    return check


def test_the_words_say_how_much_speaks_and_for_what() -> None:
    against = told(*["u-0-1-1-1-1", "u-0-0-1-0-0"] * 3).mismatch(V2_1)
    assert against is not None
    assert against.words == "onlines count their own connection (5 of 5 signs), as in v1 or v2.2 or v3"
    nobodys = ["u-0-1-1-1-2", "u-0-0-1-0-0"] * TELLING + ["v-0-1-1-0-0"] * TELLING
    against = told(*nobodys).mismatch(V2_2)
    assert against is not None
    assert against.words == "onlines leave out their own connection (5 of 5 signs)"


def test_few_signs_are_not_enough() -> None:
    assert told("u-0-1-1-1-1", "u-0-0-1-0-0", "u-0-1-2-1-1", "u-0-0-2-0-0", "u-0-1-3-1-1").mismatch(V2_1) is None


def test_some_that_are_lost_or_late_accuse_nobody() -> None:
    """Two webhooks of an online were lost, and three offlines came after the next online."""
    right = ["u-0-1-1-1-1", "u-0-0-1-0-0"] * 20
    wrong = ["v-0-1-1-1-1", "v-0-0-1-1-1"] * 8
    assert told(*right, *wrong).mismatch(V2_2) is None


def test_who_connects_again_with_the_same_device_says_nothing_of_when_offlines_come() -> None:
    again = ["u-0-1-1-1-1", "u-0-1-2-2-2", "u-0-0-2-0-0", "u-0-0-1-0-0"] * 20
    assert told(*again).mismatch(V2_2) is None
    two_devices = ["u-0-1-1-1-1", "u-1-1-2-1-2", "u-1-0-2-0-0"] * 20
    assert told(*two_devices).mismatch(V2_2) is not None


def test_an_upgrade_shows_within_the_signs_that_are_weighed() -> None:
    check = told(*["u-0-1-1-0-0", "u-0-0-1-0-0"] * SIGNS)
    assert check.mismatch(V2_1) is None
    for item in ["u-0-1-1-1-1", "u-0-0-1-0-0"] * SIGNS:
        claim = parse_item(item)
        assert isinstance(claim, Claim)
        check.hear(claim)
    assert check.mismatch(V2_1) is not None
    assert check.mismatch(V2_2) is None


def test_what_was_said_before_a_crash_is_not_compared_with_what_comes_after() -> None:
    check, without_a_crash = CountsCheck(), CountsCheck()
    for _ in range(TELLING):
        for item in ("u-0-1-1-1-1", "u-1-1-2-1-2", "u-1-0-2-0-0"):
            claim = parse_item(item)
            assert isinstance(claim, Claim)
            if not claim.online:
                check.forget()
            check.hear(claim)
            without_a_crash.hear(claim)
    assert (check.mismatch(V2_2), without_a_crash.mismatch(V2_2) is None) == (None, False)


def test_so_many_users_are_remembered_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    onlines = [f"{uid}-0-1-1-1-2" for uid in "abcd"]
    for users, tells in ((3, False), (4, True)):
        monkeypatch.setattr(mismatch, "USERS", users)
        against = told(*[*onlines, "a-0-0-1-0-0"] * TELLING).mismatch(V2_2)
        assert (against is not None) == tells

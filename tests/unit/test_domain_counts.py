"""What an item's counts say of other connections than its own: sweeps, implied and withdrawn sessions, by profile."""

from collections import Counter

import pytest

from ledger.domain.counts import MAX_UNNAMED
from ledger.domain.profile import Profile
from tests.support.scenario import Step, given, session

V1, V2_1, V2_2, V3 = Profile.V1, Profile.V2_1, Profile.V2_2, Profile.V3
IMPLIED = {"suspect": "implied_session"}
LATE = {"suspect": "late_offline"}


@pytest.mark.parametrize("profile", [V1, V2_2, V3])
def test_an_onlines_count_includes_itself(profile: Profile) -> None:
    given("u-0-1-5-1-1", profile=profile).when("u-0-1-6-2-2").then("opened", "online_new", "online")


def test_v2_1_an_onlines_count_leaves_itself_out() -> None:
    given("u-0-1-5-0-0", profile=V2_1).when("u-0-1-6-1-1").then("opened", "online_new", "online")


def test_v2_1_an_offlines_count_is_after_it() -> None:
    given("u-0-1-5-0-0", "u-0-1-6-1-1", profile=V2_1).when("u-0-0-5-1-1").then("closed", "offline_of_open", "online")


def test_v2_1_a_duplicate_online_counts_as_it_stands() -> None:
    given("u-0-1-5-0-0", profile=V2_1).when("u-0-1-5-0-0").then("duplicate", "online_already_open", "online")


def test_a_jump_of_the_devices_count_implies_sessions() -> None:
    scenario = given("u-0-1-5-1-1").when("u-0-1-8-3-3").then("opened", "online_new", "online", implied=1, **IMPLIED)
    scenario.left(session(5), session(8), session(None))


def test_v2_1_a_jump_counts_one_more() -> None:
    scenario = given(profile=V2_1).when("u-0-1-8-1-1").then("opened", "online_new", "online", implied=1, **IMPLIED)
    scenario.left(session(8), session(None))


def test_a_jump_of_the_total_implies_sessions_of_no_device() -> None:
    scenario = given().when("u-0-1-8-1-3").then("opened", "online_new", "online", implied_elsewhere=2, **IMPLIED)
    scenario.left(session(8), session(None, flag=None), session(None, flag=None))


def test_both_jump() -> None:
    scenario = given().when("u-0-1-8-2-3")
    scenario.then("opened", "online_new", "online", implied=1, implied_elsewhere=1, **IMPLIED)
    scenario.left(session(8), session(None), session(None, flag=None))


def test_a_count_may_claim_any_number_and_a_few_are_believed() -> None:
    scenario = given().when(f"u-0-1-8-{2**63 - 1}-{2**63 - 1}")
    beyond = 2**63 - 2 - MAX_UNNAMED
    scenario.then("opened", "online_new", "online", implied=MAX_UNNAMED, unbelieved=beyond, **IMPLIED)
    scenario.left(session(8), *[session(None)] * MAX_UNNAMED)


def test_a_total_may_claim_any_number_and_a_few_are_believed() -> None:
    scenario = given().when("u-0-1-8-1-1000")
    scenario.then(
        "opened", "online_new", "online", implied_elsewhere=MAX_UNNAMED, unbelieved=999 - MAX_UNNAMED, **IMPLIED
    )
    scenario.left(session(8), *[session(None, flag=None)] * MAX_UNNAMED)


@pytest.mark.parametrize("profile", list(Profile))
@pytest.mark.parametrize(
    "items",
    [
        pytest.param(["u-0-1-1-1000000-1000000"] * 50, id="the same again"),
        pytest.param([f"u-0-1-{n}-1000000-2000000" for n in range(1, 50)], id="ever new connections"),
        pytest.param([f"u-0-0-{n}-1000-1000" for n in range(1, 50)], id="offlines of nobody"),
        pytest.param(["u-0-1-1-1-1000", "u-0-0-1-900-900"] * 25, id="device and total by turns"),
    ],
)
def test_the_bound_is_the_users_whatever_items_say(profile: Profile, items: list[str]) -> None:
    """Of a device flag, and of sessions whose device is not known, on all nodes together."""
    scenario = given(*[Step(item, after=0.01, node=f"n{n % 2}") for n, item in enumerate(items)], profile=profile)
    unnamed: Counter[int | None] = Counter()
    for device in scenario.presence.devices:
        unnamed[device.device_flag] += device.unnamed()
    assert 0 < max(unnamed.values()) <= MAX_UNNAMED
    assert any(event.unbelieved for event in scenario.events)


def test_what_was_not_believed_is_when_there_is_room() -> None:
    scenario = given("u-0-1-1-100-100").when("u-0-1-2-100-100")
    # One of the unnamed has become connection 2, so that one more fits in.
    scenario.then("opened", "online_names_session", "online", named=True, implied=1, unbelieved=34, **IMPLIED)


def test_v2_1_the_same_online_in_another_body_withdraws_nobody() -> None:
    scenario = given("u-0-1-8-1-1", profile=V2_1).when("u-0-1-8-1-1")
    scenario.then("duplicate", "online_already_open", "online").left(session(8), session(None))


def test_v2_1_another_connection_of_the_same_number_counts_for_one_more() -> None:
    scenario = given("u-1-1-1-0-0", profile=V2_1).when("u-1-1-1-1-1")
    scenario.then("duplicate", "online_already_open", "online", implied=1, **IMPLIED)
    scenario.left(session(1, flag=1), session(None, flag=1))


def test_a_late_offlines_counts_speak() -> None:
    scenario = (
        given().when("u-0-0-4-1-2").then("late", "offline_of_unknown", "online", implied=1, implied_elsewhere=1, **LATE)
    )
    scenario.left(session(None), session(None, flag=None))


def test_a_session_of_no_device_gives_way_to_the_device_it_is_of() -> None:
    scenario = given("u-0-1-8-1-2").when("u-1-1-9-1-2")
    scenario.then("opened", "online_new", "online", withdrawn_elsewhere=1).left(session(8), session(9, flag=1))


def test_some_sessions_of_no_device_stay() -> None:
    scenario = given("u-0-1-8-1-4")
    since = scenario.at
    scenario.when("u-1-1-9-1-3")
    scenario.then("opened", "online_new", "online", withdrawn_elsewhere=2)
    scenario.left(session(8), session(9, flag=1), session(None, flag=None))
    (unlocated,) = [device for device in scenario.presence.devices if device.device_flag is None]
    assert unlocated.since == since


def test_a_counted_session_that_the_count_has_no_room_for_is_withdrawn() -> None:
    scenario = given("u-0-1-8-2-2").when("u-0-1-8-1-1").then("duplicate", "online_already_open", "online", withdrawn=1)
    scenario.left(session(8))


def test_a_named_session_is_not_withdrawn_by_an_onlines_count() -> None:
    given("u-0-1-5-1-1", "u-0-1-6-2-2").when("u-0-1-7-1-1").then("opened", "online_new", "online").left(
        session(5), session(6), session(7)
    )


def test_a_named_session_is_not_withdrawn_by_an_offlines_count() -> None:
    given("u-0-1-5-1-1", "u-0-1-6-2-2", "u-0-1-7-3-3").when("u-0-0-7-1-1").then(
        "closed", "offline_of_open", "online"
    ).left(session(5), session(6))


def test_of_two_counted_sessions_one_is_named_and_one_withdrawn() -> None:
    scenario = given("u-0-1-8-3-3").when("u-0-1-9-2-2")
    scenario.then("opened", "online_names_session", "online", named=True, withdrawn=1).left(session(8), session(9))


def test_offline_of_a_counted_session_leaves_the_other() -> None:
    scenario = given("u-0-1-8-3-3").when("u-0-0-9-2-2")
    scenario.then("closed", "offline_names_session", "online", named=True).left(session(8), session(None))


@pytest.mark.parametrize("profile", [V1, V2_2])
def test_device_count_zero_sweeps_the_device(profile: Profile) -> None:
    scenario = given("u-0-1-5-1-1", "u-0-1-6-2-2", "u-1-1-7-1-3", profile=profile).when("u-0-0-6-0-1")
    scenario.then("closed", "offline_of_open", "online", swept=(session(5),)).left(session(7, flag=1))
    assert scenario.presence.devices[0].closing(5) is not None


def test_device_count_zero_sweeps_sessions_without_a_name() -> None:
    scenario = given("u-0-1-5-3-4").when("u-0-0-5-0-1")
    scenario.then("closed", "offline_of_open", "online", swept=(session(None), session(None)))
    scenario.left(session(None, flag=None))


def test_device_count_zero_when_the_item_itself_names_one() -> None:
    scenario = given("u-0-1-5-2-3").when("u-0-0-4-0-1")
    scenario.then("closed", "offline_names_session", "online", named=True, swept=(session(5),))
    scenario.left(session(None, flag=None))


def test_device_count_zero_of_a_late_offline_sweeps_what_it_is_not_about() -> None:
    scenario = given("u-0-1-5-1-1", "u-1-1-6-1-2").when("u-0-0-4-0-1")
    scenario.then("late", "offline_of_unknown", "online", swept=(session(5),), **LATE).left(session(6, flag=1))


def test_device_count_zero_of_a_device_never_seen() -> None:
    given("u-0-1-5-1-1").when("u-1-0-4-0-1").then("late", "offline_of_unknown", "online", **LATE).left(session(5))


def test_device_count_zero_and_a_higher_total() -> None:
    scenario = given("u-0-1-5-1-1").when("u-0-0-5-0-1")
    scenario.then("closed", "offline_of_open", "online", implied_elsewhere=1, **IMPLIED).left(session(None, flag=None))


@pytest.mark.parametrize("profile", [V1, V2_1, V2_2])
def test_total_zero_sweeps_everything(profile: Profile) -> None:
    scenario = given("u-0-1-5-1-2", "u-1-1-6-1-2", profile=profile).when("u-0-0-5-0-0")
    swept = scenario.events[-1].swept
    assert session(6, flag=1) in swept
    scenario.left()
    assert (scenario.events[-1].emptied, scenario.presence.status) == (True, "offline")


def test_total_zero_sweeps_sessions_of_no_device_too() -> None:
    scenario = given("u-0-1-5-1-2").when("u-0-0-5-0-0")
    scenario.then("closed", "offline_of_open", "offline", swept=(session(None, flag=None),), emptied=True).left()
    assert [device.device_flag for device in scenario.presence.devices] == [0]


def test_total_zero_when_the_item_itself_names_one() -> None:
    scenario = given("u-0-1-5-3-3").when("u-0-0-4-0-0")
    swept = (session(5), session(None))
    scenario.then("closed", "offline_names_session", "offline", named=True, swept=swept, emptied=True).left()


def test_a_sweep_of_what_is_recent_is_suspect() -> None:
    scenario = given("u-0-1-5-1-1", "u-1-1-6-1-2").when(Step("u-0-0-5-0-0", after=1.0))
    swept = (session(6, flag=1),)
    scenario.then("closed", "offline_of_open", "offline", swept=swept, emptied=True, suspect="sweep_of_recent").left()


def test_v3_a_total_is_of_its_node() -> None:
    scenario = given("u-0-1-5-1-1", Step("u-0-1-6-1-1", node="n2"), "u-1-1-7-1-2", profile=V3).when("u-1-0-7-0-0")
    scenario.then("closed", "offline_of_open", "online", swept=(session(5, scope="n1"),), emptied=True)
    scenario.left(session(6, scope="n2"))


def test_v3_the_last_one_of_a_node_sweeps_those_that_closed_in_silence() -> None:
    scenario = given("u-0-1-5-1-1", "u-1-1-6-1-2", profile=V3).when("u-1-0-6-0-0")
    scenario.then("closed", "offline_of_open", "offline", swept=(session(5, scope="n1"),), emptied=True).left()


def test_v3_a_younger_connection_that_just_opened_is_spared() -> None:
    scenario = given("u-0-1-5-1-1", "u-1-1-6-1-1", profile=V3).when(Step("u-0-0-5-0-0", after=2.0))
    scenario.then("closed", "offline_of_open", "online", emptied=True, suspect="spared_by_sweep")
    scenario.left(session(6, flag=1, scope="n1"))


@pytest.mark.parametrize(
    ("younger", "after"), [pytest.param(6, 2.000001, id="long open"), pytest.param(4, 1.0, id="older number")]
)
def test_v3_other_connections_are_swept(younger: int, after: float) -> None:
    scenario = given("u-0-1-5-1-1", f"u-1-1-{younger}-1-2", profile=V3).when(Step("u-0-0-5-0-0", after=after))
    suspect = None if after > 2 else "sweep_of_recent"
    swept = (session(younger, flag=1, scope="n1"),)
    scenario.then("closed", "offline_of_open", "offline", swept=swept, emptied=True, suspect=suspect).left()


def test_other_sources_and_devices_are_left_alone() -> None:
    scenario = given("u-0-1-5-1-1", Step("u-0-1-5-1-1", source="other"), "u-1-1-6-1-2").when("u-1-0-6-0-0")
    scenario.then("closed", "offline_of_open", "online", swept=(session(5),), emptied=True)
    assert [(d.source, len(d.sessions)) for d in scenario.presence.devices] == [("main", 0), ("other", 1), ("main", 0)]


def test_a_duplicate_offlines_total_still_sweeps() -> None:
    scenario = given("u-0-1-5-1-1", "u-0-1-6-2-2", "u-0-0-5-1-1").when("u-0-0-5-0-0")
    scenario.then("duplicate", "offline_already_closed", "offline", swept=(session(6),), emptied=True).left()

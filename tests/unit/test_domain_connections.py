"""The rules for an item's own connection: opened, closed, duplicate, stale, late, and who is to be looked at."""

import pytest

from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.sessions import REMEMBERED_CLOSED
from tests.support.scenario import PAUSE_SECONDS, Step, given, session

V1, V2_1, V2_2, V3 = Profile.V1, Profile.V2_1, Profile.V2_2, Profile.V3
LATE = {"suspect": "late_offline"}
LATE_EMPTY = {**LATE, "emptied": True}
PAUSE = PAUSE_SECONDS
ALL = pytest.mark.parametrize("profile", Profile)


def first(profile: Profile) -> str:
    """The online of a user's first connection, in the words of the profile."""
    return "u-0-1-5-0-0" if profile is V2_1 else "u-0-1-5-1-1"


@ALL
def test_a_first_online_opens(profile: Profile) -> None:
    given(profile=profile).when(first(profile)).then("opened", "online_new", "online").left(
        session(5, scope="n1" if profile is V3 else "")
    )


@ALL
def test_an_online_of_an_open_connection_is_a_duplicate_and_fresh_evidence(profile: Profile) -> None:
    scenario = given(first(profile), profile=profile).when(first(profile))
    scenario.then("duplicate", "online_already_open", "online")
    (open_session,) = scenario.presence.devices[0].sessions
    assert open_session.seen_at == scenario.presence.last_seen_at == scenario.at
    assert open_session.opened_at < scenario.at


@ALL
def test_the_offline_of_the_only_connection_closes_it(profile: Profile) -> None:
    scenario = given(first(profile), profile=profile).when("u-0-0-5-0-0")
    scenario.then("closed", "offline_of_open", "offline", emptied=True).left()
    assert scenario.presence.last_seen_at == scenario.at


def test_an_offline_is_not_the_devices_while_others_are_open() -> None:
    given("u-0-1-5-1-1", "u-0-1-6-2-2").when("u-0-0-5-1-1").then("closed", "offline_of_open", "online").left(session(6))


@ALL
def test_a_second_offline_of_the_same_connection_is_a_duplicate(profile: Profile) -> None:
    scenario = given(first(profile), "u-0-0-5-0-0", profile=profile)
    seen = scenario.presence.last_seen_at
    scenario.when("u-0-0-5-0-0").then("duplicate", "offline_already_closed", "offline", emptied=True)
    assert scenario.presence.last_seen_at == seen


@ALL
def test_an_online_that_its_offline_overtook_is_stale(profile: Profile) -> None:
    scenario = given("u-0-0-5-0-0", profile=profile).then("late", "offline_of_unknown", "offline", **LATE_EMPTY)
    scenario.when(Step("u-0-1-5-1-1", after=2.0)).then("stale", "online_overtaken_by_its_offline", "offline").left()


@ALL
def test_the_same_connection_number_beyond_the_window_is_a_new_connection(profile: Profile) -> None:
    scenario = given(first(profile), "u-0-0-5-0-0", profile=profile).when(Step(first(profile), after=2.000001))
    scenario.then("opened", "online_new", "online")


@ALL
def test_a_late_offline_closes_nothing_and_is_remembered(profile: Profile) -> None:
    scenario = given(first(profile), profile=profile).when("u-0-0-4-1-1")
    scenario.then("late", "offline_of_unknown", "online", suspect="late_offline")
    assert scenario.presence.devices[0].closing(4) is not None
    scenario.when("u-0-0-4-1-1").then("duplicate", "offline_already_closed", "online")


def test_a_late_offline_of_another_device_makes_that_device_known() -> None:
    scenario = given("u-0-1-5-1-1").when("u-1-0-4-0-1").then("late", "offline_of_unknown", "online", **LATE)
    assert [device.device_flag for device in scenario.presence.devices] == [0, 1]


def test_an_online_takes_the_place_of_a_session_without_a_name() -> None:
    scenario = given("u-0-1-7-2-2").then("opened", "online_new", "online", implied=1, suspect="implied_session")
    scenario.when("u-0-1-6-2-2").then("opened", "online_names_session", "online", named=True)
    scenario.left(session(6), session(7))


def test_an_offline_takes_the_place_of_a_session_without_a_name() -> None:
    scenario = given("u-0-1-7-2-2").when("u-0-0-6-1-1")
    scenario.then("closed", "offline_names_session", "online", named=True).left(session(7))
    assert scenario.presence.devices[0].closing(6) is not None


def test_v3_an_online_older_than_the_last_ones_end_is_stale() -> None:
    scenario = given("u-0-1-9-1-1", "u-0-0-9-0-0", profile=V3).when(Step("u-1-1-8-1-2", after=2.0))
    scenario.then("stale", "online_older_than_empty", "offline", suspect="online_older_than_empty").left()


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(Step("u-1-1-8-1-1", after=2.000001), id="beyond the window"),
        pytest.param(Step("u-1-1-10-1-1", after=0.5), id="a younger connection"),
        pytest.param(Step("u-1-1-8-1-1", after=0.5, node="n2"), id="another node"),
        pytest.param(Step("u-1-1-8-1-1", after=0.5, source="other"), id="another source"),
    ],
)
def test_v3_an_online_that_nothing_overtook_opens(item: Step) -> None:
    given("u-0-1-9-1-1", "u-0-0-9-0-0", profile=V3).when(item).then("opened", "online_new", "online")


@pytest.mark.parametrize("profile", [V1, V2_1, V2_2])
def test_where_one_sender_posts_in_order_an_older_number_is_no_older_connection(profile: Profile) -> None:
    scenario = given(first(profile), "u-0-0-5-0-0", profile=profile)
    scenario.when(Step(first(profile).replace("-5-", "-4-"), after=0.5)).then("opened", "online_new", "online")


def test_no_window_at_all() -> None:
    scenario = given("u-0-1-5-1-1", "u-0-0-5-0-0", policy=Policy(reorder_seconds=0.0))
    scenario.when(Step("u-0-1-5-1-1", after=0.000001)).then("opened", "online_new", "online")


@ALL
def test_a_repeated_online_of_a_closed_connection_changes_nothing(profile: Profile) -> None:
    scenario = given(first(profile), Step("u-0-0-5-0-0", after=0.0), profile=profile)
    scenario.when(Step(first(profile), repeats_after=PAUSE)).then("duplicate", "online_repeated", "offline")
    assert scenario.events[-1].repeated


@ALL
def test_a_repeated_online_of_what_closed_only_after_it_came_first_is_a_new_connection(profile: Profile) -> None:
    scenario = given(first(profile), "u-0-0-5-0-0", profile=profile)
    scenario.when(Step(first(profile), after=30.0, repeats_after=40.0)).then("opened", "online_new", "online")


def forgetful(*, until: int) -> list[Step | str]:
    """A history of connections 1 to `until` that came and went, all at one instant."""
    history: list[Step | str] = []
    for conn_id in range(1, until + 1):
        history += [Step(f"u-0-1-{conn_id}-1-1", after=0.0), Step(f"u-0-0-{conn_id}-0-0", after=0.0)]
    return history


@pytest.mark.parametrize(("item", "rule"), [("u-0-1-1-1-1", "online_repeated"), ("u-0-0-1-0-0", "offline_repeated")])
def test_a_repeated_item_about_a_connection_long_forgotten_changes_nothing(item: str, rule: str) -> None:
    scenario = given(*forgetful(until=REMEMBERED_CLOSED + 2))
    scenario.when(Step(item, repeats_after=PAUSE))
    assert scenario.presence.devices[0].closing(1) is None
    scenario.then("duplicate", rule, "offline")


def test_what_is_forgotten_tells_nothing_of_higher_numbers() -> None:
    scenario = given(*forgetful(until=REMEMBERED_CLOSED + 2))
    scenario.when(Step("u-0-1-99-1-1", repeats_after=PAUSE)).then("opened", "online_new", "online")


def test_nor_of_deliveries_that_came_first_before_it_closed() -> None:
    scenario = given(*forgetful(until=REMEMBERED_CLOSED + 2))
    scenario.when(Step("u-0-1-1-1-1", repeats_after=PAUSE + 1)).then("opened", "online_new", "online")


def test_the_highest_of_the_forgotten_stays_the_highest() -> None:
    high_first: list[Step | str] = [Step("u-0-1-50-1-1", after=0.0), Step("u-0-0-50-0-0", after=0.0)]
    scenario = given(*high_first, *forgetful(until=REMEMBERED_CLOSED + 2))
    forgotten = scenario.presence.devices[0].forgotten
    assert forgotten is not None
    assert forgotten.conn_id == 50


def test_a_repeated_online_of_an_unknown_connection_opens_it() -> None:
    scenario = given("u-0-1-5-1-1").when(Step("u-1-1-6-1-2", repeats_after=30.0))
    scenario.then("opened", "online_new", "online").left(session(5), session(6, flag=1))


def test_what_a_repeated_duplicate_counts_has_been_heard() -> None:
    scenario = given("u-0-1-5-1-1", "u-0-1-6-2-2", "u-0-0-6-1-1")
    scenario.when(Step("u-0-1-5-1-9", repeats_after=30.0)).then("duplicate", "online_already_open", "online")


def test_two_sources_are_two_worlds() -> None:
    scenario = given("u-0-1-5-1-1", Step("u-0-1-5-1-1", source="other"))
    scenario.then("opened", "online_new", "online")
    scenario.when("u-0-0-5-0-0").then("closed", "offline_of_open", "online", emptied=True)
    assert [len(device.sessions) for device in scenario.presence.devices] == [0, 1]


def test_two_nodes_of_v3_are_two_worlds() -> None:
    scenario = given("u-0-1-5-1-1", Step("u-0-1-5-1-1", node="n2"), profile=V3)
    scenario.when("u-0-0-5-0-0").then("closed", "offline_of_open", "online", emptied=True)
    scenario.left(session(5, scope="n2"))


def test_two_nodes_of_v2_are_one_world() -> None:
    scenario = given("u-0-1-5-1-1").when(Step("u-0-1-5-1-1", node="n2"))
    scenario.then("duplicate", "online_already_open", "online")


def test_two_connections_of_one_number_are_told_apart_by_the_count() -> None:
    scenario = given("u-0-1-5-1-1").when(Step("u-0-1-5-2-2", node="n2"))
    scenario.then("duplicate", "online_already_open", "online", implied=1, suspect="implied_session")
    scenario.left(session(5), session(None))


def test_the_grace_period_lets_an_online_period_go_on() -> None:
    policy = Policy(grace_seconds=5.0)
    scenario = given("u-0-1-5-1-1", "u-0-0-5-0-0", policy=policy)
    began = scenario.events[0].received_at
    scenario.when(Step("u-0-1-6-1-1", after=4.999999)).then("opened", "online_new", "online", resumes=began)
    assert scenario.presence.flip is not None
    assert scenario.presence.flip.since == began
    assert scenario.presence.before is None


def test_beyond_the_grace_period_a_new_online_period_begins() -> None:
    scenario = given("u-0-1-5-1-1", "u-0-0-5-0-0", policy=Policy(grace_seconds=5.0))
    scenario.when(Step("u-0-1-6-1-1", after=5.0)).then("opened", "online_new", "online")
    assert scenario.presence.flip is not None
    assert scenario.presence.flip.since == scenario.at


def test_the_grace_period_knows_nothing_before_a_first_offline() -> None:
    scenario = given("u-0-0-5-0-0", policy=Policy(grace_seconds=5.0))
    scenario.when(Step("u-0-1-6-1-1", after=1.0)).then("opened", "online_new", "online")


def test_a_second_offline_may_overtake_the_online_of_another_connection_of_that_number() -> None:
    scenario = given("u-0-1-5-1-1", "u-0-0-5-0-0", "u-0-0-5-0-0").when(Step("u-0-1-5-1-1", after=1.0))
    scenario.then("stale", "online_overtaken_by_its_offline", "offline").left()


def test_a_repeated_offline_is_older_than_what_its_delivery_opened_after_it() -> None:
    """Between the two of one delivery so many others closed that the connection was forgotten."""
    others: list[Step | str] = [Step(f"u-0-0-{conn_id}-0-0", after=0.0) for conn_id in range(6, 30)]
    scenario = given("u-0-0-5-0-0", *others, Step("u-0-1-5-1-1", after=0.0)).then("opened", "online_new", "online")
    scenario.when(Step("u-0-0-5-0-0", after=1.0, repeats_after=1.0)).then("duplicate", "offline_repeated", "online")


def test_a_repeated_offline_closes_what_opened_only_after_it_came_first() -> None:
    scenario = given("u-0-0-5-0-0", "u-0-1-5-1-1").when(Step("u-0-0-5-0-0", repeats_after=20.0))
    scenario.then("closed", "offline_of_open", "offline", emptied=True)


def test_v3_a_stale_online_said_again_opens_nothing() -> None:
    scenario = given("u-0-1-9-1-1", "u-0-0-9-0-0", Step("u-1-1-8-1-2", after=1.0), profile=V3)
    scenario.when(Step("u-1-1-8-1-2", after=30.0, repeats_after=30.0))
    scenario.then("duplicate", "online_repeated", "offline").left()

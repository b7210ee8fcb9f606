"""Whose turn it is: tiers and their bounds, looks out of turn, looks at those who may be coming back."""

import pytest
from msgspec.structs import replace

from ledger.domain.drift import Doubt
from ledger.domain.look import (
    RECENT_SECONDS,
    SPACING_SECONDS,
    Watch,
    due_after,
    effective_tier,
    made_urgent,
    next_due,
    tier_bound_seconds,
)
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Tier
from tests.support.looking import given
from tests.support.reconciler import Reconciler
from tests.support.scenario import Step

T = 1_800_000_000 * SECOND


def after(*items: str, profile: Profile = Profile.V2_2, node: str = "n1") -> Reconciler:
    """A ledger after these webhooks, 10 s apart."""
    world = Reconciler(profile)
    for item in items:
        world.pass_time(10.0)
        world.hear(node, item)
    return world


@pytest.mark.parametrize(
    ("items", "seconds", "tier"),
    [
        (("u-0-1-5-1-1",), 0, "normal"),
        (("u-0-1-5-1-1",), 10_000, "normal"),
        (("u-0-1-5-1-1", "u-0-0-5-0-0"), RECENT_SECONDS, "normal"),
        (("u-0-1-5-1-1", "u-0-0-5-0-0"), RECENT_SECONDS + 0.000001, "cold"),
        (("u-0-0-5-0-0",), 0, "cold"),
        ((), 0, "cold"),
    ],
)
def test_the_tier_of_a_user(items: tuple[str, ...], seconds: float, tier: str) -> None:
    world = after(*items)
    assert effective_tier(world.presence("u"), world.source, world.at + round(seconds * SECOND)) == tier


def test_whom_a_defect_silences_is_a_vip_while_they_are_online() -> None:
    world = after("bob-0-1-5-1-1")
    assert effective_tier(world.presence("bob"), world.source, world.at) == "vip"
    world = after("bob-0-1-5-1-1", profile=Profile.V3)
    assert effective_tier(world.presence("bob"), world.source, world.at) == "normal"
    world = after("bob-0-1-5-1-1", "bob-0-0-5-0-0")
    assert effective_tier(world.presence("bob"), world.source, world.at) == "normal"


@pytest.mark.parametrize("tier", ["vip", "normal", "cold"])
def test_a_tier_that_was_chosen_holds_and_can_be_given_back(tier: Tier) -> None:
    world = after("bob-0-1-5-1-1")
    world.set_tier("bob", tier)
    assert effective_tier(world.presence("bob"), world.source, world.at) == tier
    world.set_tier("bob", None)
    assert effective_tier(world.presence("bob"), world.source, world.at) == "vip"
    assert world.presence("bob").version == 3


def test_a_tier_makes_nobody_observed() -> None:
    world = after()
    world.set_tier("u", "vip")
    presence = world.presence("u")
    assert (presence.status, presence.flip, presence.version) == ("unknown", None, 1)


@pytest.mark.parametrize(
    ("tier", "policy", "seconds"),
    [
        ("vip", DEFAULT_POLICY, 30.0),
        ("normal", DEFAULT_POLICY, 300.0),
        ("cold", DEFAULT_POLICY, 3600.0),
        ("vip", Policy(tier_normal_seconds=5.0), 5.0),
        ("cold", Policy(tier_cold_seconds=5.0), 300.0),
    ],
)
def test_a_tiers_bound_and_no_tier_waits_longer_than_a_lower_one(tier: Tier, policy: Policy, seconds: float) -> None:
    assert tier_bound_seconds(tier, policy) == seconds


@pytest.mark.parametrize(("tier", "seconds"), [("vip", 18.0), ("normal", 294.0), ("cold", 3528.0)])
def test_a_look_is_due_before_the_bound_is_reached(tier: Tier, seconds: float) -> None:
    world = after()
    world.set_tier("u", tier)
    due = due_after(world.presence("u"), world.source, T)
    assert due == next_due(tier, world.source.policy, T) == T + round(seconds * SECOND)


def test_out_of_turn_is_at_once_for_who_was_never_looked_at() -> None:
    assert made_urgent(Watch(T + 100 * SECOND), T, "why") == Watch(T, "why")


def test_out_of_turn_is_at_once_for_who_was_not_looked_at_lately() -> None:
    looked_at = T - round(SPACING_SECONDS * SECOND)
    watch = Watch(T + 100 * SECOND, None, T - 1, None, looked_at)
    assert made_urgent(watch, T, "why") == replace(watch, due_at=T, urgent="why")


def test_two_looks_out_of_turn_have_their_spacing() -> None:
    watch = Watch(T + 100 * SECOND, looked_at=T - SECOND)
    assert made_urgent(watch, T, "why").due_at == T + round((SPACING_SECONDS - 1) * SECOND)


def test_who_is_due_sooner_stays_as_they_are() -> None:
    watch = Watch(T + SECOND, "confirm", looked_at=T - SECOND, doubt=Doubt("ghost", None, T, 1))
    assert made_urgent(watch, T, "why") is watch
    looked = Watch(T + SECOND, looked_at=T)
    assert made_urgent(looked, T, "why") is looked


def test_whose_turn_has_come_does_not_wait_for_the_others_before_him() -> None:
    assert made_urgent(Watch(T - SECOND), T, "why") == Watch(T - SECOND, "why")


def test_a_suspect_is_looked_at_at_once() -> None:
    """A late offline is ambiguous evidence."""
    looking = given("u-0-1-5-1-1").looks({0: 1}).hears("u-0-0-4-1-1")
    assert looking.world.agenda.get("u").urgent == "late_offline"
    assert looking.due_in == 0.0


def test_one_who_flaps_does_not_take_the_looks_of_many() -> None:
    looking = given("u-0-1-5-1-1").looks({0: 1}).hears(Step("u-0-0-4-1-1", after=1.0))
    assert looking.due_in == pytest.approx(SPACING_SECONDS - 1.1)


def swept_by_a_boot(policy: Policy = DEFAULT_POLICY) -> Reconciler:
    """A user whose node booted 1 s ago."""
    looking = given("u-0-1-5-1-1", policy=policy).boots(ago=1000.0).looks({0: 1})
    looking.boots(ago=1.0).left()
    return looking.world


def test_whom_a_boot_has_swept_is_looked_at_ever_more_rarely_while_they_may_be_coming_back() -> None:
    world, since = swept_by_a_boot(), 1.0
    assert world.agenda.get("u").urgent == "restart"
    gaps = []
    while since < 60.0:
        world.answer(world.ask(["u"]), {})
        gap = (world.agenda.get("u").due_at - world.at) / SECOND
        gaps.append(gap)
        world.pass_time(gap)
        since += gap
    assert gaps[:3] == [3.0, 6.0, 15.0]
    world.answer(world.ask(["u"]), {})
    assert (world.agenda.get("u").due_at - world.at) / SECOND == 294.0


def test_nor_later_than_in_turn() -> None:
    world = swept_by_a_boot(Policy(tier_normal_seconds=2.0))
    world.answer(world.ask(["u"]), {})
    assert (world.agenda.get("u").due_at - world.at) / SECOND == 1.96


def test_who_came_back_is_looked_at_in_turn() -> None:
    world = swept_by_a_boot()
    world.hear("n1", "u-0-1-1-1-1")
    world.answer(world.ask(["u"]), {"u": {0: 1}})
    assert (world.agenda.get("u").due_at - world.at) / SECOND == 294.0


def test_who_went_by_himself_is_looked_at_in_turn() -> None:
    looking = given("u-0-1-5-1-1", "u-0-0-5-0-0").boots(ago=1000.0).boots(ago=1.0).looks({})
    assert looking.due_in == pytest.approx(294.0 - 0.1)


def test_a_presence_never_looked_at_has_no_turn_of_its_own() -> None:
    assert effective_tier(Presence("u"), after().source, T) == "cold"

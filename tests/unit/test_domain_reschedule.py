"""What an event does to a user's watch: who is new, suspects, voided doubts, and tiers that somebody has chosen."""

import pytest
from msgspec.structs import replace

from ledger.domain.drift import Doubt
from ledger.domain.events import WebhookObserved
from ledger.domain.look import SPACING_SECONDS, Watch, due_after
from ledger.domain.observation import SECOND
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Tier, TierSet
from ledger.domain.reschedule import Reschedule, is_steady, reschedule_from, rescheduled
from ledger.domain.source import SourceState
from tests.support.scenario import given

T = 1_800_000_000 * SECOND
NORMAL, VIP = 294 * SECOND, 18 * SECOND
SPACING = round(SPACING_SECONDS * SECOND)

SOURCE = SourceState("main", profile=Profile.V1)
PRESENCE = replace(given("u-0-1-1-1-1").presence, position=100)
WEBHOOK = Reschedule(T, "main")
SUSPECT = Reschedule(T, "main", "late")

DOUBT = Doubt("ghost", T - SECOND, T, head=99)
"""Void, since the user's last event came after it."""
LATER_DOUBT = replace(DOUBT, head=100)


@pytest.mark.parametrize(
    ("before", "heard", "after"),
    [
        pytest.param(None, WEBHOOK, Watch(T), id="new: at once"),
        pytest.param(None, SUSPECT, Watch(T, "late"), id="a new suspect"),
        pytest.param(Watch(T + 5), WEBHOOK, Watch(T + 5), id="due sooner anyway"),
        pytest.param(Watch(T + 2 * NORMAL, None, 3), WEBHOOK, Watch(T + NORMAL, None, 3), id="due sooner now"),
        pytest.param(Watch(T + 50), SUSPECT, Watch(T, "late"), id="a suspect at once"),
        pytest.param(
            Watch(T + NORMAL, looked_at=T - SECOND),
            SUSPECT,
            Watch(T - SECOND + SPACING, "late", looked_at=T - SECOND),
            id="a suspect who was looked at just now",
        ),
        pytest.param(Watch(T - 1, "restart"), SUSPECT, Watch(T - 1, "restart"), id="out of turn already"),
        pytest.param(Watch(T - 1), SUSPECT, Watch(T - 1, "late"), id="a suspect whose turn has come"),
        pytest.param(
            Watch(T + 1, "confirm", 7, DOUBT, T - SECOND),
            WEBHOOK,
            Watch(T - SECOND + NORMAL, None, 7, DOUBT, T - SECOND),
            id="a doubt made void",
        ),
        pytest.param(
            Watch(T + NORMAL, "held", 7, DOUBT, T - SECOND),
            WEBHOOK,
            Watch(T - SECOND + NORMAL, None, 7, DOUBT, T - SECOND),
            id="a doubt that is held made void",
        ),
        pytest.param(
            Watch(T + 1, "confirm", 7, DOUBT, T - 9 * SECOND),
            SUSPECT,
            Watch(T, "late", 7, DOUBT, T - 9 * SECOND),
            id="a doubt made void by a suspect",
        ),
        pytest.param(
            Watch(T + 1, "confirm", 7, LATER_DOUBT, T - SECOND),
            WEBHOOK,
            Watch(T + 1, "confirm", 7, LATER_DOUBT, T - SECOND),
            id="a doubt that came after all that is on record of the user",
        ),
        pytest.param(
            Watch(T + 1, "confirm", 7, DOUBT, T - SECOND),
            Reschedule(T),
            Watch(T + 1, "confirm", 7, DOUBT, T - SECOND),
            id="a tier says nothing of a doubt",
        ),
    ],
)
def test_what_an_event_does(before: Watch | None, heard: Reschedule, after: Watch) -> None:
    assert rescheduled(before, heard, PRESENCE, SOURCE) == after


@pytest.mark.parametrize(("tier", "seconds"), [("vip", 18), ("normal", 294), ("cold", 3528), (None, 294)])
@pytest.mark.parametrize("heard", [WEBHOOK, Reschedule(T)])
def test_a_tier_that_somebody_chose_holds_whatever_comes(tier: Tier | None, seconds: int, heard: Reschedule) -> None:
    chosen = replace(PRESENCE, tier=tier)
    far = Watch(T + 10_000 * SECOND)
    assert rescheduled(far, heard, chosen, SOURCE).due_at == T + seconds * SECOND
    doubted = Watch(T + 1, "confirm", None, DOUBT, T)
    assert rescheduled(doubted, WEBHOOK, chosen, SOURCE).due_at == due_after(chosen, SOURCE, T)


@pytest.mark.parametrize(
    ("uid", "tier", "profile", "seconds"),
    [
        pytest.param("alice", None, Profile.V2_2, 294, id="a normal user, or a cold one"),
        pytest.param("bob", None, Profile.V2_2, 18, id="a vip while they are online, whom the server silences"),
        pytest.param("bob", None, Profile.V3, 294, id="silenced by no server"),
        pytest.param("alice", "vip", Profile.V2_2, 18, id="a vip by choice"),
        pytest.param("bob", "cold", Profile.V2_2, 3528, id="a cold one by choice"),
    ],
)
@pytest.mark.parametrize("seen_at", [None, T])
def test_a_watch_is_steady_that_is_due_as_soon_as_any_webhook_could_ask_for(
    uid: str, tier: Tier | None, profile: Profile, seconds: int, seen_at: int | None
) -> None:
    presence, source = Presence(uid, last_seen_at=seen_at, tier=tier), replace(SOURCE, profile=profile)
    due = T + seconds * SECOND
    assert is_steady(Watch(due, "late"), presence, source, T)
    assert not is_steady(Watch(due + 1), presence, source, T)
    assert not is_steady(Watch(due, doubt=DOUBT), presence, source, T)


def test_who_was_never_seen_is_looked_at_rarely() -> None:
    nobody = Presence("u", position=1)
    assert rescheduled(Watch(T + 10_000 * SECOND), WEBHOOK, nobody, SOURCE).due_at == T + 3528 * SECOND


def test_what_is_needed_of_events() -> None:
    observed = given("u-0-0-1-0-0").events[0]
    assert isinstance(observed, WebhookObserved)
    assert reschedule_from(observed) == Reschedule(observed.received_at, "main", "late_offline")
    tier = TierSet(received_at=T, tier="vip", by="key", status_before="online", status_after="online")
    assert reschedule_from(tier) == Reschedule(T)
    corrected = Corrected(
        source="main", node="n1", received_at=T, rule="poll_ghost", status_before="online", status_after="offline",
        run="r", poll="p", asked_at=T, drift="ghost",
    )  # fmt: skip
    assert reschedule_from(corrected) is None

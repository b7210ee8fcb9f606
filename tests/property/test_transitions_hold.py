"""Transitions told and untold: whatever happens each is counted once, wherever a batch of events ends."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Swept
from ledger.domain.untold import Key, ToldTransition, Untold, UserTransitions
from ledger.sources.wukongim.answers import Boot
from tests.support.lived import lived
from tests.support.reconciler import Kept, Reconciler


class Stored:
    """One user's transitions, as a projection keeps them from batch to batch."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.told: list[ToldTransition] = []
        self.untold: dict[Key, Untold] = {}

    def take(self, batch: list[tuple[int, UserEvent]]) -> None:
        user = UserTransitions(self.uid, [each for each in self.untold.values() if each.state != "final"])
        for position, event in batch:
            user.take(event, position)
        self.told += user.told
        self.untold = {key: each for key, each in (self.untold | user.changed).items() if key not in user.dropped}

    @property
    def lost(self) -> list[Untold]:
        return [each for each in self.untold.values() if each.state != "supposed"]


def by_user(kept: list[Kept]) -> dict[str, list[tuple[int, UserEvent]]]:
    events: dict[str, list[tuple[int, UserEvent]]] = {}
    for each in kept:
        if each.uid is not None and isinstance(each.event, UserEvent):
            events.setdefault(each.uid, []).append((each.position, each.event))
    return events


def stored(uid: str, events: list[tuple[int, UserEvent]], batch: int) -> Stored:
    found = Stored(uid)
    for first in range(0, len(events), batch):
        found.take(events[first : first + batch])
    return found


def is_transition(event: UserEvent) -> bool:
    if not isinstance(event, WebhookObserved | Corrected | Swept):
        return False
    return "online" in (event.status_before, event.status_after) and event.status_before != event.status_after


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), batch=st.integers(1, 9))
def test_it_does_not_depend_on_where_a_batch_ends(seed: int, batch: int) -> None:
    for uid, events in by_user(lived(seed, 150).ledger.kept).items():
        whole, parts = stored(uid, events, len(events)), stored(uid, events, batch)
        assert (parts.told, parts.untold) == (whole.told, whole.untold)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_each_change_of_status_is_counted(seed: int) -> None:
    """And, besides, what came to light that changed none."""
    for uid, events in by_user(lived(seed, 150).ledger.kept).items():
        found = stored(uid, events, len(events))
        assert len(found.told) + len(found.lost) >= sum(is_transition(event) for _, event in events)
        assert all(each.after is None or each.after <= each.at for each in found.lost)


@given(users=st.integers(1, 30), profile=st.sampled_from(list(Profile)))
def test_a_restart_of_wukongim_loses_nothing(users: int, profile: Profile) -> None:
    counts = 0 if profile is Profile.V2_1 else 1
    ledger = Reconciler(profile)
    ledger.probe("n1", Boot(ledger.at - 9 * SECOND, ledger.at - 8 * SECOND, 1))
    for conn_id in range(1, users + 1):
        ledger.hear("n1", f"u{conn_id}-0-1-{conn_id}-{counts}-{counts}")
    ledger.pass_time(20.0)
    ledger.probe("n1", Boot(ledger.at - 2 * SECOND, ledger.at - SECOND, 1))
    ledger.pass_time(1.0)
    for conn_id in range(1, users + 1):
        ledger.hear("n1", f"u{conn_id}-0-1-{conn_id}-{counts}-{counts}")
    found = [stored(uid, events, 2) for uid, events in by_user(ledger.kept).items()]
    assert [[each.by for each in user.told] for user in found] == [["webhook", "restart", "webhook"]] * users
    assert not any(user.lost for user in found)

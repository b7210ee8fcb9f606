"""As of: what later evidence says of an instant before it."""

import pytest

from ledger.domain.as_of import Belief, Later, Uncertain, arrived, believe
from ledger.domain.events import SessionId, Status, WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import Corrected, OpenedSession, Swept, TierSet

T = 1_800_000_000 * SECOND
SESSION = SessionId("", 0, 1)


def at(seconds: float) -> Instant:
    return T + round(seconds * SECOND)


def webhook(seconds: float, *, online: bool, conn_id: int = 1, before: Status = "unknown") -> WebhookObserved:
    return WebhookObserved(
        source="main",
        node="n1",
        delivery="d",
        item=0,
        raw="",
        received_at=at(seconds),
        verdict="opened" if online else "closed",
        rule="",
        status_before=before,
        status_after="online" if online else "offline",
        device_flag=0,
        online=online,
        conn_id=conn_id,
    )


def ghost(seconds: float, agreed: float | None, disagreed: float) -> Corrected:
    return Corrected(
        source="main",
        node="n1",
        received_at=at(seconds),
        rule="poll_ghost",
        status_before="online",
        status_after="offline",
        run="r",
        poll="p",
        asked_at=at(seconds),
        drift="ghost",
        agreed_at=None if agreed is None else at(agreed),
        disagreed_at=at(disagreed),
        closed=(SESSION,),
    )


def missed(seconds: float, agreed: float, disagreed: float) -> Corrected:
    return Corrected(
        source="main",
        node="n1",
        received_at=at(seconds),
        rule="poll_missed",
        status_before="offline",
        status_after="online",
        run="r",
        poll="p",
        asked_at=at(seconds),
        drift="missed",
        agreed_at=at(agreed),
        disagreed_at=at(disagreed),
        opened=(OpenedSession("", 0, None, "n1"),),
    )


def restart(seconds: float, earliest: float, latest: float) -> Swept:
    return Swept(
        source="main",
        node="n1",
        received_at=at(seconds),
        rule="restart",
        status_before="online",
        status_after="online",
        ended=(SESSION,),
        run="r",
        evidence=1,
        earliest=at(earliest),
        latest=at(latest),
    )


TIER = TierSet(received_at=at(1), tier="vip", by="me", status_before="online", status_after="online")

ONLINE = evolve(Presence("u"), webhook(0, online=True), 1)
OFFLINE = evolve(ONLINE, webhook(5, online=False, before="online"), 2)


def belief(presence: Presence, seconds: float, *later: object) -> Belief:
    events = [Later(10 + number, event) for number, event in enumerate(later)]  # type: ignore[arg-type]
    return believe(presence, events, {}, at(seconds))


def statuses(found: Belief) -> tuple[str, str | None]:
    return found.shown.status, None if found.uncertain is None else found.uncertain.could_be


def test_without_later_evidence_it_is_what_had_been_recorded() -> None:
    found = belief(ONLINE, 10)
    assert found == Belief(ONLINE, found.shown)
    assert statuses(found) == ("online", None)


@pytest.mark.parametrize(
    ("seconds", "status", "could_be"),
    [(10, "online", None), (10.5, "online", "offline"), (19.9, "online", "offline"), (20, "offline", None)],
)
def test_a_ghost_had_gone_by_its_first_look_and_may_have_before(seconds: float, status: str, could_be: str) -> None:
    found = belief(ONLINE, seconds, TIER, ghost(23, agreed=10, disagreed=20))
    assert statuses(found) == (status, could_be)
    if could_be:
        assert found.uncertain == Uncertain(at(10), at(20), "offline")


def test_what_is_applied_early_says_which_event_told_of_it() -> None:
    shown = belief(ONLINE, 21, ghost(23, agreed=10, disagreed=20)).shown
    assert (shown.since, shown.cause and (shown.cause.kind, shown.cause.position)) == (at(20), ("correction", 10))


def test_a_drift_that_began_nobody_knows_when_hedges_nothing() -> None:
    assert statuses(belief(ONLINE, 15, ghost(23, agreed=None, disagreed=20))) == ("online", None)


def test_a_missed_online_was_there_by_the_look_that_found_it() -> None:
    correction = missed(30, agreed=10, disagreed=30)
    assert statuses(belief(OFFLINE, 20, correction)) == ("offline", "online")
    assert statuses(belief(OFFLINE, 30, correction)) == ("online", None)


def test_a_sweep_ends_what_was_open_then_whatever_came_after() -> None:
    later = (webhook(25, online=True, conn_id=7, before="online"), restart(30, earliest=10, latest=20))
    assert statuses(belief(ONLINE, 15, *later)) == ("online", "offline")
    assert statuses(belief(ONLINE, 22, *later)) == ("offline", None)


def test_of_several_the_first_is_the_one_that_hedges() -> None:
    later = (ghost(23, agreed=10, disagreed=20), ghost(43, agreed=12, disagreed=40))
    assert belief(ONLINE, 15, *later).uncertain == Uncertain(at(10), at(20), "offline")


def test_what_changes_no_status_hedges_nothing() -> None:
    two = evolve(ONLINE, webhook(1, online=True, conn_id=2, before="online"), 2)
    assert statuses(belief(two, 15, ghost(23, agreed=10, disagreed=20))) == ("online", None)


def test_a_webhook_speaks_of_its_own_time_alone() -> None:
    assert statuses(belief(ONLINE, 21, webhook(25, online=False, before="online"))) == ("online", None)


def test_a_sweep_without_bounds_says_nothing_of_the_time_before() -> None:
    retired = Swept(
        source="main",
        node="n1",
        received_at=at(30),
        rule="node_retired",
        status_before="online",
        status_after="offline",
        ended=(SESSION,),
        run="r",
        evidence=1,
    )
    assert statuses(belief(ONLINE, 15, retired)) == ("online", None)


def test_what_had_arrived_is_a_beginning_of_what_follows() -> None:
    later = [Later(n, webhook(s, online=True)) for n, s in enumerate((1, 2, 9, 3))]
    assert [arrived(later, at(s)) for s in (0, 1, 2, 8, 9)] == [0, 1, 2, 2, 4]

"""Late evidence: what comes from the spool overrules nothing that was learnt since it came, and adds what it can."""

import pytest
from msgspec.structs import replace

from ledger.domain.decide import decide
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.observation import SECOND, Claim, Instant, Observation, parse_item
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.presence import Presence
from ledger.domain.profile import COUNTING, Profile
from ledger.domain.reconciliation_events import Corrected, OpenedSession

T = 1_700_000_000 * SECOND
MAIN = "main"


class Life:
    """A user's evidence in the order of the ledger, each item with the second at which it was received."""

    def __init__(self, profile: Profile = Profile.V2_2) -> None:
        self.presence = Presence("u")
        self.profile = profile

    def item(self, second: float, raw: str, *, spooled: bool = False) -> WebhookObserved:
        claim = parse_item(f"u-{raw}")
        assert isinstance(claim, Claim)
        at: Instant = T + round(second * SECOND)
        observation = Observation(claim, MAIN, "n1", "d", 0, raw, at, spooled=spooled)
        event = decide(COUNTING[self.profile], self.presence, observation, DEFAULT_POLICY)
        self._take(event)
        return event

    def spooled(self, second: float, raw: str) -> tuple[str, str, str | None]:
        """-> verdict, rule, suspect"""
        event = self.item(second, raw, spooled=True)
        return event.verdict, event.rule, event.suspect

    def look(self, second: float, *opened: int | None, closed: tuple[int, ...] = ()) -> None:
        at = T + round(second * SECOND)
        scope = ""
        event = Corrected(
            source=MAIN, node="n1", received_at=at, rule="poll_missed" if opened else "poll_ghost",
            status_before=self.presence.status, status_after="online" if opened else "offline",
            run="r", poll="p", asked_at=at, drift="missed" if opened else "ghost",
            agreed_at=None, disagreed_at=at, looks=1,
            opened=tuple(OpenedSession(scope, 0, conn_id, "n1", None) for conn_id in opened),
            closed=tuple(SessionId(scope, 0, conn_id) for conn_id in closed),
        )  # fmt: skip
        self._take(event)

    def _take(self, event: WebhookObserved | Corrected) -> None:
        self.presence = evolve(self.presence, event, self.presence.position + 1)

    @property
    def open(self) -> list[int | None]:
        return [session.conn_id for device in self.presence.devices for session in device.sessions]


def test_in_its_order_it_is_judged_as_if_it_had_come_at_once() -> None:
    told, late = Life(), Life()
    told_events = [
        told.item(1, "0-1-1-1-1"),
        told.item(2, "0-1-2-2-2"),
        told.item(3, "0-0-1-1-1"),
        told.item(4, "0-0-2-0-0"),
    ]
    late_events = [
        late.item(1, "0-1-1-1-1"),
        *(
            late.item(second, raw, spooled=True)
            for second, raw in ((2, "0-1-2-2-2"), (3, "0-0-1-1-1"), (4, "0-0-2-0-0"))
        ),
    ]
    assert late_events == told_events
    assert late.presence == told.presence


def test_an_online_opens_nothing_on_who_was_found_offline_since() -> None:
    life = Life()
    life.item(0, "0-1-1-1-1")
    life.look(10, closed=(1,))
    assert life.spooled(5, "0-1-2-2-2") == ("stale", "online_spooled_late", "spooled_late")
    assert (life.presence.status, life.open) == ("offline", [])


def test_an_online_of_another_device_opens_where_nothing_speaks_against_it() -> None:
    life = Life()
    life.item(10, "0-1-1-1-1")
    assert life.spooled(5, "1-1-2-1-1") == ("opened", "online_new", "spooled_late")
    assert life.open == [1, 2]


def test_an_online_of_a_device_that_was_emptied_since_is_stale() -> None:
    life = Life()
    life.item(0, "1-1-9-1-1")
    life.item(1, "0-1-1-1-2")
    life.item(10, "0-0-1-0-1")
    assert life.spooled(5, "0-1-2-2-3")[:2] == ("stale", "online_spooled_late")
    assert life.open == [9]


def test_an_online_names_the_session_that_a_look_found_since() -> None:
    life = Life()
    life.item(0, "0-0-7-0-0")
    life.look(10, None)
    assert life.spooled(5, "0-1-8-1-1")[:2] == ("opened", "online_names_session")
    assert life.open == [8]


def test_an_offline_closes_nothing_that_was_seen_since() -> None:
    life = Life()
    life.item(0, "0-1-1-1-1")
    life.item(10, "0-1-1-1-1")
    assert life.spooled(5, "0-0-1-0-0") == ("late", "offline_spooled_late", "spooled_late")
    assert (life.presence.status, life.open) == ("online", [1])


def test_an_offline_closes_no_unnamed_session_that_a_look_found_since() -> None:
    life = Life()
    life.item(0, "0-0-7-0-0")
    life.look(10, None)
    assert life.spooled(5, "0-0-8-0-0")[:2] == ("late", "offline_spooled_late")
    assert life.open == [None]


def test_an_offline_closes_what_was_not_heard_of_since_and_its_counts_end_nothing_else() -> None:
    life = Life()
    life.item(0, "0-1-1-1-1")
    life.item(10, "0-1-2-2-2")
    assert life.spooled(5, "0-0-1-0-0") == ("closed", "offline_of_open", "spooled_late")
    assert (life.presence.status, life.open) == ("online", [2])


def test_counts_of_then_imply_nothing_now() -> None:
    life = Life()
    life.item(0, "0-1-1-1-1")
    life.item(10, "0-0-1-0-0")
    event = life.item(5, "0-0-9-3-3", spooled=True)
    assert (event.verdict, event.implied, event.implied_elsewhere) == ("late", 0, 0)
    assert life.presence.status == "offline"


def test_what_is_said_again_late_makes_nothing_older() -> None:
    life = Life()
    life.item(10, "0-1-1-1-1")
    assert life.spooled(5, "0-1-1-1-1") == ("duplicate", "online_already_open", None)
    assert life.presence.devices[0].sessions[0].seen_at == T + 10 * SECOND


def test_what_one_source_says_is_not_overtaken_by_a_device_of_another() -> None:
    life = Life()
    life.item(0, "0-1-1-1-1")
    other = replace(life.presence.devices[0], source="other", since=T + 20 * SECOND)
    life.presence = replace(life.presence, devices=(*life.presence.devices, other))
    assert life.spooled(5, "0-0-1-0-0") == ("closed", "offline_of_open", None)


@pytest.mark.parametrize("profile", [Profile.V2_2, Profile.V3])
def test_an_offline_that_is_not_late_takes_the_place_of_what_a_look_told(profile: Profile) -> None:
    life = Life(profile)
    life.item(0, "0-0-7-0-0")
    life.look(4, None)
    assert life.spooled(5, "0-0-8-0-0")[:2] == ("closed", "offline_names_session")
    assert life.presence.status == "offline"


@pytest.mark.parametrize(("told", "left"), [("0-1-2-2-2", [1, 2, 3]), ("0-0-9-1-1", [1, 3])])
def test_a_connection_that_came_or_went_since_makes_counts_out_of_date(told: str, left: list[int]) -> None:
    """The user and the device have been online all the while: only the connection says that something is newer."""
    life = Life()
    life.item(1, "0-1-1-1-1")
    life.item(20, told)
    assert life.spooled(10, "0-1-3-1-1") == ("opened", "online_new", "spooled_late")
    assert life.open == left

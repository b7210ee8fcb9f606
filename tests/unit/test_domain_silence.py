"""Whether webhooks have stopped: only what they must have told since the last one says so."""

from typing import Any

import pytest

from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import Finding
from ledger.domain.silence import MAX_UNTOLD_USERS, SILENT_SECONDS, Listening, NodeRhythm, UntoldUsers, must_have_told

T = 1_800_000_000 * SECOND
LISTENING = Listening(began_at=T, listed_at=T + 300 * SECOND, heard_at=T + 100 * SECOND)


def found(**fields: Any) -> Finding:
    """A user who was online at 200 s, and was not at 210 s nor later."""
    at = {"agreed_at": T + 200 * SECOND, "disagreed_at": T + 210 * SECOND}
    return Finding(**({"uid": "u", "drift": "ghost", "outcome": "corrected", "attributed_to": "sender"} | at | fields))


@pytest.mark.parametrize("drift", ["ghost", "missed"])
@pytest.mark.parametrize("cause", ["sender", "gap", None])
def test_somebody_who_came_or_went_since_the_last_webhook_must_have_been_told_of(drift: Any, cause: Any) -> None:
    assert must_have_told(found(drift=drift, attributed_to=cause), LISTENING)


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "open"},
        {"outcome": "held"},
        {"outcome": "cleared"},
        {"outcome": "in_flight"},
        {"drift": "devices"},
        {"attributed_to": "node"},
        {"attributed_to": "restart"},
        {"attributed_to": "upstream_defect"},
        {"agreed_at": T + 99 * SECOND},
        {"agreed_at": None},
    ],
)
def test_what_may_have_been_untold_for_another_reason_is_no_sign(fields: dict[str, Any]) -> None:
    assert not must_have_told(found(**fields), LISTENING)


def test_what_changed_before_we_listened_is_no_sign() -> None:
    never = LISTENING._replace(heard_at=None)
    assert must_have_told(found(agreed_at=T), never)
    assert not must_have_told(found(agreed_at=T - 1), never)
    assert not must_have_told(found(agreed_at=T - 1), never._replace(heard_at=T - 100 * SECOND))


def test_somebody_seen_for_the_first_time_is_one_once_everybody_was_listed() -> None:
    newcomer = found(drift="missed", agreed_at=None, disagreed_at=LISTENING.listed_at)
    assert must_have_told(newcomer, LISTENING)
    assert must_have_told(newcomer, LISTENING._replace(heard_at=None))
    assert not must_have_told(newcomer, LISTENING._replace(heard_at=LISTENING.listed_at + 1))


def test_two_users_who_went_untold_for_a_minute_are_silence() -> None:
    minute = round(SILENT_SECONDS * SECOND)
    assert not untold().are_silence(T)
    assert not untold(u=T - 10 * minute).are_silence(T)
    assert not untold(u=T - minute + 1, v=T).are_silence(T)
    assert untold(u=T - minute, v=T).are_silence(T)
    assert untold(u=T, v=T - minute).are_silence(T)


def test_a_user_counts_once_and_from_when_they_were_found_first() -> None:
    users = untold(u=T, v=T + 1)
    users.note("u", T - 1)
    assert (len(users), users.since) == (2, T)
    users.clear()
    assert (len(users), users.since) == (0, None)
    users.note("u", T + 5)
    assert (len(users), users.since) == (1, T + 5)


def test_no_more_are_kept_than_say_anything() -> None:
    users = UntoldUsers()
    for number in range(MAX_UNTOLD_USERS + 5):
        users.note(str(number), T + number)
    assert (len(users), users.since) == (MAX_UNTOLD_USERS, T)


def untold(**found_at: int) -> UntoldUsers:
    """These users, and when they were found."""
    users = UntoldUsers()
    for uid, at in found_at.items():
        users.note(uid, at)
    return users


def rhythm(*moments: tuple[int, bool], boot: object = None) -> NodeRhythm:
    """Of so many moments each, in which it posted or did not."""
    found = NodeRhythm()
    for number, posted in moments:
        for _ in range(number):
            found.note(boot, posted=posted)
    return found


@pytest.mark.parametrize(
    ("moments", "has_stopped"),
    [
        pytest.param(((20, True), (30, False)), True, id="it posted always, and no more"),
        pytest.param(((20, True), (29, False)), False, id="for a moment"),
        pytest.param(((19, True), (500, False)), False, id="it had posted seldom"),
        pytest.param(((20, True), (60, False), (1, True), (40, False)), False, id="one of four: missed too few"),
        pytest.param(((20, True), (60, False), (1, True), (60, False)), True, id="one of four: missed too many"),
        pytest.param(((9_990, True), (100, False), (9_990, True), (30, False)), True, id="long"),
        pytest.param(((20, True), (30, False), (1, True)), False, id="it posts again"),
    ],
)
def test_a_node_has_stopped_where_that_is_next_to_impossible(
    moments: tuple[tuple[int, bool], ...], has_stopped: bool
) -> None:
    assert rhythm(*moments).has_stopped == has_stopped


def test_after_a_boot_a_node_may_post_for_nobody() -> None:
    node = rhythm((50, True))
    for _ in range(100):
        node.note((T, T), posted=False)
    assert not node.has_stopped

"""Slices judged again: the same with the same policy; with another one, what would have been shown and for how long."""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from ledger.domain.event_types import Event
from ledger.domain.events import Configured, DeliveryReceived, WebhookObserved
from ledger.domain.policy import RULES_VERSION
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import PollObserved
from ledger.replay.judging import NO_DELIVERY, NO_POLL
from ledger.replay.judging_polls import DOUBT_BEFORE
from ledger.replay.slice import Trial, replay_slice
from ledger.slices.form import Slice
from tests.support.reconciler import STARTED_AT, Reconciler
from tests.support.slices import MAPPER, boot_at, event_of, eventful, replayed, slice_of

SECOND = 1_000_000


def statuses(transitions: Sequence[tuple[int, str]]) -> list[tuple[float, str]]:
    """The instants in seconds since the start."""
    return [((at - STARTED_AT) / SECOND, status) for at, status in transitions]


@pytest.fixture
def world() -> Reconciler:
    """A user comes, goes, and is back after three seconds."""
    found = Reconciler(Profile.V2_2)
    found.hear("n1", "u-0-1-1-1-1")
    found.pass_time(10.0)
    found.hear("n1", "u-0-0-1-0-0")
    found.pass_time(3.0)
    found.hear("n1", "u-0-1-2-1-1")
    found.pass_time(20.0)
    found.hear("n1", "v-0-1-3-1-1")
    return found


@pytest.mark.parametrize("start", range(0, 36, 3))
def test_what_was_recorded_is_judged_the_same_again(start: int) -> None:
    result = replayed(slice_of(eventful().kept, start))
    assert result.differing == 0
    assert result.not_repeatable.keys() <= {DOUBT_BEFORE}
    assert all(pair.same for pair in result.side_by_side.users.values())


def test_what_came_late_from_a_spool_is_judged_as_late_again(world: Reconciler) -> None:
    observed = world.hear("n1", "u-0-1-3-2-2", "u-0-0-2-0-0", spooled_seconds=28.0)
    assert [event.rule for event in observed] == ["online_spooled_late", "offline_spooled_late"]
    result = replayed(slice_of(world.kept))
    assert (result.differing, result.repeated) == (0, 11)


def test_the_outcome_as_programs_read_it(world: Reconciler) -> None:
    printed = replayed(slice_of(world.kept)).as_dict()
    assert printed["users"]["u"] == {
        "recorded": [
            ("2027-01-15T08:00:00.000000Z", "online"),
            ("2027-01-15T08:00:10.000000Z", "offline"),
            ("2027-01-15T08:00:13.000000Z", "online"),
        ],
        "replayed": printed["users"]["u"]["recorded"],
        "differing_seconds": 0.0,
    }
    assert printed["verdicts"] == {"recorded": {"closed": 1, "opened": 3}, "replayed": {"closed": 1, "opened": 3}}
    assert printed["judged"] == {"reproduced": 8, "differing": 0, "not_repeatable": {}}
    assert printed["rules"] == {"recorded": [1], "replayed": RULES_VERSION}
    assert (printed["policy"], printed["differing_seconds"], printed["events"]) == ({}, 0.0, 9)
    assert printed["until"] == "2027-01-15T08:00:33.000000Z"


def test_with_a_grace_period_the_flip_would_not_have_been_seen(world: Reconciler) -> None:
    result = replayed(slice_of(world.kept), grace_seconds=5.0)
    pair = result.side_by_side.users["u"]
    assert statuses(pair.recorded) == [(0.0, "online"), (10.0, "offline"), (13.0, "online")]
    assert statuses(pair.replayed) == [(0.0, "online")]
    assert (pair.differing, result.side_by_side.differing_seconds) == (3 * SECOND, 3.0)
    assert result.as_dict()["policy"] == {"grace_seconds": 5.0}


def test_a_shorter_grace_period_ends_between_two_events(world: Reconciler) -> None:
    pair = replayed(slice_of(world.kept), grace_seconds=2.0).side_by_side.users["u"]
    assert statuses(pair.replayed) == [(0.0, "online"), (12.0, "offline"), (13.0, "online")]
    assert pair.differing == 2 * SECOND


def test_until_an_instant(world: Reconciler) -> None:
    result = replay_slice(slice_of(world.kept), MAPPER, Trial(lambda policy: policy, STARTED_AT + 12 * SECOND))
    assert statuses(result.side_by_side.users["u"].recorded) == [(0.0, "online"), (10.0, "offline")]
    assert result.ended_at == STARTED_AT + 12 * SECOND


def gone_without_a_word(looks: int) -> Reconciler:
    """A user whose offline was lost, and so many looks."""
    world = Reconciler(Profile.V2_2)
    world.hear("n1", "u-0-1-1-1-1")
    for _ in range(looks):
        world.pass_time(10.0)
        world.answer(world.ask(["u"]), {})
    world.pass_time(10.0)
    world.hear("n1", "v-0-1-2-1-1")
    return world


def test_with_one_look_enough_the_ghost_is_corrected_sooner() -> None:
    result = replayed(slice_of(gone_without_a_word(2).kept), confirmations=1)
    pair = result.side_by_side.users["u"]
    assert statuses(pair.recorded) == [(0.0, "online"), (20.0, "offline")]
    assert statuses(pair.replayed) == [(0.0, "online"), (10.0, "offline")]
    first, second = result.as_dict()["differing_verdicts"]
    assert first["recorded"] == [{"drift": "ghost", "outcome": "open"}]
    assert first["replayed"][0] == {"drift": "ghost", "outcome": "corrected"}
    assert first["replayed"][1]["rule"] == "poll_ghost"
    assert first["differs_in"] == ["outcome"]
    assert (second["uid"], second["replayed"]) == ("u", [])


def test_with_more_looks_wanted_it_stays_until_evidence_says_otherwise() -> None:
    world = gone_without_a_word(2)
    world.probe("n1", boot_at(world.at - 3600 * SECOND))
    world.pass_time(10.0)
    world.probe("n1", boot_at(world.at - SECOND))
    result = replayed(slice_of(world.kept), confirmations=3)
    pair = result.side_by_side.users["u"]
    # Nobody had to be swept in the ledger: here the boot ends what it still held.
    assert statuses(pair.replayed)[-1][1] == "offline"
    assert result.replayed["swept"] == result.recorded["swept"] + 1
    assert pair.differing == 20 * SECOND


def test_without_a_window_nothing_repeats() -> None:
    world = Reconciler(Profile.V2_2)
    for _ in range(2):
        world.hear("n1", "u-0-1-1-1-1")
        world.pass_time(1.0)
    result = replayed(slice_of(world.kept), dedupe_seconds=0.0)
    assert result.differing == 2
    delivery = result.as_dict()["differing_verdicts"][0]
    assert (delivery["uid"], delivery["recorded"][0]["repeats"], delivery["replayed"][0]["repeats"]) == (
        None,
        "d1",
        None,
    )


def test_what_the_evidence_does_not_tell_is_taken_as_recorded(world: Reconciler) -> None:
    printed = replayed(slice_of(world.kept), dark_seconds=1.0).as_dict()
    assert printed["not_judged_again"] == ["dark_seconds"]
    assert printed["judged"]["differing"] == 0


def changed(taken: Slice, change: Callable[[Event], Event]) -> Slice:
    """The same slice with other events."""
    payloads = [MAPPER.kind_and_payload(change(event_of(line)))[1] for line in taken.lines]
    lines = zip(taken.lines, payloads, strict=True)
    return Slice(taken.header, [msgspec.structs.replace(line, payload=msgspec.Raw(raw)) for line, raw in lines])


def test_rules_of_another_version_are_told() -> None:
    def older(event: Event) -> Event:
        return msgspec.structs.replace(event, rules_version=0) if isinstance(event, Configured) else event

    taken = changed(slice_of(eventful().kept), older)
    assert replayed(taken).as_dict()["rules"] == {"recorded": [0], "replayed": RULES_VERSION}


def test_a_verdict_that_the_rules_do_not_come_to_shows() -> None:
    def made_up(event: Event) -> Event:
        is_one = isinstance(event, WebhookObserved) and event.raw == "bob-1-0-2-0-0"
        return msgspec.structs.replace(event, rule="made_up") if is_one else event

    [found] = replayed(changed(slice_of(eventful().kept), made_up)).as_dict()["differing_verdicts"]
    assert (found["uid"], found["differs_in"]) == ("bob", ["rule"])


@pytest.mark.parametrize(
    ("left_out", "why", "number"), [(DeliveryReceived, NO_DELIVERY, 9), (PollObserved, NO_POLL, 2)]
)
def test_what_lacks_its_evidence_is_counted_and_never_called_the_same(left_out: type, why: str, number: int) -> None:
    taken = slice_of(eventful().kept)
    lines = [line for line in taken.lines if not isinstance(event_of(line), left_out)]
    result = replayed(Slice(taken.header, lines))
    assert result.not_repeatable == {why: number}
    assert result.repeated < replayed(taken).repeated - number


def test_nothing_at_all() -> None:
    result = replayed(slice_of([]))
    assert (result.events, result.as_dict()["users"]) == (0, {})
    assert result.as_dict()["policy"] == {}

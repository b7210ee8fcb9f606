"""Rejected items as events: a few have one each, very many stand together, and not a byte of them is lost."""

import pytest

from ledger.domain.event_types import Event
from ledger.domain.events import DeliveryReceived, ItemRejected
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft, read_webhook
from ledger.ingest.rejected import MAX_FOLLOWING, MAX_FOLLOWING_CHARACTERS, MAX_ITEM_CHARACTERS, MAX_OWN_EVENTS
from ledger.simulator.sender import encode

BOUND = 65536


def events_of(*items: str, bound: int = BOUND) -> tuple[DeliveryReceived, list[Event]]:
    draft = Draft({"main": SourceState("main")}, {}, 0, bound)
    received, *events = [each.event for each in draft.add(read_webhook("d", "main", "n1", 1, encode(items), bound))]
    assert isinstance(received, DeliveryReceived)
    assert received.items == len(items) == len(events) + received.following
    assert draft.source("main").version == 1 + sum(isinstance(event, ItemRejected) for event in events)
    return received, events


def kept(events: list[Event]) -> list[tuple[int, int]]:
    """(number of the first, how many) of each event of rejected items."""
    return [(each.item, 1 + len(each.following)) for each in events if isinstance(each, ItemRejected)]


def test_a_few_have_an_event_each() -> None:
    received, events = events_of(*["junk"] * MAX_OWN_EVENTS, "u-0-1-1-1-1")
    assert (received.rejected, received.following) == (MAX_OWN_EVENTS, 0)
    assert kept(events) == [(number, 1) for number in range(MAX_OWN_EVENTS)]


def test_very_many_stand_together_in_their_order_and_claims_between_them() -> None:
    items = [f"junk {number}" for number in range(2500)]
    received, events = events_of(*items[:2000], "u-0-1-1-1-1", *items[2000:])
    most = MAX_FOLLOWING + 1
    assert kept(events) == [(0, most), (most, 2000 - most), (2001, 500)]
    assert received.rejected == 2500
    rejected = [each for each in events if isinstance(each, ItemRejected)]
    assert [raw for each in rejected for raw in (each.raw, *each.following)] == [f'"{item}"' for item in items]


@pytest.mark.parametrize(
    ("other", "bound", "told"),
    [
        pytest.param("u\0-0-1-1-1-1", BOUND, [(0, 101), (101, 1), (102, 2)], id="another reason"),
        pytest.param("x" * (MAX_ITEM_CHARACTERS + 1), BOUND, [(0, 101), (101, 3)], id="too long to stand with others"),
        pytest.param("\u4f60" * 30, 64, [(0, 101), (101, 3)], id="longer than what is kept whole"),
    ],
)
def test_what_is_not_alike_does_not_follow(other: str, bound: int, told: list[tuple[int, int]]) -> None:
    _, events = events_of(*["junk"] * 101, other, "junk", "junk", bound=bound)
    assert kept(events) == told


def test_one_event_holds_a_bounded_text() -> None:
    _, events = events_of(*["x" * 200] * 1000)
    assert {number for _, number in kept(events)[:-1]} == {1 + MAX_FOLLOWING_CHARACTERS // 202}

"""Checks how a user's events are told: each once, folded alike from either end, in stretches of their stream."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from projections.queries import telling as tellings
from projections.queries.telling import EntryTeller, ToldEntry
from tests.support.lived import lived
from tests.support.repeated import repeating
from tests.support.told import all_followed, replayed

FOLDED = {"duplicate", "late", "stale"}

Placed = tuple[int, int, UserEvent]
"""Version, position and event."""


def of_users(events: Iterable[tuple[str | None, int, Any]]) -> list[list[Placed]]:
    """Of each user the events in their order."""
    found: dict[str, list[Placed]] = {}
    for uid, position, event in events:
        if uid is not None:
            mine = found.setdefault(uid, [])
            mine.append((len(mine) + 1, position, event))
    return list(found.values())


def lives(seed: int) -> list[list[Placed]]:
    kept = [*repeating(seed), *lived(seed, 120, overrides=True).ledger.kept]
    return of_users((each.uid, number, each.event) for number, each in enumerate(kept))


def tell(events: Iterable[Placed], *, descending: bool = False) -> list[ToldEntry]:
    """Their entries, the oldest first."""
    telling = EntryTeller(descending=descending)
    done = [telling.take(*placed) for placed in events]
    told = [each for each in (*done, telling.rest()) if each is not None]
    return told[::-1] if descending else told


@pytest.mark.parametrize("stretch", [1, 8, 1_024])
@pytest.mark.parametrize("seed", range(4))
def test_every_event_is_told_once_from_either_end(seed: int, stretch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tellings, "STRETCH_VERSIONS", stretch)
    for events in lives(seed):
        told = tell(events)
        assert tell(reversed(events), descending=True) == told
        entries = [json.loads(each.entry) for each in told]
        assert sum(entry.get("number", 1) for entry in entries) == len(events)
        assert [each.position for each in told] == [entry["position"] for entry in entries]
        assert (told[0].position, told[-1].last_position) == (events[0][1], events[-1][1])
        assert all(one.last_position < other.position for one, other in pairwise(told))
        version_at = {position: version for version, position, _ in events}
        for each, entry in zip(told, entries, strict=True):
            assert each.position == each.last_position or entry["kind"] in FOLDED
            versions = version_at[each.position], version_at[each.last_position]
            assert versions[0] // stretch == versions[1] // stretch
        for one, other in pairwise(entries):
            assert one["status_after"] == other["status_before"]
            goes_on = one["kind"] == other["kind"] in FOLDED and one["source"] == other["source"]
            assert not goes_on or version_at[other["position"]] % stretch == 0


@pytest.mark.parametrize("seed", range(4))
def test_from_any_end_of_a_stretch_on_it_is_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tellings, "STRETCH_VERSIONS", 4)
    for events in lives(seed):
        told = tell(events)
        for version, position, _ in events:
            if version == tellings.stretch_of(version):
                later = [each for each in events if each[0] >= version]
                earlier = [each for each in events if each[0] < version]
                assert tell(later) == [each for each in told if each.position >= position]
                assert tell(earlier[::-1], descending=True) == [each for each in told if each.position < position]


def test_folded_deliveries_and_items_are_told_apart() -> None:
    events = replayed("v22/retries_then_delivered")
    folds = 0
    for mine in of_users((each.uid, each.position, each.event) for each in events):
        for told in tell(mine):
            shown = json.loads(told.entry)
            if shown["kind"] != "duplicate":
                continue
            folds += 1
            folded = [event for _, position, event in mine if told.position <= position <= told.last_position]
            observed = [event for event in folded if isinstance(event, WebhookObserved)]
            assert len(folded) == shown["number"] == sum(shown["rules"].values()) == sum(shown["nodes"].values())
            again = [event for event in observed if event.repeated]
            assert shown["repeated_items"] == len(again)
            assert shown["deliveries"] == len({event.delivery for event in observed})
            assert shown["repeated_deliveries"] == len({event.delivery for event in again})
            assert (shown["first_raw"], shown["last_raw"]) == (observed[0].raw, observed[-1].raw)
            received = [event.received_at for event in observed]
            assert shown["last_position"] == told.last_position
            assert min(received) <= max(received)
    assert folds


def test_without_events_nothing_is_told() -> None:
    assert tell([]) == []


def test_sources_are_folded_apart() -> None:
    events = all_followed(repeating(0))
    [mine, *_] = of_users((each.uid, each.position, each.event) for each in events)
    other = [
        (version, position, event)
        for version, position, event in mine
        if isinstance(event, WebhookObserved) and event.verdict == "duplicate"
    ][:1]
    [(_, position, event)] = other
    elsewhere = WebhookObserved(**{name: getattr(event, name) for name in event.__struct_fields__} | {"source": "b"})
    assert [
        json.loads(each.entry)["source"] for each in tell([(1, position, event), (2, position + 1, elsewhere)])
    ] == [
        "main",
        "b",
    ]

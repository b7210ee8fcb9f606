"""The timeline: whatever is asked for, a page is that part of the whole, and intervals stand among its entries."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store.ledger import Ledger
from ledger.store.mapper import UnreadableEvent
from projections.engine.projector import Projector
from projections.models import snapshots
from projections.models.registry import FOLLOWING
from projections.queries import telling, timeline
from projections.queries.timeline import TimelineEntries, TimelineQuery, page
from tests.support.following import follow_all
from tests.support.ledgers import all_rows
from tests.support.lived import lived, pour
from tests.support.reconciler import Kept
from tests.support.repeated import repeating
from tests.support.tampering import unguarded
from tests.support.told import as_kept, replayed


async def _pages(url: str, asked: Sequence[tuple[str, TimelineQuery]]) -> list[TimelineEntries]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return [await page(connection, uid, wanted) for uid, wanted in asked]


def query(**wanted: Any) -> TimelineQuery:
    return TimelineQuery(**{"after": None, "limit": 100, **wanted})


def items(found: TimelineEntries) -> list[Any]:
    return list(json.loads(b"[" + found.items + b"]"))


def read(url: str, uid: str, **wanted: Any) -> tuple[list[Any], TimelineEntries]:
    [found] = asyncio.run(_pages(url, [(uid, query(**wanted))]))
    return items(found), found


def read_through(url: str, uid: str, **wanted: Any) -> list[Any]:
    """Page by page."""

    async def pages() -> list[Any]:
        entries, after = [], None
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while True:
                found = await page(connection, uid, query(after=after, **wanted))
                part = items(found)
                assert (len(part), found.last) == (found.number, part[-1]["position"] if part else None)
                entries += part
                if not found.more:
                    return entries
                after = found.last

    return asyncio.run(pages())


@pytest.fixture(params=["snapshots", "no snapshots"])
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    """Whether there are snapshots to begin at; stretches and reads are short."""
    for module, name, number in (
        (snapshots, "EVENTS_PER_SNAPSHOT", 3),
        (telling, "STRETCH_VERSIONS", 6),
        (timeline, "STRETCH_VERSIONS", 6),
        (timeline, "MAX_READ_EVENTS", 5),
    ):
        monkeypatch.setattr(module, name, number)
    return bool(request.param == "snapshots")


@pytest.mark.parametrize(
    "life", [lambda: repeating(3, 40), lambda: lived(11, 200).ledger.kept], ids=["repeats", "lives"]
)
def test_a_page_is_that_part_of_the_whole(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow], small: bool, life: Callable[[], list[Kept]]
) -> None:
    events = life()
    pour(ledger, events)
    follow_all(connection, Projector({name: each for name, each in FOLLOWING.items() if small or name != "snapshots"}))
    recorded: dict[int, datetime] = dict(connection.execute("SELECT position, recorded_at FROM events").fetchall())
    instants = list(recorded.items())[:: max(1, len(recorded) // 6)]
    uids = [each.uid for each in events if each.uid is not None]
    uid = max(uids, key=uids.count)
    whole, _ = read(database_url, uid, limit=10_000)
    assert [entry["position"] for entry in whole] == sorted(entry["position"] for entry in whole)
    # A drift or an outage goes on where it has no end.
    reaches = [
        2**63 if "until" in entry and entry["until"] is None else entry.get("last_position", entry["position"])
        for entry in whole
    ]
    assert len(whole) > 5
    asked, expected = [], []
    for at, (position, instant) in enumerate(instants):
        for descending in (False, True):
            limit = at % 4 + 1
            for bounds in ({}, {"since": instant}, {"until": instant}):
                asked.append((uid, query(after=position, limit=limit, descending=descending, **bounds)))
                part = [
                    entry
                    for entry, reach in zip(whole, reaches, strict=True)
                    if (entry["position"] < position if descending else entry["position"] > position)
                    and ("since" not in bounds or reach >= _first_at(recorded, instant))
                    and ("until" not in bounds or entry["position"] < _first_at(recorded, instant))
                ]
                expected.append(part[::-1] if descending else part)
    for wanted, part, found in zip(asked, expected, asyncio.run(_pages(database_url, asked)), strict=True):
        assert items(found)[: wanted[1].limit] == part[: wanted[1].limit], wanted
    assert read_through(database_url, uid, limit=1) == whole
    assert read_through(database_url, uid, limit=2, descending=True) == whole[::-1]


def _first_at(recorded: dict[int, datetime], instant: datetime) -> int:
    """The first position of those that were recorded at an instant."""
    return min(position for position, at in recorded.items() if at >= instant)


def test_what_was_told_very_often_is_read_in_pages_of_a_bounded_number_of_events(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pour(ledger, repeating(1, 80))
    monkeypatch.setattr(telling, "STRETCH_VERSIONS", 6)
    monkeypatch.setattr(timeline, "STRETCH_VERSIONS", 6)
    monkeypatch.setattr(timeline, "MAX_READ_EVENTS", 4)
    whole, found = read(database_url, "a")
    assert not found.more
    monkeypatch.setattr(timeline, "MAX_FOLDED_EVENTS", 6)
    part, found = read(database_url, "a")
    assert found.more
    assert part == whole[: len(part)] != whole
    assert read_through(database_url, "a", limit=100) == whole
    assert read_through(database_url, "a", limit=100, descending=True) == whole[::-1]


@pytest.mark.parametrize("wanted", [{"after": 1}, {"until": datetime(2001, 1, 1, tzinfo=UTC)}, {"after": 2**62}])
def test_before_the_first_event_and_after_the_last_nothing_is_read(
    ledger: Ledger, database_url: str, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
) -> None:
    """In either direction: such a page is no reason to read all that the user ever did."""
    pour(ledger, repeating(1, 80))
    monkeypatch.setattr(timeline, "MAX_READ_EVENTS", 4)
    asked: list[LiteralString] = []
    go_on = timeline._go_on

    def noted(*given: Any) -> Any:
        found = go_on(*given)
        if not isinstance(found, TimelineEntries):
            asked.append(found[0])
        return found

    monkeypatch.setattr(timeline, "_go_on", noted)
    is_descending = wanted.get("after") != 2**62
    assert read(database_url, "a", descending=is_descending, **wanted)[0] == []
    assert len(asked) == 1


@pytest.fixture
def crashed(ledger: Ledger, database_url: str, connection: Connection[TupleRow]) -> str:
    """A ledger that has heard of a crash, and its projections."""
    pour(ledger, as_kept(replayed("v22/crash_and_restart")))
    follow_all(connection, Projector(FOLLOWING))
    return database_url


def test_intervals_stand_among_the_entries(crashed: str) -> None:
    entries, found = read(crashed, "m3")
    assert [entry["kind"] for entry in entries] == ["transition", "node_down", "sweep", "transition"]
    positions = [entry["position"] for entry in entries]
    assert positions == sorted(positions)
    down, sweep = entries[1], entries[2]
    assert (down["source"], down["node"], down["reason"], down["ended_by"]) == ("main", "n1", "ConnectError", "swept")
    assert down["position"] < sweep["evidence"] < sweep["position"] < down["last_position"]
    assert down["at"] < sweep["latest"]
    assert (found.number, found.last, found.more, found.lag) == (4, positions[-1], False, 0)
    newest, _ = read(crashed, "m3", descending=True)
    assert newest == entries[::-1]
    assert read(crashed, "nobody")[0] == []


def test_intervals_of_one_position_are_on_one_page(crashed: str, connection: Connection[TupleRow]) -> None:
    whole, _ = read(crashed, "m3")
    connection.execute(
        "INSERT INTO in_doubt SELECT source, position, 'n9', at, until, reason, ended_by, last_position FROM in_doubt"
    )
    doubled = [entry["position"] for entry in read(crashed, "m3")[0]]
    assert sorted([*(entry["position"] for entry in whole), whole[1]["position"]]) == doubled
    for descending in (False, True):
        pages = read_through(crashed, "m3", limit=1, descending=descending)
        assert [entry["position"] for entry in pages] == (doubled[::-1] if descending else doubled)
    assert read(crashed, "m3", limit=2)[1].number == 3


def test_a_window_holds_what_was_recorded_in_it_and_what_reaches_into_it(
    crashed: str, connection: Connection[TupleRow]
) -> None:
    recorded: dict[int, datetime] = dict(connection.execute("SELECT position, recorded_at FROM events").fetchall())
    whole, _ = read(crashed, "m3")
    first, down, sweep, last = [entry["position"] for entry in whole]
    between = recorded[first] + timedelta(microseconds=1)

    def positions(**window: Any) -> list[int]:
        return [entry["position"] for entry in read(crashed, "m3", **window)[0]]

    assert positions(since=between) == [down, sweep, last]
    # The node is still down when the sweep is recorded, and no more when the user is back.
    assert positions(since=recorded[sweep]) == [down, sweep, last]
    assert positions(since=recorded[last]) == [last]
    assert positions(until=recorded[sweep]) == [first, down]
    assert positions(since=recorded[sweep], until=recorded[last]) == [down, sweep]
    assert positions(since=recorded[max(recorded)] + timedelta(days=1)) == []


def test_a_drift_is_an_interval_with_both_bounds(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    pour(ledger, as_kept(replayed("v22/retries_then_delivered")))
    follow_all(connection, Projector(FOLLOWING))
    entries, _ = read(database_url, "h-500")
    drifts = [entry for entry in entries if entry["kind"] == "drift"]
    corrections = [entry for entry in entries if entry["kind"] == "correction"]
    assert [(drift["drift"], drift["state"]) for drift in drifts] == [("missed", "corrected"), ("ghost", "corrected")]
    for drift, correction in zip(drifts, corrections, strict=True):
        bounds = ("agreed_at", "disagreed_at", "attributed_to", "drift")
        assert {name: drift[name] for name in bounds} == {name: correction[name] for name in bounds}
        assert drift["until"] == correction["at"]


@pytest.mark.parametrize("missing", ["drift", "outages"])
def test_events_are_told_at_once_and_intervals_as_far_as_they_have_come(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow], missing: str
) -> None:
    pour(ledger, as_kept(replayed("v22/crash_and_restart")))
    head = len(all_rows(ledger))
    follow_all(connection, Projector({name: each for name, each in FOLLOWING.items() if name != missing}))
    entries, found = read(database_url, "m3")
    assert [entry["kind"] for entry in entries if entry["kind"] != "node_down"] == ["transition", "sweep", "transition"]
    assert (found.position, found.lag) == (0, head)
    follow_all(connection, Projector(FOLLOWING))
    entries, found = read(database_url, "m3")
    assert (len(entries), found.position, found.lag) == (4, head, 0)


def test_an_event_that_cannot_be_read_is_named(crashed: str) -> None:
    position = read(crashed, "m3")[0][0]["position"]
    with unguarded(crashed) as altered:
        altered.execute("UPDATE events SET payload = '{' WHERE position = %s", (position,))
        altered.commit()
    with pytest.raises(UnreadableEvent, match=f"At position {position} "):
        read(crashed, "m3")

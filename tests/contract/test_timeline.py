"""The projection `timeline`: every event told once, folded alike whatever the batches, pages with intervals in them."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise, repeat
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.events import WebhookObserved
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.source import as_imported
from ledger.store.ledger import Ledger
from projections.engine.projection import Followed
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from projections.models.timeline import PROJECTION, TimelineEntries, TimelineQuery, page
from tests.support.following import follow_all
from tests.support.ledgers import opened
from tests.support.lived import lived, pour
from tests.support.reconciler import Reconciler
from tests.support.told import all_followed, as_kept, feed, followed, replayed, rows_of

FOLDED = {"duplicate", "late", "stale"}


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    with opened(database_url) as ledger:
        yield ledger


def at_random(seed: int) -> Iterator[int]:
    draw = Random(seed)
    while True:
        yield draw.randint(1, 5)


def told(connection: Connection[TupleRow], events: list[Followed], sizes: Iterator[int]) -> list[list[TupleRow]]:
    connection.execute("TRUNCATE timeline, in_doubt")
    feed(connection, PROJECTION, events, sizes)
    return rows_of(connection, PROJECTION)


def repeating(seed: int) -> list[Followed]:
    """A life in which nodes say again what they said, some of it in whole deliveries."""
    draw = Random(seed)
    ledger = Reconciler(Profile.V3 if seed % 2 else Profile.V2_2, ("n1", "n2"))
    said = ["a-0-1-1-1-1"]
    for _ in range(60):
        ledger.pass_time(draw.choice((0.0, 1.0, 70.0)))
        if draw.random() < 0.5:
            uid, flag, online, conn_id = draw.choice("ab"), draw.choice((0, 1)), draw.choice((0, 1)), draw.randint(1, 3)
            said.append(f"{uid}-{flag}-{online}-{conn_id}-{draw.randint(0, 1)}-{draw.randint(0, 2)}")
        ledger.hear(draw.choice(("n1", "n1", "n2")), *draw.choices(said[-3:], k=draw.randint(1, 3)))
    return all_followed(ledger.kept)


@pytest.mark.parametrize("seed", range(4))
def test_batches_do_not_matter_and_every_event_is_told_once(connection: Connection[TupleRow], seed: int) -> None:
    for events in (repeating(seed), all_followed(lived(seed, 120).ledger.kept)):
        whole = told(connection, events, repeat(100_000))
        assert told(connection, events, at_random(seed)) == whole
        assert told(connection, events, repeat(1)) == whole
        by_user: dict[str, list[TupleRow]] = {}
        for row in whole[0]:
            by_user.setdefault(row[0], []).append(row)
        for uid, rows in by_user.items():
            mine = [each for each in events if each.uid == uid]
            entries = [json.loads(row[6]) for row in rows]
            assert sum(entry.get("number", 1) for entry in entries) == len(mine)
            assert [row[3] for row in rows] == [entry["kind"] for entry in entries]
            spans = [(row[1], row[2]) for row in rows]
            assert (spans[0][0], spans[-1][1]) == (mine[0].position, mine[-1].position)
            assert all(one[1] < other[0] for one, other in pairwise(spans))
            assert all(first == last or row[3] in FOLDED for row, (first, last) in zip(rows, spans, strict=True))
            for one, other in pairwise(entries):
                assert one["status_after"] == other["status_before"]
                assert not (one["kind"] == other["kind"] in FOLDED and one["source"] == other["source"])


def test_folded_deliveries_and_items_are_told_apart(connection: Connection[TupleRow]) -> None:
    events = replayed("v22/retries_then_delivered")
    told(connection, events, repeat(3))
    for uid, position, entry in connection.execute(
        "SELECT uid, position, entry FROM timeline WHERE kind = 'duplicate'"
    ):
        shown = json.loads(entry)
        folded = [
            each.event for each in events if each.uid == uid and position <= each.position <= shown["last_position"]
        ]
        observed = [event for event in folded if isinstance(event, WebhookObserved)]
        assert len(folded) == shown["number"] == sum(shown["rules"].values()) == sum(shown["nodes"].values())
        again = [event for event in observed if event.repeated]
        assert shown["repeated_items"] == len(again)
        assert shown["deliveries"] == len({event.delivery for event in observed})
        assert shown["repeated_deliveries"] == len({event.delivery for event in again})
        assert (shown["first_raw"], shown["last_raw"]) == (observed[0].raw, observed[-1].raw)


async def _page(url: str, uid: str, wanted: TimelineQuery) -> TimelineEntries:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await page(connection, uid, wanted)


def read(url: str, uid: str, **wanted: Any) -> tuple[list[Any], TimelineEntries]:
    found = asyncio.run(_page(url, uid, TimelineQuery(**{"after": None, "limit": 100, **wanted})))
    return json.loads(b"[" + found.items + b"]"), found


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
    assert (found.number, found.last, found.lag) == (4, positions[-1], 0)
    newest, _ = read(crashed, "m3", descending=True)
    assert newest == entries[::-1]
    assert read(crashed, "nobody")[0] == []


@pytest.mark.parametrize("descending", [False, True])
def test_pages_follow_one_another(crashed: str, descending: bool) -> None:
    whole, _ = read(crashed, "m3", descending=descending)
    paged, after = [], None
    while True:
        entries, found = read(crashed, "m3", descending=descending, after=after, limit=1)
        if not entries:
            break
        assert len(entries) == found.number == 1
        paged += entries
        after = found.last
    assert paged == whole


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


def test_a_page_goes_no_further_than_the_projection_has_come(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow]
) -> None:
    pour(ledger, as_kept(replayed("v22/crash_and_restart")))
    others = {name: each for name, each in FOLLOWING.items() if name != "timeline"}
    follow_all(connection, Projector(others))
    assert read(database_url, "m3") == ([], TimelineEntries(b"", 0, None, 0, 39))


def test_outages_follow_the_rules_of_the_source(connection: Connection[TupleRow]) -> None:
    ledger = Reconciler(Profile.V2_2, ("n1", "n2"))
    at = ledger.at

    def later(seconds: int) -> int:
        return at + seconds * SECOND

    for event in (
        NodeBooted(node="n1", at=later(1), earliest=later(0), latest=later(1), route="/varz", first=True),
        SourceDark(at=later(3), since=later(2)),
        NodeDown(node="n1", at=later(5), since=later(4), reason="refused"),
        NodeDown(node="n2", at=later(7), since=later(6), reason="timed out"),
        SourceLit(at=later(8), by="webhook"),
        NodeSettled(node="n2", at=later(9)),
        NodeBooted(node="n2", at=later(11), earliest=later(10), latest=later(11), route="/varz"),
        NodeSettled(node="n2", at=later(12), booted=True),
    ):
        ledger.append(event)
    ledger.at = later(13)
    ledger.configure({"n2": Profile.V2_2}, Profile.V2_2, DEFAULT_POLICY)
    ledger.append(SourceDark(at=later(15), since=later(14)))
    events = all_followed(ledger.kept)
    whole = told(connection, events, repeat(100))
    assert told(connection, events, repeat(1)) == whole
    shown = [
        (node, begun and (begun - at) // SECOND, over and (over - at) // SECOND, reason, ended_by)
        for _, _, node, begun, over, reason, ended_by, _ in whole[1]
    ]
    assert shown == [
        ("", 2, 8, "silent", "webhook"),
        ("n1", 4, 13, "refused", "retired"),
        ("n2", 6, 9, "timed out", "answers"),
        ("n2", 10, 12, "booted", "swept"),
        ("", 14, None, "silent", None),
    ]


def test_an_imported_source_may_begin_with_an_outage(connection: Connection[TupleRow]) -> None:
    ledger = Reconciler(Profile.V2_2, ("n1", "n2"))
    at = ledger.at
    ledger.append(SourceDark(at=at, since=at))
    ledger.append(NodeDown(node="n1", at=at, since=at, reason="refused"))
    events = [followed(1, as_imported(ledger.source), None, at), followed(2, SourceLit(at=at + 1, by="poll"), None)]
    assert [tuple(row[:7]) for row in told(connection, events, repeat(1))[1]] == [
        ("main", 1, "", at, at + 1, "imported", "poll"),
        ("main", 1, "n1", at, None, "imported", None),
    ]

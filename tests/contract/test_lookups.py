"""The look-ups of statements: PostgreSQL puts each into the statement that calls it, so that none costs a call."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from ledger.changes import stretches
from ledger.slices import ledger_rows
from ledger.store import commit, partitions
from ledger.store.arrays import bigints, texts
from ledger.working_state import canaries, runs
from projections.engine import checkpoints
from projections.models import boundary, repair_current, snapshots
from projections.queries import history, listing, timeline_place

LOOKUPS = {
    "last_event": "",
    "last_sealed": "",
    "last_event_from": "asked.number",
    "next_event": "asked.number",
    "event_of_delivery": "asked.name",
    "end_of_run": "asked.name, asked.number",
    "first_event_of": "asked.name",
    "last_event_of": "asked.name, asked.number",
    "events_after": "asked.name, asked.number, 9, 50",
    "bounds_after": "asked.name, asked.number, 9, 50",
    "first_version_beyond": "asked.name, asked.number",
    "snapshot_before": "asked.name, asked.number",
    "snapshot_at": "asked.name, asked.number",
    "snapshot_after": "asked.name, asked.number",
    "snapshots_between": "asked.number, 9",
    "user_streams_after": "asked.number",
    "drifts_of": "asked.name",
}

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
UIDS, NUMBERS = texts(["u1", "u2"]), bigints([20, 30])
OF_U1: dict[str, Any] = {"stream": "user:u1", "uid": "u1", "since": None, "until": NOON, "limit": 50}

# Each statement that asks a look-up, and the indexes it used when it said itself what the look-up says.
STATEMENTS: dict[str, tuple[str, Any, set[str]]] = {
    "stretches": (
        stretches._LAST,
        {"after": 3900, "up_to": 4000, "limit": 50},
        {"current_pkey", "events_position", "snapshots_position"},
    ),
    "slices: bounds": (ledger_rows._BOUNDS, {"since": NOON, "until": NOON}, {"events_position"}),
    "slices: lasts": (ledger_rows._LAST_OF_ALL, (3000,), {"events_pkey"}),
    "slices: recorded at": (ledger_rows._LAST_RECORDED_AT, (), {"events_position"}),
    "slices: others": (ledger_rows._OF_OTHERS, (texts(["user:u1"]), 4000, 4000), {"events_pkey", "snapshots_pkey"}),
    "commit: head": (commit.HEAD, (), {"events_position", "seals_pkey"}),
    "commit: delivery": (commit.DELIVERY, ("d20",), {"events_delivery"}),
    "commit: deliveries": (commit._DELIVERIES, (["d20", "d40"],), {"events_delivery"}),
    "partitions": (partitions._LOOK, (), {"events_position"}),
    "head": (listing.HEAD, (), {"seals_pkey"}),
    "canaries": (canaries._END_TIMES, (), {"events_position"}),
    "checkpoints": (checkpoints.READ, (), {"events_position"}),
    "runs of a source": (runs._OF_SOURCE, ("source:s", 0, 20), {"events_runs", "events_run"}),
    "run": (runs._ONE, ("r1",), {"events_run"}),
    "snapshots": (snapshots._BEFORE, (UIDS, NUMBERS), {"snapshots_pkey"}),
    "boundary": (boundary._BEFORE, (UIDS, NUMBERS), {"snapshots_pkey"}),
    "repair: page": (repair_current._PAGE, ("", 100), {"current_pkey", "events_pkey", "snapshots_pkey"}),
    "repair: without row": (repair_current._WITHOUT_ROW, (3900,), {"current_pkey", "events_position"}),
    "repair: archived": (repair_current._ARCHIVED, (UIDS,), {"snapshots_pkey"}),
    "past: recorded after": (history._RECORDED_AFTER, (NOON,), {"events_position", "seals_pkey"}),
    "past: snapshots": (history._SNAPSHOTS, (UIDS, 3000, 3000), {"snapshots_pkey"}),
    "past: next": (history._NEXT, (UIDS, NUMBERS, 4000, 50), {"events_pkey"}),
    "past: bounds": (history._BOUNDED, (UIDS, NUMBERS, 4000, 50), {"events_bounded"}),
    "timeline: place": (
        timeline_place.ASCENDING.place,
        OF_U1 | {"after": 1000},
        {"current_pkey", "events_pkey", "events_position", "snapshots_pkey"},
    ),
    "timeline: place, descending": (
        timeline_place.DESCENDING.place,
        OF_U1 | {"after": 2**63 - 1},
        {"current_pkey", "events_pkey", "events_position", "snapshots_pkey"},
    ),
    "timeline: events": (timeline_place.ASCENDING.events, ("user:u1", 10, 4000, 66), {"events_pkey"}),
}

FILL = (
    """
    INSERT INTO events (stream, version, position, kind, payload, recorded_at)
    SELECT CASE WHEN n % 20 = 0 THEN 'source:s' ELSE 'user:u' || n % 99 END, n, n,
           CASE WHEN n % 200 = 0 THEN 'run_started.v1' WHEN n % 200 = 100 THEN 'run_ended.v1'
                WHEN n % 20 = 0 THEN 'delivery_received.v1' WHEN n % 37 = 0 THEN 'swept.v1' ELSE 'connected.v1' END,
           convert_to(CASE WHEN n % 100 = 0 THEN format('{"run":"r%s"}', n / 200)
                           WHEN n % 20 = 0 THEN format('{"delivery":"d%s"}', n) ELSE '{}' END, 'UTF8'),
           timestamptz '2026-01-01Z' + n * interval '1 second'
      FROM generate_series(1, 4000) AS n
    """,
    "INSERT INTO snapshots SELECT substr(stream, 6), version, position, '' FROM events WHERE stream LIKE 'user:%'",
    "INSERT INTO current SELECT 'u' || n, n, 'online', 1, ' s/app/on/n1 ', '', '' FROM generate_series(0, 98) AS n",
    """
    INSERT INTO drifts (uid, source, position, kind, state, disagreed_at, run, node, last_position)
    SELECT 'u' || n % 99, 's', n, 'ghost', 'corrected', n, 'r1', 'n1', n FROM generate_series(1, 400) AS n
    """,
    """
    INSERT INTO seals SELECT n, n + 19, timestamptz '2026-01-01Z' + n * interval '1 second', '', '', ''
      FROM generate_series(1, 3981, 20) AS n
    """,
    "ANALYZE",
)


@pytest.fixture(scope="module")
def plain(module_database_url: str, request: pytest.FixtureRequest) -> Iterator[Connection[TupleRow]]:
    """A ledger of one partition with a little of everything, of which the planner is to take indexes."""
    if request.config.getoption("--citus"):
        pytest.skip("on a cluster each is a query of its own")
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement.encode())
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        yield connection


def test_each_is_put_into_the_statement(plain: Connection[TupleRow]) -> None:
    for name, arguments in LOOKUPS.items():
        statement = sql.SQL(
            "EXPLAIN SELECT * FROM unnest(ARRAY['a'], ARRAY[1::bigint]) AS asked (name, number)"
            " LEFT JOIN LATERAL {}({}) AS found ON true"
        ).format(sql.Identifier(name), sql.SQL(arguments))
        plan = [line for (line,) in plain.execute(statement)]
        assert not any(f"Function Scan on {name}" in line for line in plan), plan


@pytest.mark.parametrize("name", STATEMENTS)
def test_statements_that_ask_them_use_the_indexes_that_serve(plain: Connection[TupleRow], name: str) -> None:
    statement, params, indexes = STATEMENTS[name]
    [[[plan]]] = plain.execute(f"EXPLAIN (FORMAT JSON) {statement.strip()}".encode(), params or None).fetchall()
    nodes = list(_nodes(plan["Plan"]))
    assert [node["Function Name"] for node in nodes if node.get("Function Name") in LOOKUPS] == []
    assert {_index(node["Index Name"]) for node in nodes if "Index Name" in node} >= indexes


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", ()):
        yield from _nodes(each)


def _index(name: str) -> str:
    return name.replace("events_from_1_", "events_")

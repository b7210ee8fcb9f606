"""What an explanation asks of PostgreSQL is what the same events in memory answer, by indexes, of long streams too."""

from random import Random
from typing import Any

import pytest

from ledger.domain.event_types import Event
from ledger.domain.explain import explain
from ledger.domain.instants import to_datetime
from ledger.domain.observation import SECOND
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper, source_stream, user_stream
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.models import drifts, snapshots
from projections.queries import evidence_rows
from projections.queries.evidence import MAX_EARLIER_EVENTS, MAX_LATER_EVENTS, gather
from projections.queries.evidence_rows import RecordedHistory
from tests.support import pg
from tests.support.explained import remembered, replayed
from tests.support.explaining import Explaining
from tests.support.lived import USERS, lived
from tests.support.memory_history import MemoryHistory

MAPPER = EventMapper()
LONG = 20_000


def pour(ledger: Ledger, history: MemoryHistory, left_behind: int = 0) -> None:
    """Put a history's events into the ledger, with their instants, and into the projection that tells of drifts.

    Users' streams begin with the version after those that were left behind.
    """
    with ledger.connection() as connection, connection.transaction():
        cursor = connection.cursor()
        with cursor.copy(
            "COPY events (stream, version, position, kind, payload, recorded_at) FROM STDIN BINARY"
        ) as copy:
            copy.set_types(["text", "int8", "int8", "text", "bytea", "timestamptz"])
            for row in history.rows:
                kind, payload = MAPPER.kind_and_payload(row.event)
                stream = user_stream(row.uid) if row.uid else source_stream(row.source)
                version = row.version + (left_behind if row.uid else 0)
                copy.write_row((stream, version, row.position, kind, payload, to_datetime(row.recorded_at)))
        told = [
            Followed(
                row.position, source_stream(row.source), row.version, to_datetime(row.recorded_at), row.event, None
            )
            for row in history.rows
            if MAPPER.kind_and_payload(row.event)[0] in drifts.PROJECTION.kinds
        ]
        drifts.PROJECTION.handle(cursor, told, Memory())
        # The head is read from the seals; nothing here looks at what they say.
        cursor.execute(
            "INSERT INTO seals SELECT min(position), max(position), max(recorded_at), '', '', ''"
            "  FROM events HAVING count(*) > 0"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    [
        replayed("v22/slot_zero").history,
        replayed("v22/retries_then_delivered").history,
        replayed("v3/two_nodes").history,
        remembered(lived(7, 150)),
        remembered(lived(43, 150)),
        remembered(lived(73, 150)),
    ],
    ids=["slot_zero", "retries", "two_nodes", "life 7", "life 43", "life 73"],
)
def test_the_same_evidence_as_in_memory(ledger: Ledger, history: MemoryHistory) -> None:
    pour(ledger, history)
    draw = Random(1)
    uids = sorted({*USERS, *history.uids, "nobody"})
    with ledger.connection() as connection:
        recorded = RecordedHistory(connection, ledger.events_mapper)
        for row in draw.sample(history.rows, min(len(history.rows), 40)):
            at = row.recorded_at + draw.choice((-SECOND, -1, 0, 0, SECOND))
            assert recorded.position_at(at) == history.position_at(at)
            for uid in draw.sample(uids, min(len(uids), 4)):
                for position in (history.position_at(at), history.head()):
                    assert gather(recorded, uid, at, position) == gather(history, uid, at, position)


def test_the_versions_of_a_stream_that_an_import_began_are_counted_from_there(ledger: Ledger) -> None:
    history = remembered(lived(7, 150))
    pour(ledger, history, left_behind=2 * MAX_EARLIER_EVENTS)
    with ledger.connection() as connection:
        recorded = RecordedHistory(connection, ledger.events_mapper)
        for uid in (*USERS, "nobody"):
            left = 2 * MAX_EARLIER_EVENTS if history.user_events(uid, 0, 1) else 0
            for position in (0, 40, 90, history.head()):
                assert recorded.version_at(uid, position) == left + history.version_at(uid, position)
            following = recorded.user_events(uid, recorded.version_at(uid, 0), left + MAX_LATER_EVENTS)
            assert [placed.position for placed in following] == [
                p.position for p in history.user_events(uid, 0, MAX_LATER_EVENTS)
            ]


def test_what_cannot_be_a_uid_is_never_observed(ledger: Ledger) -> None:
    with ledger.connection() as connection:
        found = gather(RecordedHistory(connection, ledger.events_mapper), "\0", 0, 0)
    assert (found.shown.reason, found.before, found.later, found.after) == ("never_observed", [], [], [])


def test_a_look_that_left_no_event_makes_nothing_certain(ledger: Ledger) -> None:
    """What an explanation says is in a slice, too."""
    world = Explaining().hears("u-0-1-1-1-1").wait(9)
    pour(ledger, world.history)
    with ledger.connection() as connection:
        connection.execute(
            "INSERT INTO looks (uid, source, due_at, verified_at) VALUES ('u', 'main', 0, %s)", (world.at,)
        )
        found = gather(RecordedHistory(connection, ledger.events_mapper), "u", world.ago(1), 3)
    assert explain(found).confidence == "likely"


@pg.on_every_server
def test_an_index_serves_every_question(ledger: Ledger) -> None:
    pour(ledger, replayed("v22/slot_zero").history)
    asked: list[tuple[str, Any, str]] = [
        (evidence_rows._OF_USER, ("user:bob", 0, 9), "events_pkey"),
        (evidence_rows._BOUNDED, ("user:bob", 0, 9), "events_bounded"),
        (evidence_rows._DELIVERY, ("d",), "events_delivery"),
        (evidence_rows._REPEATING, ("d",), "events_repeats"),
        (evidence_rows._POLL, ("p",), "events_poll"),
        (evidence_rows._RUN, ("r",), "events_run"),
        (evidence_rows._SIGNS + evidence_rows._UP_TO, ("source:main", 9, 9), "events_signs"),
        (evidence_rows._SERVICES + evidence_rows._BEYOND, ("source:main", 9, 9), "events_signs"),
        (evidence_rows._RUNS_AFTER, ("source:main", 9, 3), "events_run"),
        (evidence_rows._LAST_BEFORE, (9,), "events_position"),
        (evidence_rows._AT, ([1, 2],), "events_position"),
    ]
    with ledger.connection() as connection:
        connection.execute("SET enable_seqscan = off")
        for query, params, index in asked:
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}".encode(), params))
            assert index.replace("events", "events_from_1") in plan, plan


class Counting(EventMapper):
    """Counts the events that are read."""

    read = 0

    def event_at(self, position: int, kind: str, payload: bytes) -> Event:
        self.read += 1
        return super().event_at(position, kind, payload)


def test_of_a_user_with_a_long_stream_few_events_are_read(ledger: Ledger) -> None:
    world = Explaining()
    for number in range(1, LONG // 2 + 1):
        world.wait(1).hears(f"u-0-1-{number}-1-1").wait(1).hears(f"u-0-0-{number}-0-0")
    pour(ledger, world.history)
    followed = [
        Followed(row.position, user_stream("u"), row.version, to_datetime(row.recorded_at), row.event, "u")
        for row in world.history.rows
        if row.uid
    ]
    at = world.ago(LONG // 2 + 0.5)
    with ledger.connection() as connection:
        snapshots.PROJECTION.handle(connection.cursor(), followed, Memory())
        connection.execute("ANALYZE events, snapshots")
        counting = Counting()
        recorded = RecordedHistory(connection, counting)
        found = gather(recorded, "u", at, recorded.position_at(at))
    assert explain(found).confidence in ("certain", "likely")
    assert (len(found.before), len(found.after)) == (MAX_EARLIER_EVENTS, MAX_LATER_EVENTS)
    assert MAX_EARLIER_EVENTS < counting.read < 1_000 < LONG

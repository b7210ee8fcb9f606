"""The projection `sessions`: rows equal the open sessions of presence, ends have bounds, whatever the batches."""

from collections.abc import Iterator
from itertools import repeat
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.evolve import evolve
from ledger.domain.history import UserEvent
from ledger.domain.presence import Presence
from projections.projection import Followed
from projections.sessions import PROJECTION
from tests.support import pg
from tests.support.lived import lived
from tests.support.told import all_followed, feed, replayed, rows_of


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def open_sessions(events: list[Followed]) -> list[tuple[Any, ...]]:
    """Of every user, by evolving his presence."""
    presences: dict[str, Presence] = {}
    for each in events:
        if each.uid is not None and isinstance(each.event, UserEvent):
            presences[each.uid] = evolve(presences.get(each.uid) or Presence(each.uid), each.event, each.position)
    return sorted(
        (
            (uid, d.source, d.scope, d.device_flag, s.conn_id, s.seen_at, s.held_by)
            for uid, presence in presences.items()
            for d in presence.devices
            for s in d.sessions
        ),
        key=str,
    )


def open_rows(connection: Connection[TupleRow]) -> list[tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT uid, source, scope, device_flag, conn_id, seen_at, held_by FROM sessions WHERE ended_at IS NULL"
    ).fetchall()
    return sorted(rows, key=str)


def told(connection: Connection[TupleRow], events: list[Followed], sizes: Iterator[int]) -> list[list[TupleRow]]:
    connection.execute("TRUNCATE sessions")
    feed(connection, PROJECTION, events, sizes)
    return rows_of(connection, PROJECTION)


def at_random(seed: int) -> Iterator[int]:
    draw = Random(seed)
    while True:
        yield draw.randint(1, 9)


@pytest.mark.parametrize("seed", range(12))
def test_open_rows_are_the_open_sessions_and_batches_do_not_matter(connection: Connection[TupleRow], seed: int) -> None:
    events = all_followed(lived(seed, 150).ledger.kept)
    whole = told(connection, events, repeat(100_000))
    assert open_rows(connection) == open_sessions(events)
    assert told(connection, events, at_random(seed)) == whole
    assert told(connection, events, repeat(1)) == whole

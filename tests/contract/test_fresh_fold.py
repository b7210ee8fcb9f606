"""Every projection equals a fresh fold of the ledger, whatever befell the processes that followed it."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX
from projections.engine import checkpoints, rebuild
from projections.engine.memory import Memory
from projections.engine.projection import Followed, Projection
from projections.engine.projector import Projector
from projections.engine.rebuild import Rebuild
from projections.models import current, snapshots
from projections.models.rebuild_current import RebuildCurrent
from projections.models.registry import FOLLOWING
from tests.support.following import connect, follow_all
from tests.support.ledgers import all_rows
from tests.support.lived import lived, pour


class Dying:
    """A projection whose process dies when it has written and not yet committed."""

    def __init__(self, projection: Projection) -> None:
        self.name, self.tables, self.kinds = projection.name, projection.tables, projection.kinds
        self._projection = projection

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        self._projection.handle(cursor, events, memory)
        cursor.connection.close()


def rows(connection: Connection[TupleRow], tables: Sequence[str]) -> list[list[TupleRow]]:
    return [connection.execute(f"SELECT * FROM {table} AS r ORDER BY r".encode()).fetchall() for table in tables]


@pytest.mark.parametrize("seed", range(10, 14))
def test_after_two_projectors_one_of_which_dies_again_and_again(
    ledger: Ledger,
    database_url: str,
    connection: Connection[TupleRow],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(snapshots, "EVENTS_PER_SNAPSHOT", 8)
    draw, life = Random(seed), lived(seed, 200)
    kept, poured = life.ledger.kept, 0
    while poured < len(kept):
        batches = sorted({each.batch for each in kept[poured:]})[: draw.randrange(1, 12)]
        part = [each for each in kept[poured:] if each.batch in batches]
        pour(ledger, part)
        poured += len(part)
        name = draw.choice(sorted(FOLLOWING))
        with connect(database_url) as another:
            # Where there is nothing for it to take, it lives.
            try:
                Projector({name: Dying(FOLLOWING[name])}, batch_events=5).round(another)
            except StoreUnavailable:
                assert another.closed
        Projector(FOLLOWING, batch_events=draw.choice((1, 3, 50))).round(connection)
    # What a dead one held is free when PostgreSQL has noticed its end.
    while any(each.lag for each in checkpoints.read(connection)):
        follow_all(connection, Projector(FOLLOWING))
    live = {name: rows(connection, each.tables) for name, each in FOLLOWING.items()}
    for name, projection in FOLLOWING.items():
        with rebuild.alone(database_url, name) as rebuilding:
            Rebuild(rebuilding, database_url, projection, batch_events=draw.choice((2, 1000))).run(lambda *_: None)
        assert rows(connection, projection.tables) == live[name]
    with rebuild.alone(database_url, "current") as rebuilding:
        assert RebuildCurrent(rebuilding, database_url).run(lambda *_: None).different == 0


@pytest.mark.parametrize("seed", [31, 32])
def test_what_is_remembered_is_never_older_than_what_is_stored(
    ledger: Ledger, database_url: str, connection: Connection[TupleRow], seed: int
) -> None:
    """Two processes lead in turn, and a rebuild puts other tables in place meanwhile."""
    draw, events = Random(seed), lived(seed, 200).ledger.kept
    first, second = Projector(FOLLOWING, batch_events=3), Projector(FOLLOWING, batch_events=7)
    with connect(database_url) as another:
        while events:
            part, events = events[:20], events[20:]
            pour(ledger, part)
            leading, over = draw.choice(((first, connection), (second, another)))
            for _ in range(draw.randint(1, 9)):
                leading.round(over)
            if draw.random() < 0.2:
                name = draw.choice(("sessions", "loss"))
                with rebuild.alone(database_url, name) as rebuilding:
                    Rebuild(rebuilding, database_url, FOLLOWING[name], batch_events=50).run(lambda *_: None)
    follow_all(connection, first)
    live = {name: rows(connection, each.tables) for name, each in FOLLOWING.items()}
    for name, projection in FOLLOWING.items():
        with rebuild.alone(database_url, name) as rebuilding:
            Rebuild(rebuilding, database_url, projection).run(lambda *_: None)
        assert rows(connection, projection.tables) == live[name]


def test_a_snapshot_is_the_presence_as_of_its_version(
    ledger: Ledger, connection: Connection[TupleRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVENTS_PER_SNAPSHOT", 4)
    pour(ledger, lived(20, 300).ledger.kept)
    follow_all(connection, Projector(FOLLOWING, batch_events=50))
    expected, presences = {}, dict[str, Presence]()
    for row in all_rows(ledger):
        if row.stream.startswith(USER_PREFIX):
            uid, event = row.stream.removeprefix(USER_PREFIX), ledger.event(row)
            assert isinstance(event, UserEvent)
            presences[uid] = evolve(presences.get(uid) or Presence(uid), event, row.position)
            if row.version % 4 == 0:
                expected[uid, row.version] = (row.position, presences[uid])
    found = connection.execute("SELECT uid, version, position, state FROM snapshots").fetchall()
    taken = {(uid, version): (place, current.decode_state(state)) for uid, version, place, state in found}
    assert taken == expected
    assert len(expected) > 5

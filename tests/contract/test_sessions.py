"""The projection `sessions`: rows equal the open sessions of presence, ends have bounds, whatever the batches."""

from collections.abc import Iterator
from itertools import repeat
from random import Random
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.imported import as_imported
from ledger.domain.observation import SECOND
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Swept
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.models.session_bounds import SessionRow, sureness
from projections.models.sessions import PROJECTION, RowsMissing
from tests.support.lived import lived
from tests.support.reconciler import Reconciler
from tests.support.told import all_followed, feed, followed, replayed, rows_of

Item = tuple[float, str]


def open_sessions(events: list[Followed]) -> list[tuple[Any, ...]]:
    """Of every user, by evolving their presence."""
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


def told(
    connection: Connection[TupleRow], events: list[Followed], sizes: Iterator[int], *, remembers: bool = True
) -> list[list[TupleRow]]:
    connection.execute("TRUNCATE sessions")
    feed(connection, PROJECTION, events, sizes, remembers=remembers)
    return rows_of(connection, PROJECTION)


def at_random(seed: int) -> Iterator[int]:
    draw = Random(seed)
    while True:
        yield draw.randint(1, 9)


@pytest.mark.parametrize("seed", range(5))
def test_open_rows_are_the_open_sessions_and_batches_do_not_matter(connection: Connection[TupleRow], seed: int) -> None:
    events = all_followed(lived(seed, 150).ledger.kept)
    whole = told(connection, events, repeat(100_000))
    assert open_rows(connection) == open_sessions(events)
    assert told(connection, events, at_random(seed)) == whole
    assert told(connection, events, repeat(1)) == whole
    assert told(connection, events, at_random(seed), remembers=False) == whole
    assert told(connection, events, repeat(1), remembers=False) == whole


def by_user(connection: Connection[TupleRow], uid: str) -> list[SessionRow]:
    rows = connection.execute("SELECT * FROM sessions WHERE uid = %s ORDER BY position, ordinal", (uid,)).fetchall()
    return [SessionRow(*row) for row in rows]


def heard(connection: Connection[TupleRow], ledger: Reconciler, *items: Item) -> None:
    """The sessions after these items, each so many seconds after the one before."""
    for after, item in items:
        ledger.pass_time(after)
        ledger.hear("n1", item)
    told(connection, all_followed(ledger.kept), repeat(1))


@pytest.fixture
def one_node() -> Reconciler:
    return Reconciler(Profile.V2_2)


def test_an_end_is_exact_by_its_own_offline_and_bounded_by_a_count(
    connection: Connection[TupleRow], one_node: Reconciler
) -> None:
    begun = one_node.at
    heard(
        connection,
        one_node,
        (1, "a-0-1-1-1-1"),
        (1, "a-1-1-2-1-2"),
        (8, "a-1-1-2-1-2"),
        (10, "a-0-0-1-0-0"),
    )
    app, web = by_user(connection, "a")
    assert (app.ended_at, app.ended_after, app.ended_by) == (begun + 20 * SECOND, None, "offline_of_open")
    assert (web.ended_at, web.ended_after, web.ended_by) == (begun + 20 * SECOND, begun + 10 * SECOND, "swept")
    assert (app.concurrent, web.concurrent) == (1, 2)
    assert [(sureness(row.opened_by), sureness(row.ended_by or "")) for row in (app, web)] == [
        ("exact", "exact"),
        ("exact", "bounded"),
    ]


def test_a_nameless_session_keeps_its_begin_when_it_is_named(
    connection: Connection[TupleRow], one_node: Reconciler
) -> None:
    begun = one_node.at
    heard(connection, one_node, (1, "a-0-1-5-2-2"), (1, "a-0-1-6-2-2"), (1, "a-0-0-6-1-1"))
    known, named = by_user(connection, "a")
    assert (known.conn_id, known.opened_by, known.ended_at) == (5, "online_new", None)
    assert (named.conn_id, named.opened_by, named.opened_at) == (6, "implied", begun + SECOND)
    assert (named.ended_by, sureness(named.opened_by)) == ("offline_of_open", "implied")


def test_a_count_takes_back_what_a_count_had_proved(connection: Connection[TupleRow], one_node: Reconciler) -> None:
    heard(connection, one_node, (1, "a-0-1-5-2-2"), (1, "a-0-1-5-1-1"))
    _, implied = by_user(connection, "a")
    assert (implied.ended_by, sureness("withdrawn"), implied.ended_after) == ("withdrawn", "implied", implied.opened_at)


def test_a_session_that_is_believed_to_be_there_is_not_lost_without_a_word(
    connection: Connection[TupleRow], one_node: Reconciler
) -> None:
    one_node.hear("n1", "a-0-1-1-1-1")
    one_node.hear("n1", "a-0-0-1-0-0")
    online, offline = [each for each in all_followed(one_node.kept) if each.uid == "a"]
    memory, cursor = Memory(), connection.cursor(binary=True)
    PROJECTION.handle(cursor, [online], memory)
    connection.execute("DELETE FROM sessions")
    with pytest.raises(RowsMissing, match="0 of 1 sessions"):
        PROJECTION.handle(cursor, [offline], memory)
    # Nothing is remembered of whom that befell: their rows are read.
    PROJECTION.handle(cursor, [offline], memory)


def test_flaps_are_of_the_same_device_within_the_minute(connection: Connection[TupleRow], one_node: Reconciler) -> None:
    heard(
        connection,
        one_node,
        (1, "a-0-1-1-1-1"),
        (1, "a-0-0-1-0-0"),
        (20, "a-0-1-2-1-1"),
        (1, "a-1-1-3-1-2"),
        (1, "a-0-0-2-0-1"),
        (30, "a-0-1-4-1-2"),
        (1, "a-0-0-4-0-1"),
        (61, "a-0-1-5-1-2"),
    )
    assert [(row.conn_id, row.flaps) for row in by_user(connection, "a")] == [(1, 0), (2, 1), (3, 0), (4, 2), (5, 0)]


def test_what_looks_and_boots_ended_has_their_bounds(connection: Connection[TupleRow]) -> None:
    told(connection, events := replayed("v22/retries_then_delivered"), repeat(4))
    [ghost] = by_user(connection, "h-500")
    [correction] = [each.event for each in events if isinstance(each.event, Corrected) and each.event.drift == "ghost"]
    assert (ghost.ended_after, ghost.ended_at) == (correction.agreed_at, correction.disagreed_at)
    assert (ghost.opened_by, ghost.conn_id, ghost.ended_by) == ("poll_missed", 2, "poll_ghost")
    told(connection, events := replayed("v22/crash_and_restart"), repeat(4))
    [sweep] = [each.event for each in events if isinstance(each.event, Swept) and each.uid == "m3"]
    ended, _ = by_user(connection, "m3")
    assert (ended.ended_after, ended.ended_at, ended.ended_by) == (sweep.earliest, sweep.latest, "restart")
    assert ended.ended_position == next(each.position for each in events if each.event is sweep)


def test_a_slice_begins_with_the_sessions_that_were_open(
    connection: Connection[TupleRow], one_node: Reconciler
) -> None:
    one_node.hear("n1", "a-0-1-1-1-1", "a-1-1-2-1-2")
    imported = as_imported(one_node.presence("a"), one_node.at)
    told(connection, [followed(1, imported, "a", one_node.at)], repeat(1))
    rows = by_user(connection, "a")
    assert [(row.conn_id, row.ordinal, row.opened_by, row.flaps) for row in rows] == [
        (1, 0, "state_before_slice", 0),
        (2, 1, "state_before_slice", 0),
    ]
    assert {sureness(row.opened_by) for row in rows} == {"unknown"}

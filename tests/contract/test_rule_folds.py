"""What is kept of folded rules changes no answer, whatever was asked before, and leaves few events to be folded."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import NamedTuple

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import Event, SourceEvent
from ledger.domain.events import Configured
from ledger.domain.imported import SourceImported, without_doubts_after
from ledger.domain.instants import to_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.source import SourceState, as_imported, evolve_source
from ledger.store.mapper import EventMapper, source_stream
from projections.queries.rule_folds import Hindsight, RuleFolds, SourceStates
from tests.support import pg
from tests.support.following import connect

EVENTS = 600
T = 1_800_000_000 * SECOND
MAPPER = EventMapper()


class Told(NamedTuple):
    position: int
    source: str
    event: SourceEvent


def at_random(draw: Random, at: Instant) -> SourceEvent:
    node = draw.choice(("n1", "n2"))
    match draw.randrange(50):
        case 0:
            return as_imported(SourceState("elsewhere", dark_since=at))
        case number if number < 5:
            nodes = dict.fromkeys(draw.choice((("n1",), ("n1", "n2"))), Profile.V3)
            return Configured(
                at=at, instance="i", policy=DEFAULT_POLICY, profile=Profile.V3, nodes=nodes, rules_version=1
            )
        case number if number < 20:
            return NodeDown(node=node, at=at, since=at, reason="refused")
        case number if number < 35:
            return NodeSettled(node=node, at=at)
        case number:
            return SourceDark(at=at, since=at) if number % 2 else SourceLit(at=at, by="poll")


@pytest.fixture
def told(connection: Connection[TupleRow]) -> list[Told]:
    """Events of two sources, with gaps between them; some came about long before they were recorded."""
    return record(connection, 7)


def record(connection: Connection[TupleRow], seed: int, kept: Sequence[Told] = ()) -> list[Told]:
    """Events at random after those that are kept."""
    draw, told = Random(seed), list(kept)
    position = told[-1].position if told else 0
    versions = Counter(each.source for each in told)
    with connection.cursor() as cursor, cursor.copy("COPY events FROM STDIN BINARY") as copy:
        copy.set_types(["text", "int8", "int8", "text", "bytea", "timestamptz"])
        for number in range(len(told), EVENTS):
            position += draw.choice((1, 1, 1, 40))
            late = draw.choice((0, 0, 0, 1, 30))
            source, event = draw.choice(("one", "two")), at_random(draw, T + (number - late) * SECOND)
            told.append(Told(position, source, event))
            versions[source] += 1
            kind, payload = MAPPER.kind_and_payload(event)
            copy.write_row((source_stream(source), versions[source], position, kind, payload, to_datetime(T)))
    return told


def folded(told: list[Told], position: int, hindsight: Hindsight | None) -> SourceStates:
    """The same, one event after another."""
    up_to, by = hindsight or (position, 0)
    states: dict[str, SourceState] = {}
    last = 0
    for place, source, event in told:
        if place <= position or (place <= up_to and getattr(event, "at", by) <= by):
            known = event
            if place > position and isinstance(event, SourceImported):
                known = without_doubts_after(event, by)
            states[source] = evolve_source(states.get(source) or SourceState(source), known, place)
            last = place
    return SourceStates(last, states)


def questions(draw: Random, head: int, number: int) -> Iterator[tuple[int, Hindsight | None]]:
    for _ in range(number):
        position = draw.randint(0, head)
        later = Hindsight(draw.randint(position, head), T + draw.randint(-40, EVENTS) * SECOND)
        yield position, draw.choice((None, later))


@pg.on_every_server
@pytest.mark.parametrize(("every", "most"), [(1, 7), (7, 4), (10, 1000), (1000, 10)])
def test_what_is_kept_changes_no_answer(
    connection: Connection[TupleRow], told: list[Told], every: int, most: int
) -> None:
    folds, draw, head = RuleFolds(every, most), Random(every), told[-1].position
    for position, hindsight in questions(draw, head, 60):
        assert folds.at(connection, MAPPER, position, hindsight) == folded(told, position, hindsight)
        assert len(folds._kept.folds) <= most


def test_threads_may_ask_at_once(database_url: str, told: list[Told]) -> None:
    folds, head = RuleFolds(5, 20), told[-1].position

    def ask(seed: int) -> bool:
        with connect(database_url) as connection:
            return all(
                folds.at(connection, MAPPER, *question) == folded(told, *question)
                for question in questions(Random(seed), head, 15)
            )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(ask, range(4)))


def test_a_database_that_was_replaced_by_an_older_one_is_another_ledger(
    connection: Connection[TupleRow], told: list[Told]
) -> None:
    folds, draw = RuleFolds(10, 1000), Random(1)
    folds.at(connection, MAPPER, told[-1].position)
    # Nobody but the owner of the table can do that.
    connection.execute("ALTER TABLE events DISABLE TRIGGER events_append_only")
    connection.execute("DELETE FROM events WHERE position > %s", (told[200].position,))
    restored = record(connection, 8, told[:201])
    assert restored != told
    for question in questions(draw, restored[-1].position, 20):
        assert folds.at(connection, MAPPER, *question) == folded(restored, *question)


class Counting(EventMapper):
    """Counts the events that it reads."""

    read = 0

    def event_at(self, position: int, kind: str, payload: bytes) -> Event:
        self.read += 1
        return super().event_at(position, kind, payload)


def test_of_a_long_past_little_is_folded_again(connection: Connection[TupleRow], told: list[Told]) -> None:
    folds, mapper, head = RuleFolds(10, 1000), Counting(), told[-1].position
    folds.at(connection, mapper, head)
    assert mapper.read == EVENTS
    for position in (0, told[5].position, told[300].position, head):
        mapper.read = 0
        folds.at(connection, mapper, position)
        assert mapper.read < 10
    mapper.read = 0
    # A few of those recorded later had come about long before, and nothing tells of an import when it had.
    folds.at(connection, mapper, told[100].position, Hindsight(head, T + 100 * SECOND))
    assert mapper.read < EVENTS / 2

"""The past: a live answer asked again by its `as_of` is the same for ever; hindsight takes later evidence in."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.domain.as_of import Later, arrived, believe
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.instants import from_datetime, to_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.store.ledger import Ledger
from projections.models import current
from projections.models.shown import AnswerPoint
from projections.queries import history, past
from projections.queries.reader import Read
from tests.support import pg
from tests.support.ledgers import opened
from tests.support.lived import USERS, Life, lived, pour
from tests.support.readers import reading

ASKED = (*USERS, "nobody", "\0")


class Answer(NamedTuple):
    """What was said, live, of everybody at some moment."""

    made: AnswerPoint
    bodies: list[bytes]


def live_answers(ledger: Ledger, url: str, life: Life) -> list[Answer]:
    """Pour a life into a ledger and ask about everybody at each of its moments, by the life's own clock."""

    async def run() -> list[Answer]:
        clock: Instant = 0
        answers, poured = [], 0
        async with reading(url, lambda: clock) as reader:
            for at, up_to in life.moments:
                clock = at
                pour(ledger, life.ledger.kept[poured:up_to])
                poured = up_to
                read = await reader.many(ASKED)
                answers.append(Answer(read.made, read.bodies))
        return answers

    return asyncio.run(run())


def again(ledger: Ledger, made: AnswerPoint, uids: Sequence[str] = ASKED) -> Read:
    with ledger.connection() as connection:
        return past.read(connection, ledger.events_mapper, uids, made)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 50), overrides=st.booleans())
def test_a_live_answer_asked_again_by_its_as_of_is_the_same(
    server: str, seed: int, steps: int, overrides: bool
) -> None:
    life = lived(seed, steps, overrides=overrides)
    with pg.new_database(server) as url, opened(url) as ledger:
        answers = live_answers(ledger, url, life)
        for made, bodies in answers:
            assert again(ledger, made).bodies == bodies
        # Of one user as of many.
        made, bodies = answers[-1]
        assert [again(ledger, made, [uid]).bodies[0] for uid in ASKED] == bodies


@pytest.fixture(scope="module")
def long_life() -> Life:
    return lived(20_261_125, 400)


@pytest.fixture
def ledger(ledger: Ledger, long_life: Life) -> Ledger:
    pour(ledger, long_life.ledger.kept)
    return ledger


def folded(life: Life, uid: str, position: int) -> Presence | None:
    """The user's presence as of a position, event by event."""
    presence = None
    for kept in life.ledger.kept:
        if kept.uid == uid and kept.position <= position and isinstance(kept.event, UserEvent):
            presence = evolve(presence or Presence(uid), kept.event, kept.position)
    return presence


@pytest.mark.parametrize("every", [0, 1, 7])
def test_presences_as_of_a_position_are_the_fold_with_snapshots_and_without(
    ledger: Ledger, long_life: Life, every: int
) -> None:
    kept = [each for each in long_life.ledger.kept if each.uid is not None]
    with ledger.connection() as connection:
        for each in kept:
            presence = folded(long_life, each.uid or "", each.position) if every else None
            if presence is not None and presence.version % every == 0:
                connection.execute(
                    "INSERT INTO snapshots (uid, version, position, state) VALUES (%s, %s, %s, %s)",
                    (each.uid, presence.version, each.position, current.encode_state(presence)),
                )
        for position in range(0, long_life.ledger.draft.head + 1, 13):
            found = history.presences_at(connection, ledger.events_mapper, list(USERS), position)
            expected = {uid: folded(long_life, uid, position) for uid in USERS}
            assert found == {uid: presence for uid, presence in expected.items() if presence is not None}


def test_nobody_was_looked_at_as_of_a_position_that_knows_nothing_of_him(ledger: Ledger, long_life: Life) -> None:
    first = next(each for each in long_life.ledger.kept if each.uid == USERS[0]).position
    with ledger.connection() as connection:
        connection.execute("DELETE FROM looks")
        connection.execute(
            "INSERT INTO looks (uid, source, due_at, verified_at) VALUES (%s, 'main', 0, 0)", (USERS[0],)
        )
    before, after = (
        again(ledger, AnswerPoint(4_000_000_000 * SECOND, place), USERS[:1]).bodies[0] for place in (first - 1, first)
    )
    assert b'"verified_at":null' in before
    assert b'"verified_at":"1970-01-01T00:00:00.000000Z"' in after


def test_the_position_at_an_instant_is_the_last_one_recorded_up_to_it(ledger: Ledger) -> None:
    rows = ledger.events_recorder.ledger_rows(limit=10_000)
    with ledger.connection() as connection:
        for recorded_at in {row.recorded_at for row in rows}:
            at = from_datetime(recorded_at)
            up_to = [row.position for row in rows if row.recorded_at <= recorded_at]
            before = [row.position for row in rows if row.recorded_at < recorded_at]
            assert history.position_at(connection, at) == max(up_to)
            assert history.position_at(connection, at - 1) == max(before, default=0)


def test_positions_may_have_gaps(database_url: str) -> None:
    places = (5, 6, 40, 1000)
    with opened(database_url) as ledger, ledger.connection() as connection:
        assert history.position_at(connection, 0) == 0
        for place in places:
            connection.execute(
                "INSERT INTO events VALUES (%s, 1, %s, 'k', '', to_timestamp(%s))", (f"s{place}", place, place)
            )
        for at in range(1100):
            up_to = [place for place in places if place <= at]
            assert history.position_at(connection, at * SECOND) == max(up_to, default=0)


@pytest.fixture
def dated(ledger: Ledger, long_life: Life) -> dict[int, Instant]:
    """The ledger, recorded when its events happened; by position, when that was."""
    instants: dict[int, Instant] = {}
    for at, up_to in reversed(long_life.moments):
        instants |= {kept.position: at for kept in long_life.ledger.kept[:up_to]}
    with ledger.connection() as connection:
        # Nobody but the owner of the table can do that.
        connection.execute("ALTER TABLE events DISABLE TRIGGER events_append_only")
        connection.cursor().executemany(
            "UPDATE events SET recorded_at = %s WHERE position = %s",
            [(to_datetime(at), position) for position, at in instants.items()],
        )
    return instants


def test_hindsight_is_what_the_whole_record_says_of_an_instant(
    ledger: Ledger, long_life: Life, dated: dict[int, Instant]
) -> None:
    kept, head = long_life.ledger.kept, long_life.ledger.draft.head
    changed = hedged = 0
    with ledger.connection() as connection:
        for at, up_to in long_life.moments[::5]:
            found = history.as_of(connection, ledger.events_mapper, USERS, at - 1, head)
            then = history.as_of(
                connection, ledger.events_mapper, USERS, at - 1, history.position_at(connection, at - 1)
            )
            for uid in USERS:
                base = history.position_at(connection, at - 1)
                later = [
                    Later(each.position, each.event)
                    for each in kept
                    if each.uid == uid and each.position > base and isinstance(each.event, UserEvent)
                ]
                presence = folded(long_life, uid, base) or Presence(uid)
                number = arrived(later, at - 1)
                for each in later[:number]:
                    presence = evolve(presence, each.event, each.position)
                rules = found.rules
                expected = believe(presence, later[number:], rules.sources, at - 1)
                assert found.belief(uid, at - 1) == expected
                changed += expected.shown.status != then.belief(uid, at - 1).shown.status
                hedged += expected.uncertain is not None
            assert up_to <= head
    assert changed
    assert hedged

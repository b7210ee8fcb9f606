"""Who follows the ledger from a place that is archived on a real server: begins anew, or is told of each user once."""

import json
from pathlib import Path

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.missed import Resuming
from ledger.changes.moment import Moments
from ledger.http import sinks as routes
from ledger.http.problems import Problem
from ledger.ingest.clock import Clock
from ledger.sinks.reader import SinkReader
from ledger.slices import ledger_rows
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper
from ledger.working_state.sinks import SinkCheckpoint
from projections.models import current
from projections.models.shown import AnswerPoint
from tests.support.archived import ONCE, USERS, archive, live


@pytest.fixture
def ledger(ledger: Ledger, database_url: str, tmp_path: Path) -> Ledger:
    """One of which all but the last event of a user is archived."""
    live(ledger, database_url)
    archive(ledger, database_url, tmp_path)
    return ledger


def test_a_cursor_is_recovered_from_the_archives_end_on(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    resuming, now = Resuming(EventMapper()), Clock().now()
    with Moments(Clock().now).read(connection) as moment:
        known = {place: resuming.is_known(moment, AnswerPoint(now, place)) for place in (1, 148, 149, 151)}
    assert known == {1: False, 148: False, 149: True, 151: True}


@pytest.mark.parametrize("every", [False, True])
def test_in_another_epoch_everybody_is_told_of(
    ledger: Ledger, connection: Connection[TupleRow], *, every: bool
) -> None:
    reader = SinkReader(EventMapper(), Clock().now, SinkCheckpoint("of before", 40, 0, 0, 0), every=every)
    told: list[str] = []
    shown: dict[str, str] = {}
    while True:
        page = reader.read(connection)
        for each in page.changes:
            told.append(each.told.uid)
            shown[each.told.uid] = json.loads(each.told.body)["status"]
        reader.took(page.changes, page.checkpoint)
        reader.finished(page)
        if not page.more:
            break
    assert set(told) == {*USERS, ONCE}
    if not every:
        assert len(told) == 4
    there = current.load(connection, told)
    assert shown == {uid: there[uid].status for uid in shown}
    assert page.checkpoint.position >= 151


def test_a_sink_is_told_again_from_there_or_of_everybody(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    now = Clock().now()
    for place in (1, 148):
        with pytest.raises(Problem, match="archived: name a position from 149 on, or 0 for everybody"):
            routes._checkpoint(connection, place, now)
    assert [routes._checkpoint(connection, place, now).position for place in (0, 149, 150)] == [0, 149, 150]


def test_an_import_knows_of_users_whose_events_are_archived(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    cursor = connection.cursor()
    assert ledger_rows.other_stream(cursor, ["user:new", f"user:{ONCE}"], 151) == f"user:{ONCE}"
    assert ledger_rows.other_stream(cursor, ["user:new", "source:elsewhere"], 151) is None

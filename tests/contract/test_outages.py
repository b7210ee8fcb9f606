"""The projection `outages`: what begins and ends the darkness of a source and the downs of its nodes."""

from collections.abc import Iterator
from itertools import repeat

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, SourceDark, SourceLit
from ledger.domain.source import as_imported
from projections.engine.projection import Followed
from projections.models.outages import PROJECTION
from tests.support.reconciler import Reconciler
from tests.support.told import all_followed, feed, followed, rows_of


def told(connection: Connection[TupleRow], events: list[Followed], sizes: Iterator[int]) -> list[TupleRow]:
    connection.execute("TRUNCATE in_doubt")
    feed(connection, PROJECTION, events, sizes)
    return rows_of(connection, PROJECTION)[0]


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
        for _, _, node, begun, over, reason, ended_by, _ in whole
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
    assert [tuple(row[:7]) for row in told(connection, events, repeat(1))] == [
        ("main", 1, "", at, at + 1, "imported", "poll"),
        ("main", 1, "n1", at, None, "imported", None),
    ]

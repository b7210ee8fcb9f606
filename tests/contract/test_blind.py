"""Times in which nobody could know: as starts, stops, outages and alerts tell them, listed and summed up."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.alert_events import SERVICE, AlertBegan, AlertEnded
from ledger.domain.blind import BlindTime
from ledger.domain.event_types import SourceEvent
from ledger.domain.events import ServiceStarted, ServiceStopped
from ledger.domain.instants import from_datetime
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import (
    NodeDown,
    NodeSettled,
    RunCounts,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
)
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from projections.engine import rebuild
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from projections.queries import blind
from projections.queries.blind import BlindQuery, BlindTotal
from tests.support import pg
from tests.support.following import follow_all

T = 1_800_000_000 * SECOND
EVER = BlindQuery(T - 10**15, T + 10**15)


class Told:
    """A ledger that is told of events one by one, and what the projection makes of them."""

    def __init__(self, ledger: Ledger, connection: Connection[TupleRow], url: str) -> None:
        self._ledger, self._connection, self._url = ledger, connection, url

    def tell(self, *events: SourceEvent, source: str = "main") -> "Told":
        for event in events:

            def decide(draft: Draft, event: SourceEvent = event) -> Iterator[Recorded]:
                yield draft.append_to_source(source, event)

            append(self._ledger, {source: None}, (), decide)
        return self

    def follow(self, batch_events: int = 100) -> "Told":
        follow_all(self._connection, Projector({"blind": FOLLOWING["blind"]}, batch_events=batch_events))
        return self

    def times(self, wanted: BlindQuery = EVER, after: Any = blind.FIRST, limit: int = 100) -> list[BlindTime]:
        return blind.page(self._connection, wanted, after, limit)

    def all_rows(self) -> Sequence[TupleRow]:
        return self._connection.execute("SELECT * FROM blind_times ORDER BY 1, 2, 3").fetchall()

    def rebuild(self) -> None:
        with rebuild.alone(self._url, "blind") as rebuilding:
            rebuild.Rebuild(rebuilding, self._url, FOLLOWING["blind"], batch_events=3).run(lambda *_: None)

    def totals(self, wanted: BlindQuery) -> list[BlindTotal]:
        return blind.totals(self._connection, wanted)


@pytest.fixture
def told(ledger: Ledger, connection: Connection[TupleRow], database_url: str) -> Told:
    return Told(ledger, connection, database_url)


def started(instance: str, at: int) -> ServiceStarted:
    return ServiceStarted(at=T + at * SECOND, instance=instance, software_version="1")


def stopped(instance: str, at: int) -> ServiceStopped:
    return ServiceStopped(at=T + at * SECOND, instance=instance)


def run_started(instance: str, at: int) -> RunStarted:
    return RunStarted(run="r", at=T + at * SECOND, instance=instance, scope="start")


def run_ended(at: int) -> RunEnded:
    end = T + at * SECOND
    return RunEnded(run="r", at=end, started_at=end, scope="start", outcome="completed", counts=RunCounts())


def dark(since: int) -> SourceDark:
    return SourceDark(at=T + (since + 900) * SECOND, since=T + since * SECOND)


def lit(at: int) -> SourceLit:
    return SourceLit(at=T + at * SECOND, by="webhook")


def shown(times: Sequence[BlindTime]) -> list[tuple[str, str, int, int | None]]:
    """Kind, node, since and until in seconds after T."""
    return [
        (each.kind, each.node, (each.since - T) // SECOND, None if each.until is None else (each.until - T) // SECOND)
        for each in times
    ]


def eventful(told: Told) -> Told:
    """Started, dark, down, stopped in order, and started again."""
    told.tell(started("a", 0), run_started("a", 1), run_ended(5), dark(100), lit(1100))
    told.tell(NodeDown(node="n1", at=T + 1205 * SECOND, since=T + 1200 * SECOND, reason="refused"))
    told.tell(NodeSettled(node="n1", at=T + 1300 * SECOND), stopped("a", 2000), started("b", 2600))
    return told.tell(run_started("b", 2601), run_ended(2650), dark(3000))


@pytest.mark.parametrize("batch_events", [1, 100])
@pg.on_every_server
def test_each_time_is_told_with_its_begin_and_end(told: Told, batch_events: int) -> None:
    eventful(told).follow(batch_events)
    assert shown(told.times()) == [
        ("source_dark", "", 100, 1100),
        ("node_down", "n1", 1200, 1300),
        ("service_stopped", "", 2000, 2600),
        ("source_dark", "", 3000, None),
    ]
    assert [each.reason for each in told.times()] == ["silent", "refused", "stopped", "silent"]
    assert [blind.kind_of(each) for each in told.times()] == [each.kind for each in told.times()]
    [(_, _, _, kind, since, until, _, _, listed_at, _)] = [row for row in told.all_rows() if row[3] == "before_record"]
    assert (kind, since, until, listed_at) == ("before_record", 0, T, T + 5 * SECOND)
    rows = told.all_rows()
    told.rebuild()
    assert told.all_rows() == rows


def test_after_a_kill_it_begins_with_the_last_thing_recorded(told: Told, connection: Connection[TupleRow]) -> None:
    now = from_datetime(connection.execute("SELECT clock_timestamp()").fetchall()[0][0])
    after = (now - T) // SECOND + 1000
    told.tell(started("a", 0), run_started("a", 1), started("b", after)).follow()
    [time] = told.times()
    assert (time.kind, time.reason, time.others) == ("service_stopped", "killed", "a")
    assert now <= time.since < time.until == T + after * SECOND  # type: ignore[operator]


@pytest.mark.parametrize("sign", [run_started("a", 10**9), stopped("a", 10**9)])
@pytest.mark.parametrize("batch_events", [1, 100])
def test_an_instance_that_is_heard_of_later_had_been_there(told: Told, batch_events: int, sign: SourceEvent) -> None:
    told.tell(started("a", 0), started("b", 10**9))
    told.follow(batch_events)
    assert [each.kind for each in told.times()] == ["service_stopped"]
    told.tell(sign).follow()
    assert told.times() == []
    rows = told.all_rows()
    told.rebuild()
    assert told.all_rows() == rows


def test_an_alert_tells_when_postgresql_was_away(told: Told) -> None:
    began = AlertBegan(
        alert="1",
        name="store_unavailable",
        severity="critical",
        at=T + 20 * SECOND,
        since=T,
        figures={"reason": "gone"},
    )
    other = AlertBegan(alert="2", name="disk_low", severity="warning", at=T, since=T)
    told.tell(began, other, source=SERVICE).follow()
    assert shown(told.times()) == [("store_unavailable", "", 0, None)]
    told.tell(AlertEnded(alert="2", name="disk_low", at=T, since=T), source=SERVICE).follow()
    assert shown(told.times()) == [("store_unavailable", "", 0, None)]
    ended = AlertEnded(alert="1", name="store_unavailable", at=T + 60 * SECOND, since=T + 30 * SECOND)
    told.tell(ended, source=SERVICE).follow()
    [time] = told.times(EVER._replace(source="main"))
    assert (time.source, time.reason, time.until) == (SERVICE, "gone", T + 30 * SECOND)


def test_they_are_listed_page_by_page_and_narrowed(told: Told) -> None:
    eventful(told).follow()
    pages, after = [], blind.FIRST
    while page := told.times(after=after, limit=1):
        pages += page
        after = page[-1].since, page[-1].position, page[-1].node
    assert pages == told.times()
    assert shown(told.times(EVER._replace(kind="node_down"))) == [("node_down", "n1", 1200, 1300)]
    assert told.times(EVER._replace(source="other")) == []
    between = BlindQuery(T + 1250 * SECOND, T + 2000 * SECOND)
    assert shown(told.times(between)) == [("node_down", "n1", 1200, 1300)]
    assert blind.position(told._connection) > 0


def test_totals_count_what_lies_between_once(told: Told) -> None:
    eventful(told)
    told.tell(started("c", 0), dark(1000), lit(2000), stopped("c", 2100), started("d", 2200), source="other").follow()
    main, other = told.totals(BlindQuery(T + 600 * SECOND, T + 4000 * SECOND))
    assert main == BlindTotal(
        "main", 500 + 600 + 1000, {"service_stopped": 600, "source_dark": 500 + 1000, "node_down": 100}
    )
    assert other == BlindTotal("other", 1000 + 100, {"service_stopped": 100, "source_dark": 1000})
    overlapping = told.tell(dark(2050), lit(2150), source="other").follow()
    assert overlapping.totals(EVER._replace(source="other"))[0].seconds == 1000 + 150

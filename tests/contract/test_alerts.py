"""Alerts on record, on PostgreSQL: an event and a row for each, once whoever finds it; and who was told."""

from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.alert_events import SERVICE, AlertAcknowledged, AlertBegan, AlertEnded
from ledger.ingest import alert_record
from ledger.ingest.alert_record import EndedAlert
from ledger.slices import taking
from ledger.store.ledger import Ledger
from ledger.store.mapper import source_stream
from ledger.working_state import alerts, instance_figures
from ledger.working_state.alerts import AlertRow
from ledger.working_state.instance_figures import Spooling

AT = 1_800_000_000_000_000


def row(alert: str = "a", name: str = "node_down", source: str = "main", **fields: Any) -> AlertRow:
    usual: dict[str, Any] = {
        "severity": "critical",
        "subject": "n1",
        "incident": "",
        "began_at": AT,
        "since": AT - 5,
        "figures": {},
    }
    return AlertRow(alert, 0, name, source=source, **(usual | fields))


def ended(alert: str = "a", at: int = AT + 9) -> EndedAlert:
    return EndedAlert(alert, at, at - 3, {"failures": 7})


def on_record(ledger: Ledger, source: str = "main") -> list[object]:
    rows = ledger.events_recorder.stream_rows(source_stream(source), limit=100)
    return [ledger.event(each) for each in rows]


def test_it_begins_is_known_and_ends(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    began = row(figures={"down_since_at": "x", "failures": 3}, rests_on=(7, 8), notices={"oncall": {"began": None}})
    alert_record.record(ledger, "main", [began], [])
    [kept] = alerts.on(connection)
    assert kept == began._replace(position=1, rests_on=[7, 8])
    assert kept.state == "firing"
    known = alert_record.acknowledge(ledger, "a", AT + 1, "ann")
    assert known is not None
    assert (known.state, known.acknowledged_at, known.acknowledged_by) == ("acknowledged", AT + 1, "ann")
    alert_record.record(ledger, "main", [], [ended()])
    assert alerts.on(connection) == []
    over = alerts.get(connection, "a")
    assert over is not None
    assert (over.state, over.ended_at, over.figures) == ("resolved", AT + 9, {"failures": 7})
    assert on_record(ledger) == [
        AlertBegan(
            alert="a", name="node_down", severity="critical", at=AT, since=AT - 5, subject="n1",
            figures={"down_since_at": "x", "failures": 3}, rests_on=(7, 8),
        ),
        AlertAcknowledged(alert="a", name="node_down", at=AT + 1, by="ann", subject="n1"),
        AlertEnded(alert="a", name="node_down", at=AT + 9, since=AT + 6, subject="n1", figures={"failures": 7}),
    ]  # fmt: skip


def test_of_two_who_find_the_same_one_begins_and_one_ends_it(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    alert_record.record(ledger, "main", [row("a")], [])
    alert_record.record(ledger, "main", [row("b"), row("c", subject="n2")], [])
    assert [each.id for each in alerts.on(connection)] == ["a", "c"]
    for _ in range(2):
        alert_record.record(ledger, "main", [], [ended("a"), ended("b")])
    assert [type(event) for event in on_record(ledger)] == [AlertBegan, AlertBegan, AlertEnded]
    with pytest.raises(psycopg.errors.UniqueViolation):
        alerts.begin(connection.cursor(), row("d", subject="n2")._replace(position=99))


def test_the_next_incident_of_one_that_is_over_and_two_boots_are_others(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    boots = [row(f"boot {position}", incident=f"boot {position}") for position in (41, 97)]
    alert_record.record(ledger, "main", [row("a"), *boots], [])
    alert_record.record(ledger, "main", [row("b")], [ended("a")])
    assert [each.id for each in alerts.on(connection)] == ["boot 41", "boot 97", "b"]


def test_what_began_and_was_over_while_the_store_was_away(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    away = row("a", "store_unavailable", SERVICE, subject="")
    again = away._replace(id="b", began_at=AT + 20)
    alert_record.record(ledger, SERVICE, [away, again], [ended("a")])
    assert [each.id for each in alerts.on(connection)] == ["b"]
    kinds = [(type(event), getattr(event, "alert", "")) for event in on_record(ledger, SERVICE)]
    assert kinds == [(AlertBegan, "a"), (AlertEnded, "a"), (AlertBegan, "b")]


def test_nobody_knows_of_an_alert_that_is_over_or_is_none(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    assert alert_record.acknowledge(ledger, "none", AT, "ann") is None
    alert_record.record(ledger, "main", [row()], [])
    for by in ("ann", "ben"):
        known = alert_record.acknowledge(ledger, "a", AT + 1, by)
        assert known is not None
        assert known.acknowledged_by == "ann"
    alert_record.record(ledger, "main", [], [ended()])
    over = alert_record.acknowledge(ledger, "a", AT + 20, "ben")
    assert over is not None
    assert (over.state, over.acknowledged_by) == ("resolved", "ann")
    assert len(on_record(ledger)) == 3


def test_pages_by_state(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    alert_record.record(ledger, "main", [row(str(number), subject=f"n{number}") for number in range(5)], [])
    alert_record.acknowledge(ledger, "1", AT, "ann")
    alert_record.record(ledger, "main", [], [ended("2")])
    assert [each.id for each in alerts.page(connection, None, 0, 2)] == ["0", "1"]
    assert [each.id for each in alerts.page(connection, None, 2, 9)] == ["2", "3", "4"]
    assert [each.id for each in alerts.page(connection, "firing", 1, 9)] == ["3", "4"]
    assert [each.id for each in alerts.page(connection, "acknowledged", 0, 9)] == ["1"]
    assert [each.id for each in alerts.page(connection, "resolved", 0, 9)] == ["2"]
    assert [each.id for each in alerts.page(connection, None, None, 2, newest_first=True)] == ["4", "3"]
    assert [each.id for each in alerts.page(connection, None, 4, 9, newest_first=True)] == ["2", "1", "0"]
    assert [each.id for each in alerts.page(connection, "firing", None, 9, newest_first=True)] == ["4", "3", "0"]
    assert alerts.counts(connection) == {"node_down": (3, 1)}
    assert [each.id for each in alerts.recent(connection, AT + 9)] == ["0", "1", "2", "3", "4"]
    assert [each.id for each in alerts.recent(connection, AT + 10)] == ["0", "1", "3", "4"]


def test_figures_and_who_was_told_change_without_an_event(ledger: Ledger, connection: Connection[TupleRow]) -> None:
    alert_record.record(ledger, "main", [row(notices={"oncall": {"began": None, "ended": None}})], [])
    alerts.note_figures(connection, {"a": {"users": 80_000}, "none": {}})
    alerts.note_notices(connection, "a", {"oncall": {"began": AT + 2, "ended": None}})
    alerts.note_notices(connection, "a", {"mail": {"began": AT + 3, "ended": None}})
    [kept] = alerts.on(connection)
    assert kept.figures == {"users": 80_000}
    assert kept.notices == {"oncall": {"began": AT + 2, "ended": None}, "mail": {"began": AT + 3, "ended": None}}
    assert len(on_record(ledger)) == 1


def test_what_each_instance_knows(connection: Connection[TupleRow]) -> None:
    instance_figures.write(connection, "a", {"free_bytes": 1}, AT)
    instance_figures.write(connection, "a", {"free_bytes": 2}, AT + 5)
    instance_figures.write(connection, "b", {"free_bytes": 3}, AT)
    assert instance_figures.read(connection, AT) == {"a": {"free_bytes": 2}, "b": {"free_bytes": 3}}
    assert instance_figures.read(connection, AT + 1) == {"a": {"free_bytes": 2}}
    assert instance_figures.spooling(connection) == []
    instance_figures.write(connection, "b", {"host": "im-2", "folder": "/data", "spooled": 3}, AT)
    assert instance_figures.spooling(connection) == [Spooling("im-2", "/data", AT)]
    instance_figures.write(connection, "b", {"free_bytes": 3, "spooled": 0}, AT)
    assert instance_figures.spooling(connection) == []
    instance_figures.write(connection, "b", {"free_bytes": 3}, AT)
    instance_figures.forget(connection, "a", AT)
    assert instance_figures.read(connection, 0) == {"b": {"free_bytes": 3}}
    instance_figures.forget(connection, "c", AT + 86_400_000_001)
    assert instance_figures.read(connection, 0) == {}


def test_a_slice_has_the_alerts_of_its_sources_and_none_of_the_service(
    ledger: Ledger, connection: Connection[TupleRow]
) -> None:
    alert_record.record(ledger, "main", [row("a")], [])
    alert_record.record(ledger, SERVICE, [row("b", "disk_low", SERVICE)], [])
    for users in (None, ("alice",)):
        scope = taking.SliceScope(users=users)
        with taking.open_slice(connection, ledger.events_mapper, scope, lambda *_: None) as found:
            assert [(line.stream, line.event_kind) for line in found.lines] == [("source:main", "alert_began.v1")]

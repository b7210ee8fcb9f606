"""Checks what `/metrics` is made of: each figure by itself, with the names and labels that others rely on."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from ledger.domain.alert_events import SERVICE
from ledger.domain.events import DeliveryReceived, ItemRejected
from ledger.domain.instants import to_text
from ledger.domain.look import JudgedLook, Watch, is_overdue
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.policy import DEFAULT_POLICY
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Finding
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.http import alert_figures, kept, ledger_figures, sink_figures, source_figures
from ledger.http.counters import Counters
from ledger.http.kept import Kept
from ledger.http.ledger_figures import LedgerFigures
from ledger.http.process_figures import ProcessFigures
from ledger.http.request_times import GONE, TimedApp
from ledger.http.route_classes import CLASSES, method_class, route_class
from ledger.http.source_figures import node_standing
from ledger.ingest.figures import IngestFigures, Tally, note
from ledger.reconcile.counters import ReconcileCounters
from ledger.reconcile.judge import Verdicts
from ledger.settings import NodeSettings, SourceSettings
from ledger.store.sizes import DatabaseFigures
from ledger.working_state.alerts import AlertRow
from ledger.working_state.sinks import SinkCheckpoint, SinkRow
from projections.engine import checkpoints

NOW = 1_800_000_000 * SECOND
NODES = {"main": ["n1"]}


class Given(Collector):
    """Families as they were made."""

    def __init__(self, families: Any) -> None:
        self._families = families

    def collect(self) -> Any:
        return self._families


def text_of(*families: Any) -> str:
    registry = CollectorRegistry()
    registry.register(Given(families))
    return generate_latest(registry).decode()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"presence_ledger_{name}", labels)


class TestRoutes:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/hooks/main/n1/secret", "hooks"),
            ("/v1/users/a%2Fb/presence", "user_presence"),
            ("/v1/users/a/b/explain", "user_explain"),
            ("/v1/users/presence", "user_presence"),
            ("/v1/users/u/anything", "other"),
            ("/v1/presence", "presence"),
            ("/v1/presence/query", "presence_query"),
            ("/v1/presence/summary", "presence_summary"),
            ("/v1/lists/name/presence", "lists"),
            ("/v1/sources/main/runs", "sources"),
            ("/v1/stream", "stream"),
            ("/v1/stream/tokens", "stream"),
            ("/v1/none", "other"),
            ("/health/ready", "health"),
            ("/metrics", "metrics"),
            ("/users/u100", "other"),
            ("", "other"),
        ],
    )
    def test_a_path_has_one_of_few_classes(self, path: str, expected: str) -> None:
        assert route_class(path) == expected
        assert expected in CLASSES

    def test_the_rest_is_as_the_listener_has_it(self) -> None:
        assert (route_class("/users/u100", "console"), route_class("/v1/none", "console")) == ("console", "other")

    def test_a_method_is_one_that_there_is(self) -> None:
        assert [method_class(each) for each in ("GET", "BREW")] == ["GET", "other"]


class TestTimes:
    def asked(self, app: Callable[..., Awaitable[None]], path: str = "/v1/presence", kind: str = "http") -> Any:
        registry = CollectorRegistry()
        timed = TimedApp(app, registry, known=(("hooks", "POST", 200),))

        async def send(_: Any) -> None:
            pass

        async def ask() -> None:
            await timed({"type": kind, "path": path, "method": "GET"}, None, send)

        asyncio.run(ask())
        return lambda route, status: value(
            registry, "http_request_duration_seconds_count", route=route, method="GET", status=str(status)
        )

    def test_an_answer_is_counted_by_its_status(self) -> None:
        async def app(scope: Any, _: Any, send: Any) -> None:
            scope["path"] = "/changed"
            await send({"type": "http.response.start", "status": 418})
            await send({"type": "http.response.body"})

        count = self.asked(app)
        assert (count("presence", 418), count("presence", 200)) == (1, None)

    def test_who_went_before_the_answer_is_counted(self) -> None:
        async def app(*_: Any) -> None:
            pass

        assert self.asked(app)("presence", GONE) == 1

    def test_a_stream_lasts_until_it_begins(self) -> None:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200})
            await asyncio.sleep(0.1)

        registry = CollectorRegistry()
        timed = TimedApp(app, registry)

        async def send(_: Any) -> None:
            pass

        asyncio.run(timed({"type": "http", "path": "/v1/stream", "method": "GET"}, None, send))
        total = value(registry, "http_request_duration_seconds_sum", route="stream", method="GET", status="200")
        assert total is not None
        assert total < 0.1

    def test_a_websocket_is_not_timed(self) -> None:
        async def app(*_: Any) -> None:
            pass

        assert self.asked(app, "/v1/ws", "websocket")("other", GONE) is None


class TestIngest:
    def test_items_are_counted_by_verdict_once_they_are_stored(self) -> None:
        registry = CollectorRegistry()
        figures = IngestFigures(registry, NODES)
        assert value(registry, "webhook_items_total", source="main", node="n1", verdict="late") == 0
        tally = Tally()
        tally.update([("main", "n1", "opened")])
        rejected = ItemRejected(
            delivery="d", node="n1", item=1, received_at=NOW, reason="r", raw="1", size=1, following=("2", "3")
        )
        again = DeliveryReceived(delivery="d", node="n1", received_at=NOW, digest="", size=1, items=4, repeats="c")
        for event in (again, rejected, replace(again, repeats=None)):
            note(tally, "source:main", event)
        figures.committed(tally, 0.02)
        figures.failed()
        found = {
            verdict: value(registry, "webhook_items_total", source="main", node="n1", verdict=verdict)
            for verdict in ("opened", "rejected", "late")
        }
        assert found == {"opened": 1, "rejected": 3, "late": 0}
        assert value(registry, "webhook_deliveries_repeated_total", source="main", node="n1") == 1
        assert value(registry, "commit_duration_seconds_sum") == 0.02
        assert value(registry, "group_items_sum") == 4
        assert value(registry, "commit_failures_total") == 1


class TestReconciliation:
    def test_a_drift_is_counted_once_when_it_is_corrected(self) -> None:
        registry = CollectorRegistry()
        counters = ReconcileCounters(registry, NODES)
        labels = {"source": "main", "kind": "ghost", "cause": "gap"}
        assert value(registry, "drifts_total", **labels) == 0
        watch = Watch(NOW)
        finding = Finding("u", "ghost", "open", None, NOW, "gap")
        corrected = Finding("u", "ghost", "corrected", None, NOW, "gap")
        looks = [JudgedLook(watch), JudgedLook(watch, finding, tier="vip", overdue=True), JudgedLook(watch, corrected)]
        counters.answered("main", "n1", "GET /connz", Verdicts([(str(at), look) for at, look in enumerate(looks)]))
        counters.failed("main", "n1", "GET /connz")
        counters.swept("main", "n1", 5)
        assert value(registry, "drifts_total", **labels) == 1
        assert value(registry, "drift_findings_total", source="main", kind="ghost", outcome="open") == 1
        assert [value(registry, "looks_total", source="main", tier=tier) for tier in ("vip", "normal")] == [1, 2]
        assert [value(registry, "looks_overdue_total", source="main", tier=tier) for tier in ("vip", "cold")] == [1, 0]
        assert value(registry, "users_swept_total", source="main", node="n1") == 5

    @pytest.mark.parametrize(
        ("watch", "tier", "late_seconds", "expected"),
        [
            (Watch(NOW), "normal", 7, True),
            (Watch(NOW), "normal", 6, False),
            (Watch(NOW), "vip", 12, False),
            (Watch(NOW), "vip", 13, True),
            (Watch(NOW, "suspect"), "normal", 100, False),
            (Watch(0), "normal", 100, False),
        ],
    )
    def test_a_look_in_turn_is_overdue_beyond_the_bound_of_its_tier(
        self, watch: Watch, tier: Any, late_seconds: int, expected: bool
    ) -> None:
        assert is_overdue(watch, tier, DEFAULT_POLICY, NOW + late_seconds * SECOND) is expected


GOOD = {"last_good_at": to_text(NOW - SECOND), "last_good_probe_at": to_text(NOW), "failures_in_a_row": 0}


class TestSources:
    @pytest.mark.parametrize(
        ("state", "noted", "is_asked", "expected"),
        [
            (NodeState(), GOOD, True, "up"),
            (NodeState(down_since=NOW), GOOD, True, "down"),
            (NodeState(down_since=NOW, swept=False), GOOD, True, "settling"),
            (NodeState(), None, True, "not_known"),
            (NodeState(), {}, True, "not_known"),
            (NodeState(), None, False, "not_asked"),
            (NodeState(), GOOD | {"failures_in_a_row": 2}, True, "api_failing"),
            (NodeState(), GOOD | {"probe_reason": "no answer"}, True, "api_failing"),
        ],
    )
    def test_how_a_node_stands(self, state: NodeState, noted: Any, is_asked: bool, expected: str) -> None:
        assert node_standing(state, noted, is_asked=is_asked) == expected

    def test_each_source_has_its_figures(self) -> None:
        settings = [
            SourceSettings(name, Profile.V2_2, (NodeSettings("n1", "http://h"), NodeSettings("n2", None)), 900.0)
            for name in ("main", "unreadable")
        ]
        nodes = {
            "n1": NodeState(last_webhook_at=NOW, down_since=NOW),
            "n2": NodeState(down_since=NOW, swept=False),
        }
        states = {"main": SourceState("main", 1, nodes=nodes, dark_since=NOW, breaker_until=NOW)}
        noted = {
            "main": {
                "": {
                    "webhooks_silent": True,
                    "noted_at": to_text(NOW),
                    "looks_due": 7,
                    "profile_mismatches": {"n1": "words"},
                },
                "n1": GOOD,
                "n2": GOOD,
            }
        }
        shown = text_of(*source_figures.families(settings, states, noted))
        for line in (
            'source_dark{source="main"} 1.0',
            'breaker_open{source="main"} 1.0',
            'webhooks_silent{source="main"} 1.0',
            'looks_due{source="main"} 7.0',
            'reconciled_timestamp_seconds{source="main"} 1.8e+09',
            'last_webhook_timestamp_seconds{node="n1",source="main"} 1.8e+09',
            'last_query_timestamp_seconds{node="n1",source="main"} 1.8e+09',
            'node_up{node="n1",source="main"} 0.0',
            'node_up{node="n2",source="main"} 1.0',
            'node_state{node="n1",source="main",state="down"} 1.0',
            'node_state{node="n1",source="main",state="up"} 0.0',
            'node_state{node="n2",source="main",state="settling"} 1.0',
            'profile_mismatch{node="n1",source="main"} 1.0',
            'profile_mismatch{node="n2",source="main"} 0.0',
        ):
            assert f"presence_ledger_{line}\n" in shown
        # What is not known is not shown.
        assert 'last_webhook_timestamp_seconds{node="n2"' not in shown
        assert 'last_query_timestamp_seconds{node="n2"' not in shown
        assert "unreadable" not in shown
        shown = text_of(*source_figures.families(settings, {"main": SourceState("main", 1)}, {}))
        assert 'source_dark{source="main"} 0.0' in shown
        assert "looks_due{" not in shown


def test_sinks() -> None:
    place = SinkCheckpoint("e", 90, 0, 0, 0)
    app = SinkRow("app", place, 0, None, None, 7, 2, 3 * SECOND, None, None, 40 * SECOND)
    held = SinkRow("held", place, 0, 1, None, 0, 0, None, None, None, None)
    shown = text_of(*sink_figures.families([app, held], 100))
    for line in (
        'sink_lag_events{sink="app"} 10.0',
        'sink_failing_timestamp_seconds{sink="app"} 40.0',
        'sink_failing_timestamp_seconds{sink="held"} 0.0',
        'sink_held{sink="held"} 1.0',
        'sink_last_success_timestamp_seconds{sink="app"} 3.0',
        'sink_changes_total{sink="app"} 7.0',
        'sink_failures_total{sink="app"} 2.0',
    ):
        assert f"presence_ledger_{line}\n" in shown
    assert 'last_success_timestamp_seconds{sink="held"}' not in shown


def test_alerts_that_are_on() -> None:
    def row(name: str, source: str, subject: str, **fields: Any) -> AlertRow:
        return AlertRow("a", 1, name, "critical", source, subject, "", NOW, NOW, {}, **fields)

    rows = [
        row("node_down", "main", "n1"),
        row("node_down", "main", "n2"),
        row("node_down", "main", "n3", acknowledged_at=NOW),
        row("store_unavailable", SERVICE, ""),
    ]
    shown = text_of(*alert_figures.families(rows))
    for line in (
        'alerts{name="node_down",state="firing"} 2.0',
        'alerts{name="node_down",state="acknowledged"} 1.0',
        'alerts{name="store_unavailable",state="firing"} 1.0',
        'alerts{name="disk_low",state="firing"} 0.0',
        'alert_on{name="node_down",source="main",subject="n3"} 1.0',
        'alert_on{name="store_unavailable",source="",subject=""} 1.0',
    ):
        assert f"presence_ledger_{line}\n" in shown


def test_alerts_stay_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(name: str) -> AlertRow:
        return AlertRow("a", 1, name, "critical", SERVICE, "", "", NOW, NOW, {})

    def away(_: Any) -> ledger_figures.FiguresRead:
        raise StoreUnavailable("PostgreSQL is away")

    async def statuses() -> dict[str, int]:
        return {}

    def shown(figures: LedgerFigures) -> str:
        asyncio.run(figures.refresh())
        return text_of(*figures.collect())

    progress = checkpoints.Checkpoint("drift", 5, None, None, None, 9)
    reading = ledger_figures.FiguresRead([progress], 0, [], {}, {}, [row("disk_low")], DatabaseFigures(1, None, 0.0))
    monkeypatch.setattr(kept, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(kept, "COST", 0.0)
    services: Any = SimpleNamespace(settings=SimpleNamespace(sources=[]), reader=SimpleNamespace(statuses=statuses))
    figures = LedgerFigures(services)
    monkeypatch.setattr(ledger_figures, "read", away)
    assert "alerts{" not in shown(figures)
    monkeypatch.setattr(ledger_figures, "read", lambda _: reading)
    assert 'alerts{name="disk_low",state="firing"} 1.0' in shown(figures)
    monkeypatch.setattr(ledger_figures, "read", away)
    assert 'alerts{name="disk_low",state="firing"} 1.0' in shown(figures)
    figures.alerts_here = lambda: [row("store_unavailable")]
    last = shown(figures)
    assert 'alerts{name="store_unavailable",state="firing"} 1.0' in last
    assert 'alerts{name="disk_low",state="firing"} 0.0' in last
    assert "presence_ledger_database_up 0.0" in last


def test_processes_that_run_have_their_figures(tmp_path: Any) -> None:
    figures = ProcessFigures("service", tmp_path)
    figures.watch("parent", lambda: 1)
    figures.watch("ended", lambda: None)
    shown = text_of(*figures.collect())
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"):
        assert f'{name}{{process="service"}} ' in shown
        assert f'{name}{{process="parent"}} ' in shown
    assert "ended" not in shown
    assert "presence_ledger_build_info{" in shown
    assert "presence_ledger_disk_free_bytes " in shown
    # No folder, no disk.
    assert "disk_" not in text_of(*ProcessFigures("front").collect())
    assert "disk_" not in text_of(*ProcessFigures("front", tmp_path / "none").collect())


def test_known_labels_start_at_0() -> None:
    counters = Counters(NODES)
    assert value(counters.registry, "webhook_deliveries_total", source="main", node="n1", outcome="forbidden") == 0
    counters.delivered("main", "n1", "accepted")
    counters.delivered("main", "n1", "rejected")
    assert counters.for_node("main", "n1").accepted == 2
    counters.count_closed("crowded")
    assert b'presence_ledger_connections_closed_total{reason="crowded"} 1.0' in counters.exposition()
    assert b"_created" not in counters.exposition()


class TestKept:
    def test_it_is_read_anew_when_that_is_due(self) -> None:
        clock, took, reads = [0.0], [0.0], [0]

        async def read() -> int:
            clock[0] += took[0]
            reads[0] += 1
            return reads[0]

        async def run() -> list[int | None]:
            value, seen = Kept(read, lambda: clock[0]), list[int | None]()
            for at, took[0] in ((0.0, 0.0), (1.0, 0.0), (2.0, 1.0), (52.0, 0.0), (53.0, 0.0)):
                clock[0] = at
                await value.refresh()
                seen.append(value.value)
            return seen

        # The third reading takes a second, and so stands for fifty.
        assert asyncio.run(run()) == [1, 1, 2, 2, 3]

    def test_what_cannot_be_read_is_not_known(self, caplog: pytest.LogCaptureFixture) -> None:
        errors = iter([StoreUnavailable("away"), ValueError("a defect"), ValueError("again")])

        async def read() -> int:
            raise next(errors)

        async def run() -> list[int | None]:
            clock = iter(range(0, 1000, 10))
            value = Kept(read, lambda: next(clock))
            seen = []
            for _ in range(3):
                await value.refresh()
                seen.append(value.value)
            return seen

        assert asyncio.run(run()) == [None, None, None]

    def test_a_reading_that_hangs_is_waited_for_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept, "PATIENCE_SECONDS", 0.01)

        async def run() -> tuple[int, bool, bool]:
            began, go_on = 0, asyncio.Event()

            async def read() -> int:
                nonlocal began
                began += 1
                await go_on.wait()
                return began

            value = Kept(read)
            await value.refresh()
            await value.refresh()
            is_late = value.is_late
            go_on.set()
            await value.refresh()
            return began, is_late, value.is_late

        assert asyncio.run(run()) == (1, True, False)

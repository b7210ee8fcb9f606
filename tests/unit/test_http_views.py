"""Checks how each kind of event is shown: instants as text, sessions by their names, everything that is a default."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ledger.domain.event_types import Event
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.reconciliation_events import (
    BreakerOpened,
    Corrected,
    Finding,
    Located,
    NodeBooted,
    NodeDown,
    OpenedSession,
    PollObserved,
    RunCounts,
    RunEnded,
    RunStarted,
    SourceDark,
    SourceLit,
    Swept,
    TierSet,
)
from ledger.http.views import event_view
from ledger.store.mapper import EventMapper, source_stream, user_stream
from ledger.store.recorder import StoredRow

AT = 1_800_000_000_000_001
TEXT = "2027-01-15T08:00:00.000001Z"
LATER = "2027-01-15T08:00:00.000002Z"


def shown(event: Event, stream: str = user_stream("用户")) -> dict[str, Any]:
    """The event as a client reads it."""
    kind, payload = EventMapper().kind_and_payload(event)
    row = StoredRow(position=7, stream=stream, version=3, kind=kind, payload=payload, recorded_at=datetime.now(UTC))
    view: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(event_view(row, event)))
    assert view.pop("recorded_at").endswith("Z")
    return view


def of_source(event: Event) -> dict[str, Any]:
    view = shown(event, source_stream("main"))
    assert (view.pop("source"), view.pop("position"), view.pop("version")) == ("main", 7, 3)
    return view


def test_a_correction() -> None:
    event = Corrected(
        source="main", node="n1", received_at=AT, rule="connz_devices", status_before="online", status_after="online",
        run="r", poll="p", asked_at=AT, drift="devices", attributed_to="gap", disagreed_at=AT + 1, looks=2,
        opened=(OpenedSession("", 0, 9, "n2", "n2"), OpenedSession("n1", None, None, "n1")),
        closed=(SessionId("n1", 1, 6),), located=(Located(SessionId("", 0, 5), "n2", seen=False),),
    )  # fmt: skip
    assert shown(event) == {
        "position": 7,
        "uid": "用户",
        "version": 3,
        "kind": "corrected",
        "source": "main",
        "node": "n1",
        "received_at": TEXT,
        "rule": "connz_devices",
        "verdict": "corrected",
        "status_before": "online",
        "status_after": "online",
        "run": "r",
        "poll": "p",
        "asked_at": TEXT,
        "drift": "devices",
        "attributed_to": "gap",
        "agreed_at": None,
        "disagreed_at": LATER,
        "looks": 2,
        "opened": [
            {"node": None, "device_flag": 0, "conn_id": 9, "told_by": "n2", "held_by": "n2"},
            {"node": "n1", "device_flag": None, "conn_id": None, "told_by": "n1", "held_by": None},
        ],
        "resumes": None,
        "closed": [{"node": "n1", "device_flag": 1, "conn_id": 6}],
        "located": [{"node": None, "device_flag": 0, "conn_id": 5, "held_by": "n2", "seen": False}],
    }


def test_a_sweep_and_a_tier() -> None:
    swept = shown(
        Swept(
            source="main", node="n1", received_at=AT, rule="restart", status_before="online", status_after="offline",
            ended=(SessionId("", 0, 5),), run="r", evidence=4, earliest=AT, latest=AT + 1,
        )
    )  # fmt: skip
    assert (swept["verdict"], swept["rule"], swept["evidence"]) == ("swept", "restart", 4)
    assert (swept["earliest"], swept["latest"]) == (TEXT, LATER)
    assert swept["ended"] == [{"node": None, "device_flag": 0, "conn_id": 5}]
    tier = shown(TierSet(received_at=AT, tier=None, by="ops", status_before="unknown", status_after="unknown"))
    assert (tier["kind"], tier["verdict"], tier["rule"]) == ("tier_set", "tier_set", "tier_set_by_api")
    assert (tier["tier"], tier["by"], tier["received_at"]) == (None, "ops", TEXT)
    assert "source" not in tier


def test_a_webhook_s_item() -> None:
    view = shown(
        WebhookObserved(
            source="main", node="n1", delivery="d", item=0, raw="u-0-0-5-0-0", received_at=AT, verdict="closed",
            rule="offline_of_open", status_before="online", status_after="offline", device_flag=0, online=False,
            conn_id=5, swept=(SessionId("n1", 1, None),), resumes=AT + 1,
        )
    )  # fmt: skip
    assert view["swept"] == [{"node": "n1", "device_flag": 1, "conn_id": None}]
    assert (view["received_at"], view["resumes"]) == (TEXT, LATER)
    assert (view["online"], view["emptied"], view["suspect"], view["conn_id"]) == (False, False, None, 5)


def test_a_poll_with_its_findings() -> None:
    event = PollObserved(
        poll="p", run="r", node="n1", route="GET /connz", asked_at=AT, answered_at=AT + 1, head=0, asked=5, agreed=3,
        findings=(Finding("u", "ghost", "open", None, AT), Finding("v", "missed", "corrected", AT, AT + 1, "node")),
        rows={"u": "", "v": "n1/4"},
    )  # fmt: skip
    view = of_source(event)
    assert (view["asked_at"], view["answered_at"], view["rows"]) == (TEXT, LATER, {"u": "", "v": "n1/4"})
    assert view["findings"] == [
        {
            "uid": "u",
            "drift": "ghost",
            "outcome": "open",
            "agreed_at": None,
            "disagreed_at": TEXT,
            "attributed_to": None,
        },
        {
            "uid": "v",
            "drift": "missed",
            "outcome": "corrected",
            "agreed_at": TEXT,
            "disagreed_at": LATER,
            "attributed_to": "node",
        },
    ]


def test_a_run() -> None:
    begun = of_source(RunStarted(run="r", at=AT, instance="i", scope="manual", users=2, uids=("a", "b")))
    assert begun == {
        "kind": "run_started",
        "run": "r",
        "at": TEXT,
        "instance": "i",
        "scope": "manual",
        "node": None,
        "users": 2,
        "uids": ["a", "b"],
    }
    ended = of_source(
        RunEnded(
            run="r", at=AT + 1, started_at=AT, scope="manual", outcome="completed", counts=RunCounts(looked=2),
            failures={"n1": "500"},
        )
    )  # fmt: skip
    assert ended["counts"] == dict.fromkeys(RunCounts.__struct_fields__, 0) | {"looked": 2}
    assert (ended["at"], ended["started_at"], ended["failures"]) == (LATER, TEXT, {"n1": "500"})


@pytest.mark.parametrize(
    ("event", "instants"),
    [
        (NodeDown(node="n1", at=AT, since=AT + 1, reason="connection refused"), {"at": TEXT, "since": LATER}),
        (
            NodeBooted(node="n1", at=AT, earliest=AT, latest=AT + 1, route="/varz", node_id=1001),
            {"at": TEXT, "earliest": TEXT, "latest": LATER, "node_id": 1001, "first": False},
        ),
        (SourceDark(at=AT + 1, since=AT), {"at": LATER, "since": TEXT}),
        (SourceLit(at=AT, by="webhook"), {"at": TEXT, "by": "webhook"}),
        (
            BreakerOpened(at=AT, looked=90, missing=40, window_seconds=60.0, until=AT + 1),
            {"at": TEXT, "until": LATER, "looked": 90, "missing": 40, "window_seconds": 60.0},
        ),
    ],
)
def test_what_befell_a_source(event: Event, instants: dict[str, Any]) -> None:
    view = of_source(event)
    assert {name: view[name] for name in instants} == instants

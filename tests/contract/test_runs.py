"""Runs as they stand: from their events, and while they run from what the leading instance noted of them."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from ledger.domain.event_types import SourceEvent
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import RunCounts, RunEnded, RunStarted
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.reconcile.requests import request_run
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.working_state import runs, sources
from tests.support import pg
from tests.support.ledgers import SOURCE, configure

T = 1_800_000_000 * SECOND
COUNTS = RunCounts(polls=3, looked=9, agreed=8, drifted=1, corrected=1)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger, sources=(SOURCE, "other"))
    return ledger


def add(ledger: Ledger, event: SourceEvent, source: str = SOURCE) -> None:
    def events(draft: Draft) -> Iterator[Recorded]:
        yield draft.append_to_source(source, event)

    append(ledger, {source: None}, (), events)


def started(run: str, **fields: int | str) -> RunStarted:
    return RunStarted(run=run, at=T, instance="i", scope="rotation", **fields)  # type: ignore[arg-type]


def ended(run: str, **fields: object) -> RunEnded:
    values = {"outcome": "completed", "counts": COUNTS, "at": T + 2_500_000} | fields
    return RunEnded(run=run, started_at=T, scope="rotation", **values)  # type: ignore[arg-type]


def page(ledger: Ledger, source: str = SOURCE, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    with ledger.connection() as connection:
        return [msgspec.to_builtins(run) for run in runs.page(connection, ledger.events_mapper, source, after, limit)]


def one(ledger: Ledger, run: str) -> dict[str, Any] | None:
    with ledger.connection() as connection:
        found: dict[str, Any] | None = msgspec.to_builtins(runs.one(connection, ledger.events_mapper, run))
        return found


@pg.on_every_server
def test_a_run_from_its_begin_to_its_end(ledger: Ledger) -> None:
    add(ledger, started("r1", node="n1"))
    begun = one(ledger, "r1")
    assert begun is not None
    assert begun == {
        "run": "r1",
        "source": SOURCE,
        "position": begun["position"],
        "scope": "rotation",
        "node": "n1",
        "state": "running",
        "instance": "i",
        "started_at": "2027-01-15T08:00:00.000000Z",
        "ended_at": None,
        "duration_seconds": None,
        "users": None,
        "counts": dict.fromkeys(RunCounts.__struct_fields__, 0),
        "failures": {},
    }
    with ledger.events_recorder.commit() as commit:
        runs.note(commit.cursor, "r1", SOURCE, RunCounts(looked=1), None)
        runs.note(commit.cursor, "r1", SOURCE, RunCounts(looked=5, held=2), 70)
    midway = one(ledger, "r1")
    assert midway is not None
    assert (midway["users"], midway["state"]) == (70, "running")
    assert midway["counts"] == dict.fromkeys(RunCounts.__struct_fields__, 0) | {"looked": 5, "held": 2}
    add(ledger, ended("r1", failures={"n2": "500"}))
    found = one(ledger, "r1")
    assert found == begun | {
        "state": "completed",
        "ended_at": "2027-01-15T08:00:02.500000Z",
        "duration_seconds": 2.5,
        "users": 70,
        "counts": dict.fromkeys(RunCounts.__struct_fields__, 0)
        | {"polls": 3, "looked": 9, "agreed": 8, "drifted": 1, "corrected": 1},
        "failures": {"n2": "500"},
    }
    with ledger.events_recorder.commit() as commit:
        runs.forget(commit.cursor, "r1")
    assert one(ledger, "r1") == found | {"users": None}


def test_a_run_that_was_interrupted_says_so(ledger: Ledger) -> None:
    add(ledger, started("r1"))
    add(ledger, ended("r1", outcome="interrupted", counts=RunCounts()))
    assert [run["state"] for run in page(ledger)] == ["interrupted"]


def test_a_requested_run_is_open_until_it_is_made(ledger: Ledger) -> None:
    everybody = request_run(ledger, SOURCE, [], "i", T)
    some = request_run(ledger, SOURCE, ["a", "b", "a", "用户"], "i", T)
    assert [(run["run"], run["scope"], run["users"]) for run in page(ledger)] == [
        (everybody, "manual", None),
        (some, "manual", 3),
    ]
    with ledger.connection() as connection:
        opened_runs = sources.load(connection, ledger, SOURCE).open_runs
    assert {run: opened_run.uids for run, opened_run in opened_runs.items()} == {
        everybody: (),
        some: ("a", "b", "用户"),
    }
    add(ledger, ended(some))
    with ledger.connection() as connection:
        assert list(sources.load(connection, ledger, SOURCE).open_runs) == [everybody]


@pg.on_every_server
def test_a_source_has_its_own_runs_in_order_page_by_page(ledger: Ledger) -> None:
    for number in range(5):
        add(ledger, started(f"r{number}"))
        add(ledger, started(f"o{number}"), "other")
        if number % 2:
            add(ledger, ended(f"r{number}"))
    whole = page(ledger)
    assert [run["run"] for run in whole] == [f"r{number}" for number in range(5)]
    assert [run["state"] for run in whole] == ["running", "completed", "running", "completed", "running"]
    paged: list[dict[str, object]] = []
    while following := page(ledger, after=int(str(paged[-1]["position"])) if paged else 0, limit=2):
        paged += following
    assert paged == whole
    assert [run["source"] for run in page(ledger, "other")] == ["other"] * 5
    assert page(ledger, "nothing") == []
    assert one(ledger, "nothing") is None


def test_it_is_found_by_an_index(ledger: Ledger) -> None:
    add(ledger, started("r1"))
    with ledger.connection() as connection:
        connection.execute("SET enable_seqscan = off")
        for query, params in ((runs._ONE, ("r1",)), (runs._OF_SOURCE, ("source:main", 0, 10))):
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {query}".encode(), params))
            assert "Seq Scan on events" not in plan, plan
            assert "events_from_1_run" in plan, plan

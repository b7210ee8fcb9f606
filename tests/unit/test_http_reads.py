"""Who asked about whom: noted in memory, summed up, stored once, kept while PostgreSQL is away, within a bound."""

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry

from ledger.errors import StoreUnavailable
from ledger.http import reads
from ledger.http.reads import Reads, lost_counter
from ledger.working_state.reads import LookUp


class Stored:
    """Takes what is stored; fails so often before."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.batches: list[tuple[str, list[LookUp]]] = []
        self.tried: list[str] = []

    def __call__(self, batch: str, noted: Iterable[LookUp]) -> None:
        self.tried.append(batch)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append((batch, list(noted)))


def made(stored: Stored) -> tuple[Reads, CollectorRegistry]:
    registry, clock = CollectorRegistry(), iter(range(1, 1000))
    return Reads(stored, lambda: next(clock), lost_counter(registry)), registry


def test_questions_of_one_key_on_one_route_are_one_row() -> None:
    stored = Stored([])
    noting, _ = made(stored)
    noting.note("app", "/a", ["u1", "u2", "u1"])
    noting.note("app", "/a", ["u1"])
    noting.note("app", "/b", ["u1", "nul\0"])
    asyncio.run(noting.store_noted())
    [(_, rows)] = stored.batches
    assert sorted(rows) == [
        LookUp("u1", "app", "/a", 1, 2, 3), LookUp("u1", "app", "/b", 3, 3, 1), LookUp("u2", "app", "/a", 1, 1, 1),
    ]  # fmt: skip


def test_what_cannot_be_stored_waits_under_its_id() -> None:
    stored = Stored([StoreUnavailable("away")])
    noting, _ = made(stored)
    noting.note("app", "/a", ["u1"])
    asyncio.run(noting.store_noted())
    noting.note("app", "/a", ["u2"])
    asyncio.run(noting.store_noted())
    assert [[row.uid for row in rows] for _, rows in stored.batches] == [["u1"], ["u2"]]
    assert stored.tried[0] == stored.tried[1] != stored.tried[2]


def test_a_defect_costs_one_batch() -> None:
    stored = Stored([ZeroDivisionError()])
    noting, _ = made(stored)
    noting.note("app", "/a", ["u1"])
    asyncio.run(noting.store_noted())
    noting.note("app", "/a", ["u2"])
    asyncio.run(noting.store_noted())
    assert [row.uid for _, rows in stored.batches for row in rows] == ["u2"]


def test_more_than_can_wait_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "MAX_WAITING", 2)
    noting, registry = made(Stored([]))
    for _ in range(3):
        noting.note("app", "/a", ["u1", "u2"])
    assert registry.get_sample_value("presence_ledger_reads_lost_total") == 4
    asyncio.run(noting.store_noted())
    noting.note("app", "/a", ["u1", "u2"])
    assert registry.get_sample_value("presence_ledger_reads_lost_total") == 4


def test_what_was_noted_is_stored_at_the_stop() -> None:
    stored = Stored([])

    async def test() -> None:
        noting, _ = made(stored)
        noting.start()
        noting.note("app", "/a", ["u1"])
        await noting.stop()

    asyncio.run(test())
    assert len(stored.batches) == 1

"""The service's archiver: when it is at it, and what is known of how it fares."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from structlog.testing import capture_logs

from ledger.http.archive import ArchiveRun
from ledger.service import archiver as module
from ledger.service.archive_process import ArchiveOrders, ArchiveOutcome
from ledger.service.archiver import Archiver
from ledger.settings.load import load
from ledger.store.seal import SealKey

FULL, WAITS = "The folder is full.", "The sink 'app' still needs it."


class Scripted(Archiver):
    """Its process says one outcome after another."""

    def __init__(self, folder: Path, *outcomes: ArchiveOutcome, days: float = 7.0) -> None:
        settings = load(environ={"PRESENCE_LEDGER_RETENTION_EVENTS_DAYS": str(days)}, folder=folder)
        super().__init__("postgresql://", SealKey("a key"), lambda: settings, count(1).__next__)
        self._outcomes = list(outcomes)
        self.runs: list[ArchiveRun] = []

    async def _archive(self) -> ArchiveOutcome:
        assert self.run.is_running
        return self._outcomes.pop(0)

    async def done(self, number: int) -> ArchiveRun:
        """How it fares after so many runs."""
        while self.run.finished_at is None or self.run.finished_at < number:  # noqa: ASYNC110  (its run has no event)
            await asyncio.sleep(0)
        return self.run


class Real(Scripted):
    """Its outcomes are those of processes; `pids` are what it told of each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.pids: list[int | None] = []

    def _orders(self) -> ArchiveOrders:
        self.pids.append(self.pid)
        return super()._orders()

    async def _archive(self) -> ArchiveOutcome:
        return await Archiver._archive(self)


def driven(archiver: Scripted, drive: Callable[[Scripted], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        archiver.start()
        try:
            async with asyncio.timeout(60):
                await drive(archiver)
        finally:
            await archiver.stop()

    asyncio.run(run())


def test_it_archives_when_it_is_asked(tmp_path: Path) -> None:
    async def drive(archiver: Scripted) -> None:
        archiver.order()
        assert archiver.run.is_running
        assert await archiver.done(1) == ArchiveRun(False, 1, 40)
        archiver.order()
        assert await archiver.done(2) == ArchiveRun(False, 2, 0, FULL, 2, False)

    with capture_logs() as logs:
        driven(Scripted(tmp_path, ArchiveOutcome(2, 40), ArchiveOutcome(failed=FULL)), drive)
    assert [each["event"] for each in logs] == ["archived", "archive_stopped"]


def test_it_is_known_since_when_nothing_could_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.0)
    waits = ArchiveOutcome(failed=WAITS, waits=True)
    outcomes = [waits, waits, ArchiveOutcome(1, 20, WAITS, True), waits, *[ArchiveOutcome()] * 1000]
    seen: dict[int, ArchiveRun] = {}

    async def drive(archiver: Scripted) -> None:
        while 5 not in seen:
            if archiver.run.finished_at is not None:
                seen.setdefault(archiver.run.finished_at, archiver.run)
            await asyncio.sleep(0)

    with capture_logs() as logs:
        driven(Scripted(tmp_path, *outcomes), drive)
    assert [(seen[number].failing_since, seen[number].waits) for number in range(1, 6)] == [
        (1, True), (1, True), (3, True), (3, True), (None, False),
    ]  # fmt: skip
    assert [each["event"] for each in logs] == ["archive_stopped", "archived"]


class Process:
    """One that says something, and ends."""

    pid = 4711

    def __init__(self, said: bytes) -> None:
        self.stdin, self.stdout = MagicMock(drain=AsyncMock()), asyncio.StreamReader(limit=100)
        self.stdout.feed_data(said)
        self.stdout.feed_eof()

    async def wait(self) -> int:
        return 3


def test_a_process_that_fails_in_whatever_way_is_a_run_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OSError | bytes] = [
        OSError(11, "no more processes"), b"nonsense\n", b" " * 200 + b"\n", b"", b'{"events": 40}\n',
    ]  # fmt: skip

    async def begin(*_: object, **__: object) -> Process:
        found = told.pop(0)
        if isinstance(found, OSError):
            raise found
        return Process(found)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    runs: list[ArchiveRun] = []

    async def drive(archiver: Scripted) -> None:
        for number in range(1, 6):
            archiver.order()
            runs.append(await archiver.done(number))
            assert archiver.pid is None

    archiver = Real(tmp_path)
    driven(archiver, drive)
    assert archiver.pids == [Process.pid] * 4
    assert [each.failed is None for each in runs] == [False, False, False, False, True]
    for run, words in zip(runs, ("no more processes", "malformed", "limit", "ended with code 3"), strict=False):
        assert words in (run.failed or "")
    assert (runs[3].failing_since, runs[4].events) == (1, 40)


def test_nothing_is_archived_by_default(tmp_path: Path) -> None:
    async def drive(archiver: Scripted) -> None:
        archiver.order()
        assert not archiver.run.is_running

    driven(Scripted(tmp_path, days=0.0), drive)

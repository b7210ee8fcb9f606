"""The processes alongside the service: what their orders become, and when one that ends is started again."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from ledger.server.alongside import NewOrders
from ledger.service import processes
from ledger.service.processes import Alongside, ServiceProcess
from ledger.service.projector import MAX_WAY_SECONDS, ProjectorOrders, Way
from ledger.settings import LogFormat, LogLevel
from ledger.settings.load import load

DEADLINE_SECONDS = 60.0
ECHO = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_DFL)
for line in sys.stdin:
    with open({file!r}, "a") as file:
        file.write(line)
"""


class Told(msgspec.Struct, frozen=True):
    number: int
    log_level: LogLevel = "info"
    log_format: LogFormat = "json"


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a process `echo` has been told."""
    (tmp_path / "ledger_test_echo.py").write_text(ECHO.format(file=str(tmp_path / "heard")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "heard"


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  (of a file, and of another process)
            await asyncio.sleep(0.01)


def lines(heard: Path) -> list[str]:
    return heard.read_text().splitlines() if heard.exists() else []


def test_new_orders_are_told_and_what_is_started_again_has_the_last(heard: Path) -> None:
    async def live() -> None:
        process = ServiceProcess("echo", "ledger_test_echo", Told(1))
        process.start()
        await until(lambda: len(lines(heard)) == 1)
        process.change(Told(1))
        process.change(Told(2))
        await until(lambda: len(lines(heard)) == 2)
        assert process.pid is not None
        first = process.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: process.pid not in {None, first} and len(lines(heard)) == 3)
        await process.stop()

    with capture_logs() as logs:
        asyncio.run(live())
    assert [msgspec.json.decode(line)["number"] for line in lines(heard)] == [1, 2, 2]
    assert [each["event"] for each in logs] == ["process_started", "process_ended", "process_started"]


def test_one_that_could_not_be_started_is_started_later(heard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, failures = processes.start_python, [OSError(11, "no more processes")]

    async def start_later(module: str) -> asyncio.subprocess.Process:
        if failures:
            raise failures.pop()
        return await start(module)

    monkeypatch.setattr(processes, "start_python", start_later)
    monkeypatch.setattr(processes, "INITIAL_BACKOFF_SECONDS", 0.0)

    async def live() -> None:
        process = ServiceProcess("echo", "ledger_test_echo", Told(1))
        process.start()
        await until(lambda: lines(heard))
        await process.stop()

    with capture_logs() as logs:
        asyncio.run(live())
    assert [each["event"] for each in logs] == ["process_not_started", "process_started"]
    assert "no more processes" in logs[0]["reason"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_is_ended_with_the_service_is_not_missed(heard: Path, number: signal.Signals) -> None:
    async def live() -> None:
        process = ServiceProcess("echo", "ledger_test_echo", Told(1))
        process.start()
        await until(lambda: len(lines(heard)) == 1)
        assert process.pid is not None
        os.kill(process.pid, number)
        await until(lambda: process.pid is None)
        process.expect_end()
        await asyncio.sleep(2 * processes.INITIAL_BACKOFF_SECONDS)
        await process.stop()

    with capture_logs() as logs:
        asyncio.run(live())
    assert [each["event"] for each in logs] == ["process_started"]


def test_those_run_that_the_settings_ask_for(tmp_path: Path, heard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = '[[sinks]]\nname = "hot"\nkind = "redis"\nurl = "redis://127.0.0.1/0"\n'
    (tmp_path / "presence-ledger.toml").write_text('front_listen = ""\n')
    without = load(environ={}, folder=tmp_path)
    (tmp_path / "presence-ledger.toml").write_text(f'front_listen = ""\n{sink}')
    with_sink = load(environ={}, folder=tmp_path)
    monkeypatch.setattr(
        processes, "ServiceProcess", lambda name, _, orders: ServiceProcess(name, "ledger_test_echo", orders)
    )
    watched: dict[str, Any] = {}

    async def live() -> None:
        alongside = Alongside("postgresql://h/d", (), watched.__setitem__)
        await alongside.change(without)
        assert list(watched) == ["projector"]
        await alongside.change(with_sink)
        assert list(watched) == ["projector", "sinks"]
        await until(lambda: len(lines(heard)) == 2)
        await alongside.change(without)
        assert watched["sinks"]() is None
        assert watched["projector"]() is not None
        alongside.expect_end()
        await alongside.stop()
        assert watched["projector"]() is None

    asyncio.run(live())


def test_while_the_spool_is_drained_the_projector_gives_way(
    tmp_path: Path, heard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "presence-ledger.toml").write_text('front_listen = ""\n')
    settings = load(environ={}, folder=tmp_path)
    monkeypatch.setattr(
        processes, "ServiceProcess", lambda name, _, orders: ServiceProcess(name, "ledger_test_echo", orders)
    )

    async def live() -> None:
        alongside = Alongside("postgresql://h/d", (), lambda *_: None)
        alongside.spool_drains(True)
        await alongside.change(settings)
        await until(lambda: len(lines(heard)) == 1)
        for drains in (False, True):
            alongside.spool_drains(drains)
        await alongside.change(settings)
        alongside.spool_drains(False)
        await until(lambda: len(lines(heard)) == 4)
        await alongside.stop()

    asyncio.run(live())
    given = [msgspec.json.decode(line, type=ProjectorOrders).gives_way for line in lines(heard)]
    assert given == [True, False, True, False]


def test_the_projector_stands_back_for_a_while_and_no_longer() -> None:
    now = 100.0
    way = Way(lambda: now)
    assert not way.is_given()
    way.order(True)
    assert way.is_given()
    now += MAX_WAY_SECONDS - 1
    way.order(True)
    assert way.is_given()
    now += 1
    assert not way.is_given(), "orders that are repeated begin nothing anew"
    way.order(False)
    way.order(True)
    assert way.is_given()
    way.order(False)
    assert not way.is_given()


def test_orders_that_came_before_anybody_took_them_are_taken() -> None:
    new, taken = NewOrders[Told](), list[int]()
    new.put(Told(1))
    new.put(Told(2))
    new.follow(lambda orders: taken.append(orders.number))
    new.put(Told(3))
    assert taken == [2, 3]

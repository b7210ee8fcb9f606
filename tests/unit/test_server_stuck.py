"""An answer in parts whose reader takes nothing is given up, without a word in the log; any other takes its time."""

import asyncio
from typing import Any

import pytest

from ledger.server import stuck
from ledger.server.stuck import answer_who_reads

PART = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def answered(messages: list[dict[str, Any]], *, takes: int, think_seconds: float = 0.0) -> tuple[list[Any], list[str]]:
    """-> what a reader took who takes so many messages, and how the answer ended."""
    taken: list[Any] = []
    ended: list[str] = []

    async def send(message: Any) -> None:
        if len(taken) >= takes:
            await asyncio.Event().wait()
        taken.append(message)

    async def app(_: Any, __: Any, send: Any) -> None:
        try:
            for message in messages:
                await asyncio.sleep(think_seconds)
                await send(message)
            ended.append("whole")
        finally:
            ended.append("over")

    asyncio.run(answer_who_reads(app, {}, None, send))
    return taken, ended


def test_a_reader_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stuck, "STUCK_SECONDS", 0.01)
    assert answered([PART] * 3, takes=1) == ([PART], ["over"])


def test_who_reads_is_answered_however_long_the_answer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered([PART, PART, LAST], takes=3) == ([PART, PART, LAST], ["whole", "over"])
    monkeypatch.setattr(stuck, "STUCK_SECONDS", 60.0)
    assert answered([LAST], takes=1, think_seconds=0.02)[1] == ["whole", "over"]


def test_a_time_out_of_the_app_itself_is_its_own() -> None:
    async def app(*_: Any) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(answer_who_reads(app, {}, None, lambda _: asyncio.sleep(0)))

"""Calls into an event loop from a thread that may outlive it."""

import asyncio

import pytest

from ledger.loops import call_soon


def test_it_calls_while_there_is_a_loop() -> None:
    async def told() -> list[int]:
        heard: list[int] = []
        assert await asyncio.to_thread(call_soon, asyncio.get_running_loop(), heard.append, 1)
        await asyncio.sleep(0)
        return heard

    assert asyncio.run(told()) == [1]


def test_where_the_loop_has_ended_nobody_is_told() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    assert not call_soon(loop, print, "nobody")


def test_what_else_is_wrong_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.new_event_loop()

    def refuse(*_: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(loop, "call_soon_threadsafe", refuse)
    with pytest.raises(RuntimeError, match="something else"):
        call_soon(loop, print)
    loop.close()

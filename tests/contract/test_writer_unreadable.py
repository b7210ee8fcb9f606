"""The writer alongside a newer version: it refuses what it cannot judge and no more, at once if it just found so."""

import asyncio
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.domain.events import WebhookObserved
from ledger.ingest import known
from ledger.simulator.sender import encode
from ledger.store.ledger import Ledger
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable
from tests.support import newer
from tests.support.ledgers import (
    DEADLINE_SECONDS,
    SOURCE,
    Bounds,
    Instance,
    all_rows,
    configure,
    lock_held,
    running,
)

LEFT = [(newer.leave_an_event, newer.SAYS), (newer.configure, newer.SAYS_KEPT)]
IDS = ["event", "state"]


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    configure(ledger, sources=(SOURCE, "other"))
    return ledger


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were read from their snapshots, in order."""
    names = []
    load = sources.load

    def counted(connection: Any, ledger: Ledger, name: str) -> Any:
        names.append(name)
        return load(connection, ledger, name)

    monkeypatch.setattr(sources, "load", counted)
    return names


def items(ledger: Ledger) -> list[str]:
    """The raw items of all users' events; other events may not be readable."""
    events = [ledger.event(row) for row in all_rows(ledger) if row.kind == "webhook_observed.v2"]
    return [event.raw for event in events if isinstance(event, WebhookObserved)]


async def taken_again(instance: Instance, body: bytes) -> None:
    """Post until it is taken: for a moment a source is refused without a look."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            await instance.post(body)
        except SourceUnreadable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


@pytest.mark.parametrize(("leave", "says"), LEFT, ids=IDS)
@pytest.mark.parametrize("bounds", [Bounds(), Bounds(group_items=3)], ids=["group", "in parts"])
def test_only_the_webhooks_of_a_source_that_cannot_be_read_are_refused(
    ledger: Ledger,
    database_url: str,
    loads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    bounds: Bounds,
    leave: Callable[[Ledger], int],
    says: str,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(known, "time", SimpleNamespace(monotonic=lambda: now[0]))
    sent = [f"u-0-1-{number}-{number}-{number}" for number in range(1, 6)]

    async def run() -> list[BaseException | str]:
        async with running(ledger, bounds=bounds) as instance:
            await instance.post(b'["u-0-1-9-1-1"]')
            await instance.post(b'["u-0-1-9-1-1"]', source="other")
            leave(ledger)
            loads.clear()
            with lock_held(database_url):
                posts = [
                    asyncio.create_task(instance.post(body, source=source))
                    for body in (encode(sent), b"{}", b'["u-0-1-7-1-1"]')
                    for source in (SOURCE, "other")
                ]
                await asyncio.wait(posts, timeout=0.05)
            answers = await asyncio.gather(*posts, return_exceptions=True)
            assert loads.count(SOURCE) == 1
            assert instance.writer.is_alive()
            newer.go_on(ledger)
            now[0] += known.UNREADABLE_SECONDS
            await taken_again(instance, b'["v-0-1-8-1-1"]')
            return answers

    with capture_logs() as logs:
        answers = asyncio.run(run())
    assert [type(each) for each in answers] == [SourceUnreadable, str] * 3
    assert all(re.search(says, str(each)) for each in answers[::2])
    assert items(ledger)[2:] == [*sent, "u-0-1-7-1-1", "v-0-1-8-1-1"]
    assert not logs


def test_a_source_that_could_not_be_read_just_now_is_refused_without_the_lock(
    ledger: Ledger, database_url: str, loads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "UNREADABLE_SECONDS", 3600.0)
    newer.configure(ledger)
    loads.clear()

    async def run() -> None:
        async with running(ledger) as instance:
            for _ in range(5):
                with pytest.raises(SourceUnreadable):
                    await instance.post(b'["u-0-1-1-1-1"]')
            assert loads == [SOURCE]
            with lock_held(database_url):
                waits = asyncio.create_task(instance.post(b'["u-0-1-1-1-1"]', source="other"))
                await asyncio.wait([waits], timeout=0.2)
                with pytest.raises(SourceUnreadable):
                    await asyncio.wait_for(instance.post(b'["u-0-1-1-1-1"]'), DEADLINE_SECONDS)
                assert not waits.done()
            await waits

    asyncio.run(run())
    assert items(ledger) == ["u-0-1-1-1-1"]

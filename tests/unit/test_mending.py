"""What is done where something cannot be made right, or cannot be looked at: it is said, and tried again later."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ledger.errors import StoreUnavailable
from ledger.service.mending import Mending
from ledger.service.went_back import WentBackWatch
from projections.engine import rebuild
from projections.engine.rebuild import RebuildRefused
from projections.models import repair_current


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The projections whose rebuild was begun, each of which is refused."""
    attempts: list[str] = []

    @contextmanager
    def alone(_: str, name: str) -> Iterator[None]:
        attempts.append(name)
        if attempts:
            raise RebuildRefused("another rebuild is under way")
        yield

    monkeypatch.setattr(rebuild, "alone", alone)
    monkeypatch.setattr(repair_current, "repair", lambda _: None)
    return attempts


def test_a_rebuild_that_is_refused_is_tried_again_later(monkeypatch: pytest.MonkeyPatch, attempts: list[str]) -> None:
    each = Mending("url")
    for _ in range(3):
        each.mend(cast(Any, None), ["sessions", "drift"])
    assert attempts == ["sessions", "drift"]
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    each.mend(cast(Any, None), ["drift"])
    assert attempts == ["sessions", "drift", "drift"]


def test_a_database_that_is_away_is_for_the_follower_to_meet(
    monkeypatch: pytest.MonkeyPatch, attempts: list[str]
) -> None:
    def away(_: Any) -> None:
        raise StoreUnavailable("PostgreSQL does not answer")

    monkeypatch.setattr(repair_current, "repair", away)
    with pytest.raises(StoreUnavailable):
        Mending("url").mend(cast(Any, None), ["sessions"])
    assert attempts == []


def test_the_watch_goes_on_whatever_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: Iterator[int | Exception] = iter(
        [StoreUnavailable("away"), ValueError("a defect"), ValueError("again"), 0, 1, 1]
    )
    forgotten: list[int] = []
    announced: list[int] = []
    done = asyncio.Event()

    def look() -> int:
        outcome = next(outcomes, None)
        if outcome is None:
            done.set()
            return 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def announce() -> None:
        announced.append(1)
        if len(announced) == 1:
            raise StoreUnavailable("not yet")

    async def scenario() -> None:
        ledger = cast(Any, SimpleNamespace(lineage=0, look=look))
        watch = WentBackWatch(ledger, [lambda: forgotten.append(1)], announce)
        watch.start()
        await asyncio.wait_for(done.wait(), 30)
        await watch.stop()

    monkeypatch.setattr("ledger.service.went_back.LOOK_SECONDS", 0.0)
    asyncio.run(scenario())
    # What could not be announced is, the next time.
    assert (len(announced), len(forgotten)) == (2, 2)

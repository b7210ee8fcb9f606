"""What tests do with a source store: webhooks before it, answers for it at instants of theirs, and what it left."""

import asyncio
import json
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest

from ledger.domain.drift import Poll
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import PollObserved
from ledger.reconcile.count_signs import CountSigns
from ledger.reconcile.follower import AgendaFollower
from ledger.reconcile.judge import Verdicts
from ledger.reconcile.source_store import SourceStore
from ledger.store.ledger import Ledger
from ledger.working_state import looks
from projections.engine.projector import Projector
from projections.models import drifts
from projections.models.drifts import Drift, DriftFilter
from projections.models.registry import FOLLOWING
from tests.support.following import follow_all
from tests.support.ledgers import SOURCE, all_rows, running

NUMBERS = count(1)


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at: Instant = 4_000_000_000 * SECOND

    def now(self) -> Instant:
        return self.at

    def seconds(self) -> float:
        return self.at / SECOND

    def passes(self, seconds: float) -> None:
        self.at += round(seconds * SECOND)


def forgets_nobody(_: Iterable[str]) -> None:
    """For a store beside which nobody follows the ledger with a memory of watches."""


def post(ledger: Ledger, *items: str) -> None:
    async def send() -> None:
        async with running(ledger) as instance:
            await instance.post(json.dumps(items).encode())

    asyncio.run(send())


def follow(ledger: Ledger, source_store: SourceStore) -> None:
    follower = AgendaFollower(ledger, [SOURCE], CountSigns(dict))
    while follower.follow({SOURCE: source_store.source}):
        pass
    source_store.follow()


def ask(source_store: SourceStore, time: Time, head: int | None = None) -> Poll:
    """A question sent now and answered at once."""
    return Poll(
        f"p{next(NUMBERS)}", "r1", "n1", "POST /user/onlinestatus", time.at, time.at, head or source_store.head()
    )


def look(
    source_store: SourceStore, time: Time, rows: dict[str, dict[int, int]], *uids: str, poll: Poll | None = None
) -> Verdicts:
    return source_store.judge_rows(poll or ask(source_store, time), source_store.watches_for(uids), rows)


def drifts_of(ledger: Ledger, uid: str) -> list[Drift]:
    with ledger.connection() as connection:
        follow_all(connection, Projector(FOLLOWING))
        return drifts.page(connection, DriftFilter(uid=uid), (0, ""), 100)


def watch(ledger: Ledger, uid: str) -> Watch:
    with ledger.connection() as connection:
        return looks.of_users(connection, SOURCE, [uid])[uid]


def told_of(ledger: Ledger, uid: str) -> list[str]:
    """What the polls on record found of the user, in turn."""
    polls = [event for row in all_rows(ledger) if isinstance(event := ledger.event(row), PollObserved)]
    return [finding.outcome for poll in polls for finding in poll.findings if finding.uid == uid]


def first_of_all(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, happens: Callable[[], object]) -> None:
    """Let something happen just before the method is called the next time."""
    method = getattr(owner, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, name, method)
        happens()
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, called)


def verdicts(ledger: Ledger, uid: str) -> list[str]:
    return [getattr(ledger.event(row), "verdict", "") for row in all_rows(ledger) if row.stream == f"user:{uid}"]

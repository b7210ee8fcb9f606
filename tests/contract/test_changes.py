"""The feed of changes: whoever applies it has what is answered, at each moment, whatever happened in between."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Change, Step
from ledger.domain.observation import Instant
from ledger.store.ledger import Ledger
from projections.models.shown import AnswerPoint
from projections.queries import past
from tests.support import pg
from tests.support.ledgers import opened
from tests.support.lived import USERS, Life, lived, pour

WATCHED = (*USERS[::2], "nobody")

VISIBLE = ("uid", "status", "since", "reason")

Told = dict[str, Any]


def visible(body: bytes | str) -> Told:
    """The part of an answer whose change is told."""
    answer = json.loads(body if isinstance(body, str) else body + b"}")
    devices = [(each["source"], each["device_flag"], each["status"], each["sessions"]) for each in answer["devices"]]
    return {name: answer[name] for name in VISIBLE} | {"devices": devices}


class Reader:
    """Applies what is told of these users, None: of everybody, as a client does."""

    def __init__(self, uids: Sequence[str] | None) -> None:
        self.uids = uids
        self.shown: dict[str, Told] = {}
        self.as_of: dict[str, tuple[int, Instant]] = {}
        self.dark: set[str] = set()

    def apply(self, made: AnswerPoint, uid: str, body: bytes) -> None:
        """A presence: none goes back."""
        assert self.as_of.get(uid, (0, 0)) <= (made.position, made.at)
        self.shown[uid], self.as_of[uid] = visible(body), (made.position, made.at)

    def take(self, made: AnswerPoint, changes: Iterable[Change]) -> None:
        """Those that concern it; each says what was shown before."""
        for change in changes:
            if self.uids is None or change.uid in self.uids:
                if (before := self.shown.get(change.uid)) is not None and not self.dark:
                    assert before["status"] == change.previous.status
                self.apply(made, change.uid, change.body)

    def step(self, step: Step) -> None:
        """All that a step tells it."""
        self.take(step.made, step.changes)
        if self.uids is None:
            self.take(step.made, step.swept)
            for source in step.sources:
                (self.dark.add if source.status == "dark" else self.dark.discard)(source.source)

    def holds(self, answers: Iterable[Told]) -> None:
        """It has what is answered; of users in a dark source, whoever watches everybody was told by the source."""
        for answer in answers:
            uid = answer["uid"]
            if self.uids is None and self.dark & {source for source, *_ in answer["devices"]}:
                continue
            if self.uids is None and uid not in self.shown:
                assert answer["reason"] == "never_observed"
            else:
                assert self.shown[uid] == answer


@contextmanager
def connected(url: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def answered(ledger: Ledger, made: AnswerPoint, uids: Sequence[str]) -> list[Told]:
    """What is answered as of a moment, folded from the events by code of its own."""
    with ledger.connection() as connection:
        return [visible(body) for body in past.read(connection, ledger.events_mapper, uids, made).bodies]


def steps(feed: ChangeFeed, connection: Connection[TupleRow]) -> Iterator[Step]:
    """All there is to be told now."""
    while True:
        step = feed.step(connection)
        yield step
        if not step.more:
            return


def follow(ledger: Ledger, url: str, life: Life) -> None:
    """Live a life beside two readers, hold each moment against what is answered, and resume from a few of them."""
    clock: Instant = life.moments[0][0] if life.moments else 0
    named, everybody = Reader(WATCHED), Reader(None)
    kept: list[tuple[AnswerPoint, Reader]] = []
    with connected(url) as connection:
        feed = ChangeFeed(lambda: clock)
        feed.begin(connection)
        feed.watch_everybody(connection)
        made, bodies = feed.watch(connection, WATCHED)
        for uid, body in bodies:
            named.apply(made, uid, body)
        poured = 0
        for number, (at, up_to) in enumerate(life.moments):
            clock = at
            pour(ledger, life.ledger.kept[poured:up_to])
            poured = up_to
            last = None
            for last in steps(feed, connection):
                named.step(last)
                everybody.step(last)
            assert last is not None
            assert last.told == last.told_everybody
            named.holds(answered(ledger, last.made, WATCHED))
            everybody.holds(answered(ledger, last.made, USERS))
            if number % 7 == 3:
                then = Reader(WATCHED)
                then.shown, then.as_of = dict(named.shown), dict(named.as_of)
                kept.append((last.told, then))
        for told, reader in kept:
            missed = feed.missed(connection, WATCHED, told)
            reader.take(missed.made, missed.changes)
            reader.holds(answered(ledger, missed.made, WATCHED))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 50))
def test_whoever_applies_the_feed_has_what_is_answered(server: str, seed: int, steps: int) -> None:
    with pg.new_database(server) as url, opened(url) as ledger:
        note(f"{seed} {steps}")
        follow(ledger, url, lived(seed, steps))

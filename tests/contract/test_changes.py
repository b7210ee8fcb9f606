"""The feed of changes: a reader who applies it has what is answered, at each moment, whatever happened in between."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.feed import ChangeFeed
from ledger.changes.step import Change, Missed, SourceChange, Step
from ledger.domain.observation import Instant
from ledger.domain.status import OVERRIDE
from ledger.errors import StoreUnavailable
from ledger.store.ledger import Ledger
from ledger.working_state import looks
from projections.models import current
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

    def __init__(self, uids: Iterable[str] | None) -> None:
        self.uids = None if uids is None else set(uids)
        self.shown: dict[str, Told] = {}
        self.as_of: dict[str, tuple[int, Instant]] = {}
        self.dark: set[str] = set()
        self.overridden: set[str] = set()
        """Of whom an operator's word was told last."""

    def copy(self) -> "Reader":
        """The same reader, who hears nothing from here on."""
        other = Reader(self.uids)
        other.shown, other.as_of, other.dark = dict(self.shown), dict(self.as_of), set(self.dark)
        other.overridden = set(self.overridden)
        return other

    def apply(self, made: AnswerPoint, uid: str, body: bytes) -> None:
        """A presence: none goes back."""
        assert self.as_of.get(uid, (0, 0)) <= (made.position, made.at)
        self.shown[uid], self.as_of[uid] = visible(body), (made.position, made.at)
        word = (json.loads(body + b"}")["cause"] or {}).get("kind") == OVERRIDE
        (self.overridden.add if word else self.overridden.discard)(uid)

    def take(self, made: AnswerPoint, changes: Iterable[Change]) -> None:
        """Those that concern it."""
        for change in changes:
            if self.uids is None or change.uid in self.uids:
                self.apply(made, change.uid, change.body)

    def hear(self, sources: Iterable[SourceChange]) -> None:
        """Of the sources."""
        for source in sources if self.uids is None else ():
            (self.dark.add if source.status == "dark" else self.dark.discard)(source.source)

    def step(self, step: Step, part: float = 1.0) -> None:
        """What a step tells it, or the first part of that, before it is cut off."""
        told = [*step.changes, *(step.swept if self.uids is None else ())]
        self.take(step.made, told[: round(part * len(told))])
        if part == 1.0:
            self.hear(step.sources)

    def missed(self, missed: Missed) -> None:
        """What it is told of when it comes back."""
        self.hear(missed.sources)
        self.take(missed.made, missed.changes)

    def holds(self, answers: Iterable[Told]) -> None:
        """It has what is answered; of users in a dark source, a watcher of everybody was told by the source."""
        for answer in answers:
            uid = answer["uid"]
            if self.uids is None and self.dark & {source for source, *_ in answer["devices"]}:
                assert self.in_the_dark(uid) == answer["status"]
                continue
            if self.uids is None and uid not in self.shown:
                assert answer["reason"] == "never_observed"
            elif self.uids is None or uid in self.uids:
                assert self.shown[uid] == answer

    def in_the_dark(self, uid: str) -> str:
        """What `docs/push.md` makes of a user who was told of, and of the sources that are dark."""
        told = self.shown[uid]
        rests = {source for source, _, status, _ in told["devices"] if status == "online"} - self.dark
        stays = uid in self.overridden or rests or not self.dark & {source for source, *_ in told["devices"]}
        status: str = told["status"]
        return status if stays else "unknown"


@contextmanager
def connected(url: str) -> Iterator[Connection[TupleRow]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def answered(ledger: Ledger, made: AnswerPoint, uids: Sequence[str]) -> list[Told]:
    """What is answered as of a moment, folded from the events by code of its own."""
    with ledger.connection() as connection:
        return [visible(body) for body in past.read(connection, ledger.events_mapper, uids, made).bodies]


class Kept(NamedTuple):
    """A reader who was cut off, and the cursor that they have."""

    cursor: AnswerPoint
    reader: Reader


class Following:
    """Two feeds alongside a life, of which the second is one step behind; readers come, are cut off, and come back."""

    def __init__(self, ledger: Ledger, connection: Connection[TupleRow], draw: Random) -> None:
        self.ledger = ledger
        self.connection = connection
        self.draw = draw
        self.clock: Instant = 0
        self.named, self.everybody = Reader(WATCHED), Reader(None)
        self.cut_off: list[Kept] = []
        self.feed = self._new_feed()
        self.feed.watch_everybody(connection)
        self._welcome(self.named, WATCHED)

    def _new_feed(self) -> ChangeFeed:
        feed = ChangeFeed(lambda: self.clock)
        feed.begin(self.connection)
        return feed

    def _welcome(self, reader: Reader, uids: Sequence[str]) -> None:
        """A user whom somebody begins to watch is told of at once."""
        answers = self.feed.watch(self.connection, uids)
        for uid, body in answers.bodies:
            reader.apply(answers.made, uid, body)

    def moment(self, at: Instant) -> None:
        """Take all that has happened; then both readers have what is answered."""
        self.clock = at
        last = None
        with self.feed.at_one_moment(self.connection):
            for last in self._steps():
                self._cut_somebody_off(last)
                self.named.step(last)
                self.everybody.step(last)
        assert last is not None
        assert last.told == last.told_everybody
        self.holds(last.made, self.named, self.everybody)
        match self.draw.randrange(10):
            case 0:
                self._watch_otherwise()
            case 1:
                self._restart(last)
            case 2:
                self.come_back()

    def holds(self, made: AnswerPoint, *readers: Reader) -> None:
        answers = answered(self.ledger, made, (*USERS, "nobody"))
        for reader in readers:
            reader.holds(answers)

    def come_back(self) -> None:
        """A reader who was cut off resumes, by this feed or by that of another instance."""
        feed = self.feed if self.draw.random() < 0.5 else self._new_feed()
        again = []
        for cursor, reader in self.cut_off:
            made = self._resume(feed, reader, cursor)
            self.holds(made, reader)
            again.append(Kept(made, reader))
        # Some of them are cut off again at once.
        self.cut_off = again[:4]

    def _steps(self) -> Iterator[Step]:
        while True:
            broken = self.draw.random() < 0.2
            if broken:
                with breaking(self.draw), suppress(StoreUnavailable):
                    yield self.feed.step(self.connection)
                    continue
            step = self.feed.step(self.connection)
            yield step
            if not step.more:
                return

    def _cut_somebody_off(self, step: Step) -> None:
        """With the cursor of before the step, and with what of the step had come through."""
        if self.draw.random() < 0.3:
            for reader in (self.named.copy(), self.everybody.copy()):
                reader.step(step, self.draw.choice((0.0, 0.5, 0.99)))
                self.cut_off.append(Kept(self.cursor, reader))
        self.cursor = step.told_everybody

    cursor = AnswerPoint(0, 0)

    def _watch_otherwise(self) -> None:
        """Let one user be, and watch another, on the way."""
        assert self.named.uids is not None
        if self.named.uids and self.draw.random() < 0.5:
            uid = self.draw.choice(sorted(self.named.uids))
            self.feed.unwatch([uid])
            self.named.uids.remove(uid)
            return
        missing = sorted({*USERS, "nobody"} - self.named.uids)
        if missing:
            uid = self.draw.choice(missing)
            self.named.uids.add(uid)
            self._welcome(self.named, [uid])

    def _restart(self, last: Step) -> None:
        """The feed is another one, to which both come with the cursors that they have."""
        self.feed = self._new_feed()
        self.feed.watch_everybody(self.connection)
        self.feed.watch(self.connection, sorted(self.named.uids or ()))
        for reader in (self.named, self.everybody):
            self._resume(self.feed, reader, last.told_everybody)

    def _resume(self, feed: ChangeFeed, reader: Reader, cursor: AnswerPoint) -> AnswerPoint:
        """As of when it is told what it has missed."""
        with feed.at_one_moment(self.connection):
            made = feed.answers(self.connection, []).made
            if not feed.is_known(self.connection, cursor):
                self._begin_again(feed, reader)
            elif reader.uids is not None:
                reader.missed(feed.missed(self.connection, sorted(reader.uids), cursor))
            elif (moved := feed.users_since(self.connection, cursor, LIMIT)) is None:
                self._begin_again(feed, reader)
            else:
                for start in range(0, max(1, len(moved)), 2):
                    reader.missed(feed.missed(self.connection, moved[start : start + 2], cursor))
            return made

    def _begin_again(self, feed: ChangeFeed, reader: Reader) -> None:
        """Forget all, and be told of everybody."""
        reader.shown, reader.as_of = {}, {}
        if reader.uids is not None:
            answers = feed.answers(self.connection, sorted(reader.uids))
            for uid, body in answers.bodies:
                reader.apply(answers.made, uid, body)
            return
        reader.dark = set()
        after: str | None = ""
        while after is not None:
            page = feed.page(self.connection, after, 2)
            for uid, body in page.bodies:
                reader.apply(page.made, uid, body)
            after = page.last


LIMIT = 200


@contextmanager
def breaking(draw: Random) -> Iterator[None]:
    """The database goes away in the middle of a step: where its users are read, or their looks."""
    module, name = draw.choice(((looks, "last_verified"), (current, "load")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, _away)
        yield


def _away(*_: Any) -> Any:
    raise StoreUnavailable("away")


def follow(ledger: Ledger, url: str, life: Life, draw: Random) -> None:
    """Live a life alongside readers, and hold each moment against what is answered."""
    with connected(url) as connection:
        following = Following(ledger, connection, draw)
        poured = 0
        for at, up_to in life.moments:
            pour(ledger, life.ledger.kept[poured:up_to])
            poured = up_to
            following.moment(at)
        following.come_back()


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 50), overrides=st.booleans())
@example(seed=115, steps=28, overrides=False)  # cut off while told of a dark source, back when it is lit again
@example(seed=121, steps=34, overrides=False)  # cut off while somebody was in their grace period
@example(seed=3, steps=50, overrides=True)
def test_who_applies_the_feed_has_what_is_answered(server: str, seed: int, steps: int, overrides: bool) -> None:
    with pg.new_database(server) as url, opened(url) as ledger:
        note(f"{seed} {steps} {overrides}")
        follow(ledger, url, lived(seed, steps, overrides=overrides), Random(seed))

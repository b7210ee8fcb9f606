"""What a sink is told: whoever applies it has what is answered, whatever failed, stopped and began anew in between."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.sinks import reader as reader_module
from ledger.sinks.page import Page, ToTell
from ledger.sinks.reader import Reader, batches
from ledger.store import identity
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper
from ledger.working_state.sinks import Checkpoint
from projections.models.shown import AnswerPoint
from projections.queries import past
from tests.support import pg
from tests.support.following import connect
from tests.support.ledgers import opened
from tests.support.lived import USERS, Life, lived, pour

Told = dict[str, Any]


def visible(answer: Told) -> Told:
    """The part of an answer whose change is told."""
    devices = [(each["source"], each["device_flag"], each["status"], each["sessions"]) for each in answer["devices"]]
    return {name: answer[name] for name in ("uid", "status", "since", "reason")} | {"devices": devices}


def answered(ledger: Ledger, made: AnswerPoint, uids: Sequence[str]) -> dict[str, Told]:
    """What is answered as of a moment, folded from the events by code of its own."""
    with ledger.connection() as connection:
        bodies = past.read(connection, ledger.events_mapper, uids, made).bodies
    return {each["uid"]: visible(each) for each in (json.loads(body + b"}") for body in bodies)}


class Receiver:
    """Keeps the last of each user, in the order that is told."""

    def __init__(self, *, every: bool) -> None:
        self.every = every
        self.shown: dict[str, Told] = {}
        self.order: dict[str, tuple[int, Instant]] = {}
        self.history: list[Told] = []

    def take(self, part: Sequence[ToTell]) -> None:
        """A batch."""
        for each in part:
            told, order = json.loads(each.told.body), each.told.order
            assert told["uid"] == each.told.uid
            assert told["as_of"]["epoch"] == order.epoch
            assert told["as_of"]["position"] == order.position
            self.history.append(visible(told) | {"position": order.position})
            if self.order.get(each.told.uid, (0, 0)) > (order.position, order.at):
                # Told again, of a sink that tells of each change.
                assert self.every
                continue
            self.shown[each.told.uid] = visible(told)
            self.order[each.told.uid] = order.position, order.at


class Telling:
    """A sink beside a life: attempts fail, before or after the receiver has taken them, and leaders come and go."""

    def __init__(self, connection: Connection[TupleRow], draw: Random, *, of_list: str, every: bool) -> None:
        self.connection = connection
        self.draw = draw
        self.clock: Instant = 0
        self.of_list = of_list
        self.every = every
        self.receiver = Receiver(every=every)
        self.stored = Checkpoint(identity.epoch(connection), 0, 0, 0, 0)
        self.reader = self._new_reader()

    def _new_reader(self) -> Reader:
        return Reader(EventMapper(), lambda: self.clock, self.stored, of_list=self.of_list, every=self.every)

    def catch_up(self, *, faults: bool) -> AnswerPoint:
        """Tell all there is -> as of when."""
        while True:
            page = self.reader.read(self.connection)
            if self._tell(page, faults=faults) and not page.more:
                return page.made

    def _tell(self, page: Page, *, faults: bool) -> bool:
        for part in batches(page, self.draw.choice((1, 2, 100))):
            fault = self.draw.random() if faults else 1.0
            if fault < 0.3:
                # The receiver may have taken it, or a part of it.
                if fault < 0.2:
                    self.receiver.take(part[: self.draw.randint(1, len(part))])
                if fault < 0.05:
                    self.reader = self._new_reader()
                else:
                    self.reader.failed(part, page)
                return False
            self.receiver.take(part)
            self.stored = part[-1].checkpoint
            self.reader.took(part, self.stored)
        self.reader.finished(page)
        self.stored = page.checkpoint
        return True

    def lead_anew(self) -> None:
        """Another instance leads."""
        self.reader = self._new_reader()


@contextmanager
def small_pages() -> Iterator[None]:
    """Few at a time, so that there are many pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "STRETCH_EVENTS", 7)
        patch.setattr(reader_module, "PAGE_USERS", 2)
        patch.setattr(reader_module, "REMEMBERED", 2)
        yield


def live(ledger: Ledger, telling: Telling, life: Life, check: Callable[[AnswerPoint], None]) -> None:
    """Live a life beside a sink, which is told, or not, or half."""
    poured = 0
    for at, up_to in life.moments:
        pour(ledger, life.ledger.kept[poured:up_to])
        poured, telling.clock = up_to, at
        match telling.draw.randrange(8):
            case 0:
                telling.lead_anew()
            case 1 | 2:
                telling._tell(telling.reader.read(telling.connection), faults=True)
            case 3 | 4:
                check(telling.catch_up(faults=True))
    check(telling.catch_up(faults=False))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 50), every=st.booleans())
def test_whoever_applies_what_is_told_has_what_is_answered(server: str, seed: int, steps: int, every: bool) -> None:
    note(f"{seed} {steps} {every}")
    with pg.new_database(server) as url, opened(url) as ledger, connect(url) as connection, small_pages():
        telling = Telling(connection, Random(seed), of_list="", every=every)

        def check(made: AnswerPoint) -> None:
            for uid, answer in answered(ledger, made, USERS).items():
                assert telling.receiver.shown.get(uid, answer) == answer
                assert uid in telling.receiver.shown or answer["reason"] == "never_observed"

        live(ledger, telling, lived(seed, steps), check)

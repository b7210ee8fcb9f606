"""What a sink is told: whoever applies it has what is answered, whatever failed, stopped and began anew in between."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.sinks import reader as reader_module
from ledger.sinks.page import ChangePage, ToTell, batches
from ledger.sinks.reader import SinkReader
from ledger.store import identity
from ledger.store.ledger import Ledger
from ledger.store.mapper import EventMapper
from ledger.working_state import watch_list_changes
from ledger.working_state.sinks import SinkCheckpoint
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


LIST = "friends"


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
        self.stored = SinkCheckpoint(identity.epoch(connection), 0, 0, 0, 0)
        self.reader = self._new_reader()

    def _new_reader(self) -> SinkReader:
        return SinkReader(EventMapper(), lambda: self.clock, self.stored, of_list=self.of_list, every=self.every)

    def catch_up(self, *, faults: bool) -> AnswerPoint:
        """Tell all there is -> as of when."""
        while True:
            page = self.reader.read(self.connection)
            if self._tell(page, faults=faults) and not page.more:
                return page.made

    def _tell(self, page: ChangePage, *, faults: bool) -> bool:
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
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 50), every=st.booleans(), overrides=st.booleans())
def test_whoever_applies_what_is_told_has_what_is_answered(
    server: str, seed: int, steps: int, every: bool, overrides: bool
) -> None:
    note(f"{seed} {steps} {every} {overrides}")
    with pg.new_database(server) as url, opened(url) as ledger, connect(url) as connection, small_pages():
        telling = Telling(connection, Random(seed), of_list="", every=every)

        def check(made: AnswerPoint) -> None:
            for uid, answer in answered(ledger, made, USERS).items():
                assert telling.receiver.shown.get(uid, answer) == answer
                assert uid in telling.receiver.shown or answer["reason"] == "never_observed"

        live(ledger, telling, lived(seed, steps, overrides=overrides), check)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 40), overrides=st.booleans())
@example(seed=10, steps=6, overrides=False)  # a grace period ends at the position of the offline
def test_no_change_by_an_event_is_left_out_where_each_is_told(
    server: str, seed: int, steps: int, overrides: bool
) -> None:
    note(f"{seed} {steps} {overrides}")
    with pg.new_database(server) as url, opened(url) as ledger, connect(url) as connection, small_pages():
        telling = Telling(connection, Random(seed), of_list="", every=True)
        life = lived(seed, steps, overrides=overrides)
        pour(ledger, life.ledger.kept)
        telling.clock = life.ledger.at
        telling.catch_up(faults=True)
        telling.catch_up(faults=False)
        told = [(each.pop("position"), each) for each in telling.receiver.history]
        rows = connection.execute(
            "SELECT substr(stream, 6), position, (extract(epoch FROM recorded_at) * 1000000)::bigint FROM events"
            " WHERE stream LIKE 'user:%'"
        ).fetchall()
        for uid, position, at in rows:
            before = answered(ledger, AnswerPoint(at, position - 1), [uid])[uid]
            after = answered(ledger, AnswerPoint(at, position), [uid])[uid]
            if before != after:
                assert (position, after) in told


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 40))
@example(seed=626, steps=28)  # a node that is down boots, which settles who is offline
def test_of_a_list_its_members_are_told_of_and_nobody_else(server: str, seed: int, steps: int) -> None:
    note(f"{seed} {steps}")
    with pg.new_database(server) as url, opened(url) as ledger, connect(url) as connection, small_pages():
        draw = Random(seed)
        telling = Telling(connection, draw, of_list=LIST, every=draw.random() < 0.3)
        members = set(draw.sample(USERS, 2))
        watch_list_changes.put(connection, LIST, members, (), "test")
        been = set(members)

        def check(made: AnswerPoint) -> None:
            for uid, answer in answered(ledger, made, sorted(members)).items():
                assert telling.receiver.shown.get(uid, answer) == answer
                assert uid in telling.receiver.shown or answer["reason"] == "never_observed"
            assert telling.receiver.shown.keys() <= been
            added = {draw.choice(USERS)}
            removed = {draw.choice(USERS)} - added
            watch_list_changes.patch(connection, LIST, watch_list_changes.Patch(added, removed), "test")
            members.difference_update(removed)
            members.update(added)
            been.update(added)

        live(ledger, telling, lived(seed, steps), check)


def test_a_ledger_of_another_epoch_is_told_from_the_beginning(database_url: str, ledger: Ledger) -> None:
    life = lived(7, 40)
    pour(ledger, life.ledger.kept)
    with connect(database_url) as connection:
        telling = Telling(connection, Random(1), of_list="", every=False)
        telling.clock = life.ledger.at
        telling.catch_up(faults=False)
        known, number = dict(telling.receiver.shown), len(telling.receiver.history)
        page = telling.reader.read(connection)
        assert (list(page.changes), page.more) == ([], False)
        telling.receiver.order.clear()
        identity.renew(connection.cursor())
        telling.catch_up(faults=False)
        assert len(telling.receiver.history) == number + len(known)
        assert telling.receiver.shown == known
        assert telling.stored.epoch == identity.epoch(connection)


def test_while_the_ledger_ends_before_the_checkpoint_nothing_is_told(database_url: str, ledger: Ledger) -> None:
    pour(ledger, lived(7, 40).ledger.kept)
    with connect(database_url) as connection:
        ahead = SinkCheckpoint(identity.epoch(connection), 10**6, 0, 0, 0)
        page = SinkReader(EventMapper(), lambda: 0, ahead).read(connection)
        assert (list(page.changes), page.more, page.checkpoint) == ([], False, ahead)


def test_what_is_still_right_need_not_be_made_anew(database_url: str, ledger: Ledger) -> None:
    life = lived(7, 40)
    half = len(life.ledger.kept) // 2
    pour(ledger, life.ledger.kept[:half])
    with connect(database_url) as connection:
        reader = SinkReader(
            EventMapper(), lambda: life.ledger.at, SinkCheckpoint(identity.epoch(connection), 0, 0, 0, 0)
        )
        page = reader.read(connection)
        assert page.changes
        assert reader.is_right(connection, page.changes)
        [told] = reader.answers(connection, [page.changes[0].told.uid])
        assert told.presence.previous is None
        pour(ledger, life.ledger.kept[half:])
        assert not reader.is_right(connection, page.changes)
        identity.renew(connection.cursor())
        assert not reader.is_right(connection, page.changes[:1])

"""How a sink is followed: what is told again, as what, after which pauses, and what is put on record."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.domain.observation import SECOND
from ledger.domain.visible import Visible
from ledger.errors import StoreUnavailable
from ledger.settings import WebhookSettings
from ledger.sinks import follower as follower_module
from ledger.sinks.failing import Failing
from ledger.sinks.follower import SinkFollower
from ledger.sinks.kind import Batch, ChangeOrder, Done, Head, Outcome, Retry, Stop, ToldChange
from ledger.sinks.page import ChangePage, ToTell
from ledger.sinks.pauses import FIRST_SECONDS, MAX_SECONDS, Pauses
from ledger.store.mapper import EventMapper
from ledger.working_state import sinks
from ledger.working_state.sinks import SinkCheckpoint, SinkRow
from projections.models.shown import AnswerPoint

PLACE = SinkCheckpoint("e", 0, 0, 0, 0)
ROW = SinkRow("app", PLACE, 0, None, None, 0, 0, None, None, None, None)
ONLINE = Visible("online", 1, None)


def change(uid: str, position: int) -> ToTell:
    return ToTell(ToldChange(uid, b"{}", ChangeOrder("e", position, 0)), ONLINE, PLACE._replace(position=position))


class FakeReader:
    """Gives the pages of a script, the first one again until it has been told."""

    def __init__(self, *pages: Sequence[ToTell], right: bool = True) -> None:
        self.pages = list(pages)
        self.right = right
        self.checkpoint = PLACE
        self.reads = 0
        self.broken: list[Exception] = []

    def read(self, _: Any) -> ChangePage:
        self.reads += 1
        if self.broken:
            raise self.broken.pop(0)
        changes = self.pages[0] if self.pages else []
        last = changes[-1].checkpoint if changes else self.checkpoint
        return ChangePage(changes, last, AnswerPoint(0, last.position), more=False)

    def took(self, changes: Sequence[ToTell], checkpoint: SinkCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.pages[0] = self.pages[0][len(changes) :]

    def finished(self, page: ChangePage) -> None:
        self.checkpoint = page.checkpoint
        self.pages[:1] = []

    def failed(self, changes: Sequence[ToTell], page: ChangePage) -> None:
        pass

    def is_right(self, *_: Any) -> bool:
        return self.right

    def answers(self, _: Any, uids: Sequence[str]) -> list[ToldChange]:
        return [ToldChange(uid, b"{}", ChangeOrder("e", 1, 0)) for uid in uids]


class FakeKind:
    """Answers by script, and then with success."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.kept: list[Outcome | None] = []
        self.batches: list[Batch] = []
        self.heads: list[Head] = []

    async def tell(self, batch: Batch) -> Outcome:
        self.batches.append(batch)
        outcome = self.outcomes.pop(0) if self.outcomes else Done({each.uid: b"told" for each in batch.changes})
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def keep(self, head: Head) -> Outcome | None:
        self.heads.append(head)
        return self.kept.pop(0) if self.kept else None

    async def close(self) -> None:
        pass


class Followed:
    """A follower whose records are kept in a list."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, reader: FakeReader, kind: FakeKind, row: SinkRow = ROW) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.pauses: list[float] = []
        self.reader, self.kind = reader, kind
        for name in ("succeeded", "failed", "stopped", "move", "recovered"):
            monkeypatch.setattr(sinks, name, self._recording(name))
        monkeypatch.setattr(sinks, "remembered", lambda *_: {"ann": b"before"})
        monkeypatch.setattr(follower_module, "KEEP_SECONDS", 0.0)
        monkeypatch.setattr(SinkFollower, "_new_reader", lambda *_: reader)
        settings = WebhookSettings("app", "http://app", ("whsec_",), coalesce_seconds=0.0, batch=2)
        self.follower = SinkFollower(settings, row, EventMapper(), lambda: 5, self._database)
        monkeypatch.setattr(self.follower._pauses, "after", self._pause)

    def _recording(self, name: str) -> Callable[..., None]:
        return lambda _, *values: self.records.append((name, *values[1:]))

    def _pause(self, asked: float | None = None) -> float:
        self.pauses.append(-1.0 if asked is None else asked)
        return 0.0

    async def _database(self, function: Callable[[Any], Any]) -> Any:
        return function(None)

    def run(self, until: Callable[[], bool]) -> None:
        """Follow until something is so."""

        async def follow() -> None:
            running = asyncio.create_task(self.follower.run(self.kind))
            async with asyncio.timeout(60):
                while not until() and not running.done():
                    self.follower.wake()
                    await asyncio.sleep(0)
            self.follower.stop()
            await running

        asyncio.run(follow())

    def recorded(self, name: str) -> list[tuple[Any, ...]]:
        return [each[1:] for each in self.records if each[0] == name]


def test_batches_are_told_in_order_and_the_checkpoint_moves_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, kind = FakeReader([change("ann", 1), change("ben", 2), change("cy", 3)]), FakeKind()
    followed = Followed(monkeypatch, reader, kind)
    followed.run(lambda: not reader.pages)
    assert [[each.uid for each in batch.changes] for batch in kind.batches] == [["ann", "ben"], ["cy"]]
    assert [(batch.begin, batch.end) for batch in kind.batches] == [(0, 2), (2, 3)]
    assert kind.batches[0].remembered == {"ann": b"before"}
    assert kind.batches[0].id != kind.batches[1].id
    told = {"ann": b"told", "ben": b"told"}
    assert followed.recorded("succeeded") == [
        (PLACE._replace(position=2), 2, told, 5), (PLACE._replace(position=3), 1, {"cy": b"told"}, 5),
    ]  # fmt: skip


def test_what_failed_is_the_same_batch_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)])
    kind = FakeKind(Retry("away"), Retry("busy", 7.0), RuntimeError("hunter2"))
    followed = Followed(monkeypatch, reader, kind)
    with capture_logs():
        followed.run(lambda: not reader.pages)
    assert [batch.id for batch in kind.batches] == [kind.batches[0].id] * 4
    assert followed.recorded("failed") == [("away", 5), ("busy", 5), ("unexpected error: RuntimeError", 5)]
    assert followed.pauses == [-1.0, 7.0, -1.0]
    assert len(followed.recorded("succeeded")) == 1


def test_what_is_no_longer_right_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)], right=False)
    kind = FakeKind(Retry("away"))
    Followed(monkeypatch, reader, kind).run(lambda: not reader.pages)
    assert len({batch.id for batch in kind.batches}) == 2


def test_one_whose_receiver_wants_no_more_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)])
    kind = FakeKind(Stop("gone"))
    followed = Followed(monkeypatch, reader, kind)
    with capture_logs() as logs:
        followed.run(lambda: followed.follower.row.is_held)
    assert followed.recorded("stopped") == [("gone", 5)]
    assert len(kind.batches) == 1
    assert [each["event"] for each in logs] == ["sink_stopped"]
    assert followed.follower.row.revision == 1


def test_an_order_that_came_before_its_stop_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)])
    followed = Followed(monkeypatch, reader, FakeKind(Stop("gone")))

    def resumed() -> bool:
        if followed.follower.row.is_held:
            # Somebody resumed it just before, so that nothing of the stop is on record.
            followed.follower.change(ROW._replace(revision=1))
        return not reader.pages

    with capture_logs():
        followed.run(resumed)
    assert len(followed.kind.batches) == 2


def test_an_order_takes_effect_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)])
    followed = Followed(monkeypatch, reader, FakeKind(), ROW._replace(paused_at=1))

    def resumed() -> bool:
        followed.follower.change(ROW)
        followed.follower.change(ROW._replace(revision=1))
        return not reader.pages

    followed.run(resumed)
    assert len(followed.kind.batches) == 1


def test_a_page_that_cannot_be_read_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader([change("ann", 1)])
    reader.broken = [ValueError("an event that nobody can read")]
    followed = Followed(monkeypatch, reader, FakeKind())
    with capture_logs():
        followed.run(lambda: not reader.pages)
    assert followed.recorded("failed") == [("unexpected error: ValueError", 5)]


def test_that_the_database_is_away_ends_the_term(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader()
    reader.broken = [StoreUnavailable("away")]
    followed = Followed(monkeypatch, reader, FakeKind())
    with pytest.raises(StoreUnavailable):
        followed.run(lambda: False)


def test_a_kind_keeps_what_it_keeps_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, kind = FakeReader([change("ann", 1)]), FakeKind()
    kind.kept = [Retry("away", 1.0), Done()]
    followed = Followed(monkeypatch, reader, kind)
    followed.run(lambda: len(kind.heads) >= 3)
    assert kind.heads[0] == Head(ChangeOrder("e", 1, 0), 0)
    assert followed.recorded("failed") == [("away", 5)]
    assert followed.recorded("recovered") == [(5,)]


def test_a_kind_asks_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed(monkeypatch, FakeReader(), FakeKind())

    async def ask() -> tuple[Any, Any]:
        return await followed.follower.read(lambda _: 7), await followed.follower.answers(["ann"])

    read, answers = asyncio.run(ask())
    assert read == 7
    assert [each.uid for each in answers] == ["ann"]


def test_pauses_grow_to_an_hour_at_random() -> None:
    pauses = Pauses(lambda: 1.0)
    assert [pauses.after() for _ in range(4)] == [FIRST_SECONDS * 2**number for number in range(4)]
    assert max(pauses.after() for _ in range(20)) == MAX_SECONDS
    assert Pauses(lambda: 0.0).after() == FIRST_SECONDS / 2
    assert pauses.after(120.0) == 120.0
    assert pauses.after(0.0) == pytest.approx(0.1)
    assert pauses.after(1e9) == MAX_SECONDS
    pauses.succeeded()
    assert pauses.after() == FIRST_SECONDS


def test_failing_for_a_while_is_said_once_and_that_it_is_over() -> None:
    failing = Failing("app")
    with capture_logs() as logs:
        failing.failed("away", 0 + 1)
        failing.failed("away", 599 * SECOND)
        assert logs == []
        for seconds in (601, 700, 5000):
            failing.failed("away", seconds * SECOND)
        failing.succeeded(6000 * SECOND)
        failing.succeeded(6001 * SECOND)
        failing.failed("away", 6002 * SECOND)
    assert [each["event"] for each in logs] == ["sink_failing", "sink_works_again"]
    assert logs[0]["reason"] == "away"
    assert failing.is_ongoing


def test_failing_since_before_this_term_is_said_at_once() -> None:
    with capture_logs() as logs:
        Failing("app", since=1).failed("away", 601 * SECOND)
    assert [each["event"] for each in logs] == ["sink_failing"]

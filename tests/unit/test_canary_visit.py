"""One visit of a canary: what its webhooks, the stream and the node make of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from ledger.canary import visit as visits
from ledger.canary.metrics import CanaryMetrics
from ledger.canary.record import Record, RecordedItem
from ledger.canary.shown import CanaryStreams
from ledger.canary.visit import Stages, Visit, visit
from ledger.domain.observation import SECOND
from ledger.settings import CanarySettings
from ledger.sources.wukongim.protocol.frames import Connack, Connect, encode
from tests.support.client_node import Answers, ClientNode, lets_in, serving

T = 1_800_000_000 * SECOND
CAME = RecordedItem(5, 105, 17, T + SECOND // 2, T + SECOND)
WENT = RecordedItem(6, 106, 17, T + 2 * SECOND, T + 3 * SECOND)
SEEN = Stages(0.5, 1.0)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stays longer than the webhooks take."""
    monkeypatch.setattr(visits, "STAY_SECONDS", 0.0)


class Heard:
    """A ledger in which these webhooks are on record; what was asked of it."""

    def __init__(self, came: RecordedItem | None, went: RecordedItem | None) -> None:
        self._came = came
        self._went = went
        self.asked: list[object] = []

    async def version(self) -> int:
        return 4

    async def online(self, after: int, seconds: float) -> RecordedItem | None:
        self.asked.append(("online", after, seconds))
        return self._came

    async def offline(self, after: int, conn_id: int | None, seconds: float) -> RecordedItem | None:
        self.asked.append(("offline", after, conn_id))
        return self._went


class Told:
    """A stream that tells of a user at once, or never."""

    def __init__(self, *, tells: bool, error: str | None = None) -> None:
        self._tells = tells
        self.error = error

    @asynccontextmanager
    async def watching(self, uid: str) -> AsyncIterator["Told"]:
        assert uid == "canary"
        yield self

    async def opened(self, seconds: float) -> bool:
        return self._tells

    async def told(self, position: int, seconds: float) -> float | None:
        assert position == CAME.position
        return asyncio.get_running_loop().time() if self._tells else None


def made(
    came: RecordedItem | None = CAME,
    went: RecordedItem | None = WENT,
    told: Told | None = None,
    answers: Answers = lets_in,
) -> tuple[Visit, Heard]:
    heard = Heard(came, went)

    async def go() -> Visit:
        async with serving(ClientNode(answers)) as address:
            canary = CanarySettings("n1", *address, "canary", 0, 60.0, 30.0)
            return await visit(canary, cast(Record, heard), cast("CanaryStreams | None", told), lambda: T)

    return asyncio.run(go()), heard


def test_a_canary_is_seen_where_both_webhooks_came() -> None:
    found, heard = made()
    assert found == Visit(T, "seen", None, (), SEEN)
    assert heard.asked == [("online", 4, 30.0), ("offline", 5, 17)]


def test_a_stream_tells_of_it() -> None:
    found, _ = made(told=Told(tells=True))
    assert found.outcome == "seen"
    assert found.stages is not None
    assert found.stages[:2] == SEEN[:2]
    assert found.stages.stream is not None
    assert found.stages.stream >= 0


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Told(tells=False), "it is on record, and no stream has told of it within 30 s"),
        (Told(tells=False, error="no service"), "there is no stream: no service"),
    ],
)
def test_what_no_stream_tells_of_is_not_shown(told: Told, why: str) -> None:
    found, _ = made(told=told)
    assert (found.outcome, found.error, found.lost, found.stages) == ("not_shown", why, (), SEEN)


@pytest.mark.parametrize(
    ("came", "went", "lost", "words"),
    [
        (None, WENT, ("online",), "no webhook has told within 30 s that it is online"),
        (CAME, None, ("offline",), "no webhook has told within 30 s that it is offline"),
        (None, None, ("online", "offline"), "no webhook has told within 30 s that it is online and then offline"),
    ],
)
def test_what_has_not_come_is_lost(
    came: RecordedItem | None, went: RecordedItem | None, lost: tuple[str, ...], words: str
) -> None:
    found, _ = made(came, went)
    assert (found.outcome, found.lost, found.error) == ("lost", lost, words)


def test_an_instant_before_the_socket_is_none() -> None:
    found, _ = made(CAME._replace(received_at=T - SECOND, recorded_at=T - 2 * SECOND))
    assert found.stages == Stages(0.0, 0.0)


def test_who_is_not_let_in_has_lost_nothing() -> None:
    found, heard = made(answers=lambda _: encode(Connack(19)))
    assert (found.outcome, found.error) == ("refused", "the user is banned (WuKongIM's reason code 19)")
    assert (found.lost, heard.asked) == ((), [])


def test_a_connection_that_ends_meanwhile_is_broken() -> None:
    found, _ = made(answers=lambda frame: lets_in(frame) if isinstance(frame, Connect) else None)
    assert (found.outcome, found.stages) == ("broken", SEEN)


def test_nobody_there_is_unreachable() -> None:
    async def go() -> Visit:
        async with serving(ClientNode(lets_in)) as address:
            pass
        canary = CanarySettings("n1", *address, "canary", 0, 60.0, 30.0)
        return await visit(canary, cast(Record, Heard(None, None)), None, lambda: T)

    assert asyncio.run(go()).outcome == "unreachable"


def test_visits_are_counted_and_measured() -> None:
    registry = CollectorRegistry()
    metrics = CanaryMetrics(registry, [("main", "n1")])

    def value(name: str, **labels: Any) -> float | None:
        return registry.get_sample_value(f"presence_ledger_canary_{name}", {"source": "main", "node": "n1", **labels})

    assert value("visits_total", outcome="refused") == 0
    assert value("webhooks_lost_total", change="offline") == 0
    assert value("latency_seconds_count", stage="stream") == 0
    metrics.began("main", "n1", T - SECOND, 60.0)
    assert value("every_seconds") == 60.0
    assert value("last_seen_timestamp_seconds") == T / SECOND - 1
    metrics.visited("main", "n1", Visit(T, "seen", None, (), Stages(0.5, 1.0)))
    metrics.visited("main", "n1", Visit(T + SECOND, "lost", "…", ("online", "offline")))
    assert value("visits_total", outcome="seen") == value("visits_total", outcome="lost") == 1
    assert value("webhooks_lost_total", change="online") == 1
    assert value("latency_seconds_sum", stage="commit") == 1.0
    assert value("latency_seconds_count", stage="stream") == 0
    assert value("last_seen_timestamp_seconds") == T / SECOND

"""Load that remembers: which POSTs were answered, so that the ledger can be held against it afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import psycopg

from bench import _client, _service
from bench._crowd import Crowd, as_body
from bench._report import Bar

RETRY_SECONDS = 0.01

_ITEMS = """
SELECT position, raw, payload ->> 'delivery' FROM ledger_events
 WHERE kind = 'webhook_observed.v2' AND position > %s
"""

_REPEATED = """
SELECT count(*)
  FROM (SELECT FROM ledger_events WHERE kind = 'webhook_observed.v2' GROUP BY raw HAVING count(*) > 1) AS repeated
"""


class Sent(NamedTuple):
    """One POST: its items, and the answer's status; None where none came."""

    items: tuple[str, ...]
    status: int | None


class Verdicts(NamedTuple):
    """POSTs held against the ledger; what is in `wrong` should not be."""

    acknowledged: int
    unanswered_stored: int
    unanswered_not_stored: int
    refused: int
    wrong: list[str]


class Load:
    """Every node posts without a pause. No item is said twice, so that each can be found in the ledger."""

    def __init__(self, service: _service.Service, body_items: int, users: int = 4000) -> None:
        self._service = service
        self._body_items = body_items
        self._crowds = [Crowd(node, users // _service.NODES) for node in range(_service.NODES)]
        self._checked = 0
        self.sent: list[Sent] = []
        self.answered_at: list[tuple[float, int]] = []
        """When each answer came (by the monotonic clock), with its status."""

    async def run(self, ended: Callable[[], bool], *, reconnect: bool) -> None:
        """Post until `ended`; a node that loses its connection stops, or connects again where asked to."""
        await asyncio.gather(*(self._node(node, ended, reconnect) for node in range(_service.NODES)))

    async def until_taken(self, since: float, within: float) -> None:
        """Wait until a POST is answered 200, from an instant of the monotonic clock on. Raises RuntimeError."""
        while True:
            if any(at >= since and status == 200 for at, status in self.answered_at[-_service.NODES :]):
                return
            if time.monotonic() > since + within:
                raise RuntimeError(f"no POST was taken within {within:g} s")
            await asyncio.sleep(RETRY_SECONDS)

    async def _node(self, node: int, ended: Callable[[], bool], reconnect: bool) -> None:
        connection: _client.Connection | None = None
        while not ended():
            try:
                connection = connection or await _client.connect(self._service.port)
            except OSError:
                if not reconnect:
                    return
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if not await self._post(connection, node):
                connection = None
                if not reconnect:
                    return
        if connection is not None:
            connection.close()

    async def _post(self, connection: _client.Connection, node: int) -> bool:
        """One POST; False where the connection is lost."""
        items = self._crowds[node].items(self._body_items)
        request = self._service.webhook(as_body(items), node)
        try:
            status: int | None = (await connection.exchange(request)).status
        except _client.ConnectionLost:
            status = None
        if status is not None:
            self.answered_at.append((time.monotonic(), status))
        self.sent.append(Sent(tuple(items), status))
        return status is not None

    def check(self, url: str) -> Verdicts:
        """Hold what was sent since the last check against the events stored since then. Nothing may be under way."""
        with psycopg.connect(url) as connection:
            rows = connection.execute(_ITEMS, (self._checked,)).fetchall()
        sent, self.sent = self.sent, []
        self._checked = max((position for position, _, _ in rows), default=self._checked)
        return judge(sent, Counter(raw for _, raw, _ in rows), {raw: delivery for _, raw, delivery in rows})


def judge(sent: list[Sent], stored: Mapping[str, int], delivery_of: Mapping[str, str]) -> Verdicts:
    """What is to hold: answered 200, each item once; not answered, or refused, all items once or none."""
    counts, wrong = Counter[str](), []
    for number, post in enumerate(sent):
        times = [stored.get(item, 0) for item in post.items]
        deliveries = {delivery_of.get(item) for item in post.items}
        whole = all(count == 1 for count in times) and len(deliveries) == 1
        if post.status == 200:
            counts["acknowledged"] += 1
        elif post.status is not None:
            counts["refused"] += 1
        else:
            counts["stored" if whole else "not stored"] += 1
        if not whole and (post.status == 200 or any(times)):
            found = f"{sum(map(bool, times))} of its {len(times)} items, {len(deliveries)} deliveries"
            wrong.append(f"POST {number}, answered {post.status}: {found}, most often {max(times)} times")
    return Verdicts(counts["acknowledged"], counts["stored"], counts["not stored"], counts["refused"], wrong)


async def seconds_until_served(service: _service.Service, body: bytes, node: int, within: float) -> float:
    """How long from now until a POST is answered 200, trying without a pause. Raises RuntimeError after `within`."""
    started = time.monotonic()
    while time.monotonic() - started < within:
        try:
            connection = await _client.connect(service.port)
            answer = await connection.exchange(service.webhook(body, node))
            connection.close()
        except OSError:
            service.check()
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if answer.status == 200:
            return time.monotonic() - started
    raise RuntimeError(f"the service did not serve within {within:g} s")


def items_repeated(url: str) -> int:
    """How many different items are in the whole ledger more than once."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_REPEATED).fetchone()
    assert row is not None
    repeated: int = row[0]
    return repeated


def verdict_bars(found: list[Verdicts], repeated: int) -> list[Bar]:
    """What must hold of every POST."""
    wrong = [each for verdicts in found for each in verdicts.wrong]
    return [
        Bar("POSTs acknowledged and not whole in the ledger, or in part there", len(wrong), 0, at_least=False),
        Bar("items in the ledger more than once", repeated, 0, at_least=False),
        Bar("POSTs acknowledged", sum(v.acknowledged for v in found), 1, at_least=True),
    ]


def verdict_notes(found: list[Verdicts]) -> list[str]:
    """What became of the POSTs that were not acknowledged, and the first few that went wrong."""
    stored, lost = sum(v.unanswered_stored for v in found), sum(v.unanswered_not_stored for v in found)
    refused = sum(v.refused for v in found)
    wrong = [each for verdicts in found for each in verdicts.wrong]
    return [f"unanswered: {stored} whole in the ledger, {lost} not at all; refused with 503: {refused}", *wrong[:5]]


async def in_open_loop(port: int, requests: Sequence[tuple[int, bytes]], due: Sequence[float]) -> list[float]:
    """Seconds each POST took; one of a node goes out after the answer to that node's one before, as its sender does."""
    connections = [await _client.connect(port) for _ in range(_service.NODES)]
    free = [asyncio.Lock() for _ in connections]
    started = time.perf_counter()

    async def one(node: int, request: bytes, at: float) -> float:
        await asyncio.sleep(started + at - time.perf_counter())
        async with free[node]:
            answer = await connections[node].exchange(request)
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
        return time.perf_counter() - started - at

    return await asyncio.gather(*(one(*each, at) for each, at in zip(requests, due, strict=True)))

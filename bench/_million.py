"""A node with very many known users, some of them connected: a ledger that agrees with it, its API, its traffic."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import NamedTuple

from bench import _client, _service
from bench._crowd import Crowd, as_body
from bench._seed import Seeder
from ledger.simulator.answers import QueryApi
from ledger.simulator.api import NodeApi, make_app
from ledger.simulator.cluster import SimulatedSession, slot_for
from ledger.simulator.node_answers import NodeAnswers
from ledger.simulator.plan import NodePlan, Plan
from ledger.simulator.world import SimulatedWorld

DAY_SECONDS = 86_400.0
BODY_ITEMS = 512
DEVICE = "d0"


class Ingested(NamedTuple):
    """Some seconds of traffic: items a second that were answered, and milliseconds of each POST since it was due."""

    speed: float
    took: list[float]


class Crowded:
    """One node that has been up for days; `online` of its `known` users are connected, with one device each."""

    def __init__(self, node: NodePlan, known: int, online: int, seed: int) -> None:
        self.node = node
        self._random = random.Random(seed)
        self._cluster = SimulatedWorld(Plan(nodes=(node,), users=1, seconds=None, rate=0.001)).cluster
        self._uids = [f"{self._random.getrandbits(128):032x}" for _ in range(known)]
        self._sessions: dict[str, SimulatedSession] = {}
        self._online = online
        self._started_at = time.time() - 4 * DAY_SECONDS
        # Of users of slot 0 this version never says that they went.
        self._lively = [uid for uid in self._uids if slot_for(uid)][: known // 10]
        self._random.shuffle(self._uids)

    def seed(self, url: str) -> None:
        """Fill a ledger: everybody was connected some days ago, and those who are now have been for an hour."""
        seeder = Seeder(url, [Crowd(0, 0)])
        away = self._uids[self._online :]
        first = self._cluster.nodes[self.node.name]
        seeder.webhooks(_bodies(f"{uid}-0-1-{conn}-1-1" for conn, uid in enumerate(away, 1)), 3 * DAY_SECONDS)
        seeder.webhooks(_bodies(f"{uid}-0-0-{conn}-0-0" for conn, uid in enumerate(away, 1)), 2 * DAY_SECONDS)
        first.next_conn_id = len(away) + 1
        seeder.webhooks(_bodies(self._connects(uid) for uid in self._uids[: self._online]), 3600.0)

    def _seconds(self) -> float:
        return time.time() - self._started_at

    def _connects(self, uid: str) -> str:
        self._sessions[uid], said = self._cluster.connect(self._seconds(), uid, 0, DEVICE, self.node.name)
        return said[0][1]

    def _change(self) -> str:
        uid = self._random.choice(self._lively)
        session = self._sessions.pop(uid, None)
        return self._connects(uid) if session is None else self._cluster.close(session)[0][1]

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Its query API, at the node's port."""
        world = SimulatedWorld(Plan(nodes=(self.node,), users=1, seconds=None, rate=0.001))
        node_answers = NodeAnswers(QueryApi(self._cluster, self._started_at), world.lies)
        assert self.node.api_port is not None
        api = NodeApi(make_app(node_answers, self.node.name, self._seconds), self.node.api_port)
        await api.start()
        try:
            yield
        finally:
            await api.stop()

    async def post(self, service: _service.Service, items_a_second: int, seconds: float) -> Ingested:
        """Users come and go, and the node says so at once; each POST waits for the answer to the one before."""
        connection, took = await _client.connect(service.port), list[float]()
        distance = BODY_ITEMS / items_a_second
        posts = max(1, round(seconds / distance))
        began = time.perf_counter()
        for number in range(posts):
            due = began + number * distance
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            body = as_body(self._change() for _ in range(BODY_ITEMS))
            answer = await connection.exchange(service.webhook(body))
            if answer.status != 200:
                raise RuntimeError(f"answered {answer.status}: {answer.body[:500]!r}")
            took.append(1000 * (time.perf_counter() - due))
        connection.close()
        return Ingested(posts * BODY_ITEMS / max(posts * distance, time.perf_counter() - began), took)


def _bodies(items: Iterable[str]) -> Iterator[tuple[int, bytes]]:
    """The items as bodies of node 0."""
    waiting = iter(items)
    while part := list(islice(waiting, 1000)):
        yield 0, as_body(part)

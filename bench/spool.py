"""Is every webhook answered within a second while PostgreSQL is away, and the ledger whole and right soon after?"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench import _client, _service
from bench._crowd import Crowd, as_body
from bench._load import Load, Sent, items_repeated, verdict_bars, verdict_notes
from bench._postgres import Server, scratch_folder
from bench._report import Bar, Options, Report, main, number, percentile, progress
from tests.support.external import ExternalPostgres

ITEMS_A_SECOND = 2_000
BODY_ITEMS = 50
USERS = 10_000
SPOOL_BYTES = 1024 * 1024 * 1024
SETTLED_SECONDS = 1.0
"""Whoever changed later than that before a question may be told either way."""
SAMPLE_USERS = 1_000
SAMPLE_SECONDS = 0.25
DRAINED_WITHIN_SECONDS = 120.0


class Posted(NamedTuple):
    """A POST that was answered: when it went out, and how long that took, in seconds."""

    at: float
    took: float
    status: int | None


class World:
    """The nodes' posts at an even pace, and what is true of the users."""

    def __init__(self, service: _service.Service) -> None:
        self._service = service
        self._crowds = [Crowd(node, USERS // _service.NODES) for node in range(_service.NODES)]
        self._truth: dict[str, tuple[float, str]] = {}
        self.sent: list[Sent] = []
        self.posted: list[Posted] = []

    async def post_until(self, ended: asyncio.Event) -> None:
        """Post when it is due; a node's next one after the answer to the one before, as its sender does."""
        connections = [await _client.connect(self._service.port) for _ in range(_service.NODES)]
        turns = [asyncio.Lock() for _ in connections]
        started, distance, under_way = time.monotonic(), BODY_ITEMS / ITEMS_A_SECOND, set()
        due = 0
        while not ended.is_set():
            await asyncio.sleep(started + due * distance - time.monotonic())
            node = due % _service.NODES
            task = asyncio.create_task(self._post(connections[node], turns[node], node))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            due += 1
        await asyncio.gather(*under_way)
        for connection in connections:
            connection.close()

    async def _post(self, connection: _client.Connection, turn: asyncio.Lock, node: int) -> None:
        async with turn:
            items = self._crowds[node].items(BODY_ITEMS)
            request, at = self._service.webhook(as_body(items), node), time.monotonic()
            status = (await connection.exchange(request)).status
            answered = time.monotonic()
            self.posted.append(Posted(at, answered - at, status))
            self.sent.append(Sent(tuple(items), status))
            for item in items:
                uid, _, _, _, _, total = item.rsplit("-", 5)
                self._truth[uid] = answered, "online" if total != "0" else "offline"

    async def wrong(self, connection: _client.Connection, sample: int) -> int:
        """How many of so many users are not shown as they are; all of them while nothing is answered."""
        asked_at = time.monotonic()
        settled = [uid for uid, (at, _) in self._truth.items() if at < asked_at - SETTLED_SECONDS]
        uids = random.sample(settled, min(sample, len(settled)))
        before = {uid: self._truth[uid] for uid in uids}
        request = _client.post("/v1/presence/query", json.dumps({"uids": uids}).encode(), _service.KEY)
        answer = await connection.exchange(request)
        if answer.status != 200:
            return len(uids)
        shown = {each["uid"]: each["status"] for each in json.loads(answer.body)["items"]}
        return sum(self._truth[uid] == before[uid] and shown[uid] != before[uid][1] for uid in uids)


class Outcome(NamedTuple):
    """Instants by the monotonic clock, and what was seen."""

    started_at: float
    right_at: float
    """After the last sample of users that held a wrong one."""
    empty_at: float
    wrong_at_the_end: int
    spooled: int
    """The most bytes that the spool's files took."""
    unready: int
    """How often the service said meanwhile that it was not ready."""


def measure(options: Options) -> Report:
    """One outage under load; the service is left alone."""
    away, before, after = options.pick(120, 2), options.pick(15, 1), options.pick(20, 2)
    report = Report(
        f"PostgreSQL away for {away} s under {ITEMS_A_SECOND:,} items/s in bodies of {BODY_ITEMS}, {USERS:,} users of "
        f"{_service.NODES} nodes, the service left alone; seconds",
        "",
        (
            "POSTs",
            "not answered 200",
            "median",
            "p99",
            "longest",
            "right after its return",
            "spool empty",
            "its most, MiB",
        ),
    )
    with scratch_folder() as folder:
        postgres = ExternalPostgres(folder / "external")
        try:
            server = Server(postgres.start(), folder, None)
            report.server = server.describe()
            extras = {"PRESENCE_LEDGER_SPOOL_BYTES": str(SPOOL_BYTES)}
            with server.database() as url, _service.running(folder / "service", url, **extras) as service:
                world = World(service)
                outcome = _client.run(_under_load(service, postgres, world, before, away, after))
                _judge(report, world, outcome, service, url)
        finally:
            postgres.stop("immediate")
    return report


async def _under_load(
    service: _service.Service, postgres: ExternalPostgres, world: World, before: int, away: int, after: int
) -> Outcome:
    ended = asyncio.Event()
    posting = asyncio.create_task(world.post_until(ended))
    await asyncio.sleep(before)
    # Not sooner: one that says nothing for long is closed.
    asking = await _client.connect(service.port)
    stopped_at = time.monotonic()
    await asyncio.to_thread(postgres.stop, "immediate")
    spooled = unready = 0
    while time.monotonic() < stopped_at + away:
        await asyncio.sleep(SAMPLE_SECONDS)
        told = await _ready(asking)
        unready += told is None
        spooled = max(spooled, ((told and told["spooling"]) or {"bytes": 0})["bytes"])
    await asyncio.to_thread(postgres.start)
    started_at = right_at = time.monotonic()
    empty_at = 0.0
    while (now := time.monotonic()) < started_at + after or not empty_at:
        if await world.wrong(asking, SAMPLE_USERS):
            right_at = time.monotonic()
        if not empty_at and await _is_empty(asking):
            empty_at = time.monotonic()
            progress(f"the spool is empty after {empty_at - started_at:.1f} s")
        if now > started_at + DRAINED_WITHIN_SECONDS:
            raise RuntimeError(f"the spool is not empty after {DRAINED_WITHIN_SECONDS:g} s")
        await asyncio.sleep(SAMPLE_SECONDS)
    ended.set()
    await posting
    while not await _is_empty(asking):  # noqa: ASYNC110
        await asyncio.sleep(SAMPLE_SECONDS)
    await asyncio.sleep(SETTLED_SECONDS)
    return Outcome(started_at, right_at, empty_at, await world.wrong(asking, USERS), spooled, unready)


async def _ready(connection: _client.Connection) -> Any:
    """What it says; None where it is not ready."""
    answer = await connection.exchange(_client.get("/health/ready", _service.KEY))
    return json.loads(answer.body) if answer.status == 200 else None


async def _is_empty(connection: _client.Connection) -> bool:
    told = await _ready(connection)
    return told is not None and told["head"] is not None and told["spooling"] is None


def _judge(report: Report, world: World, outcome: Outcome, service: _service.Service, url: str) -> None:
    took = [each.took for each in world.posted]
    refused = sum(each.status != 200 for each in world.posted)
    right, empty = (at - outcome.started_at for at in (outcome.right_at, outcome.empty_at))
    report.rows.append(
        (str(len(took)), str(refused), *_figures(took), number(right), number(empty), number(outcome.spooled / 2**20))
    )
    load = Load(service, BODY_ITEMS)
    load.sent = world.sent
    verdicts = load.check(url)
    report.bars += [
        Bar("POSTs not answered 200", refused, 0, at_least=False),
        Bar("the longest answer", max(took), 1, at_least=False, unit="s", speed=True),
        Bar("every status right after its return", right, 10, at_least=False, unit="s", speed=True),
        Bar("health checks that said it was not ready", outcome.unready, 1, at_least=False),
        Bar("users shown wrongly at the end", outcome.wrong_at_the_end, 0, at_least=False),
        *verdict_bars([verdicts], items_repeated(url)),
    ]
    report.notes += verdict_notes([verdicts])


def _figures(took: Sequence[float]) -> list[str]:
    return [number(percentile(took, share)) for share in (0.5, 0.99, 1.0)]


if __name__ == "__main__":
    main("spool", "reliability.md", measure)

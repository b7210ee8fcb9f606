"""What does one whole pass over a million known users cost, and does ingest feel it?"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import psycopg

from bench import _watching
from bench._million import BODY_ITEMS, Crowded, Ingested
from bench._postgres import Server, process_cpu_seconds, server
from bench._report import Bar, Options, Report, main, median, number, percentile, progress
from bench._simulated import Reconciling, amounts, new_nodes
from bench._watching import MIB, Questions, most_a_second
from ledger.domain.policy import DEFAULT_POLICY
from ledger.simulator.plan import NodePlan

ITEMS_A_SECOND = 5000
PASS_SECONDS = 900.0
WAYS = ("/connz", "by name")

_NOBODY_LOOKED_AT = "UPDATE looks SET due_at = 0, urgent = NULL, doubt = NULL WHERE due_at <> 0"
_VACUUM = "VACUUM ANALYZE looks"
_LEFT = "SELECT uid FROM looks WHERE source = 'main' AND due_at = 0 LIMIT 1"
_UNHEARD = "SELECT uid FROM current WHERE NOT EXISTS (SELECT FROM looks WHERE looks.uid = current.uid) LIMIT 1"
_ON_AGENDA = "SELECT count(*) FROM looks"
_NEWS = "SELECT count(*) FROM events WHERE kind IN ('corrected.v1', 'swept.v1', 'poll_observed.v1')"


class Cost(NamedTuple):
    """A pass alongside nothing: seconds on the clock and of processor, bytes over idle, questions and users, news."""

    seconds: float
    service: float
    postgres: float
    memory: int
    calls: int
    users: int
    most: tuple[int, int]
    news: int


class Alongside(NamedTuple):
    """One round of ingest alongside a pass and one without; bytes over idle at most."""

    alongside: Ingested
    alone: Ingested
    memory: int


class Bench:
    """One ledger and its node, and the services that are measured on it one after another."""

    def __init__(
        self, postgres: Server, url: str, crowded: Crowded, questions: Questions, *, warm_up_seconds: float
    ) -> None:
        self._postgres, self._url = postgres, url
        self._crowded, self._questions = crowded, questions
        self._warm_up_seconds = warm_up_seconds
        self._services = 0
        self._idle = 0
        self._start_cpu = 0.0

    async def idle(self) -> str:
        """A service without a query API: what it takes by itself; it puts everybody on the agenda -> a note"""
        began, before = time.monotonic(), self._postgres.cpu_seconds()
        async with self._running(replace(self._crowded.node, api_port=None)) as service:
            self._start_cpu = process_cpu_seconds(service.pid)
            await self._until(_UNHEARD, PASS_SECONDS)
            seconds, postgres = time.monotonic() - began, self._postgres.cpu_seconds() - before
            await asyncio.sleep(self._warm_up_seconds)
            self._idle = _watching.memory(service.pid, "VmRSS")
        return (
            f"the first start puts {self._number(_ON_AGENDA):,} users on the agenda: {number(seconds)} s, "
            f"{number(postgres)} s of PostgreSQL's processor; idle memory {number(self._idle / MIB)} MiB"
        )

    async def cost(self, way: str) -> Cost:
        """One whole pass, from the start of a service to the last user's look."""
        await self._forget_looks()
        news, before = self._number(_NEWS), self._postgres.cpu_seconds()
        began = time.monotonic()
        async with self._running(*self._nodes(way)) as service:
            await self._until(_LEFT, PASS_SECONDS)
            ended = time.monotonic()
            asked = self._questions.between(began, ended)
            cost = Cost(
                ended - began,
                process_cpu_seconds(service.pid) - self._start_cpu,
                self._postgres.cpu_seconds() - before,
                _watching.memory(service.pid, "VmHWM") - self._idle,
                len(asked),
                sum(each.users for each in asked),
                most_a_second(asked),
                self._number(_NEWS) - news,
            )
        progress(f"{way}: {cost}")
        return cost

    async def alongside(self, way: str, seconds: float) -> Alongside:
        """Ingest while a pass goes on, and then without one."""
        await self._forget_looks()
        async with self._running(*self._nodes(way)) as service:
            await self._crowded.post(service, ITEMS_A_SECOND, self._warm_up_seconds)
            alongside = await self._crowded.post(service, ITEMS_A_SECOND, seconds)
            goes_on = self._finds(_LEFT)
            await self._until(_LEFT, PASS_SECONDS)
            memory = _watching.memory(service.pid, "VmHWM") - self._idle
            await asyncio.to_thread(self._postgres.settle)
            await self._crowded.post(service, ITEMS_A_SECOND, self._warm_up_seconds)
            alone = await self._crowded.post(service, ITEMS_A_SECOND, seconds)
        if not goes_on:
            progress(f"{way}: the pass ended before the round did")
        progress(f"{way}: {alongside.speed:,.0f} items/s alongside a pass, {alone.speed:,.0f} without")
        return Alongside(alongside, alone, memory)

    def _nodes(self, way: str) -> tuple[NodePlan, ...]:
        """By name all are asked about where one node cannot be asked for its connections."""
        node = self._crowded.node
        return (node,) if way == WAYS[0] else (node, NodePlan("n2", node.secret))

    @contextlib.asynccontextmanager
    async def _running(self, *nodes: NodePlan) -> AsyncIterator[Reconciling]:
        self._services += 1
        service = Reconciling(self._postgres.folder / f"service-{self._services}", self._url, "v2.2", nodes, {})
        try:
            await asyncio.to_thread(service.start)
            yield service
            service.check()
        finally:
            await asyncio.to_thread(service.stop)

    async def _forget_looks(self) -> None:
        """Make everybody's look due."""
        await asyncio.to_thread(self._execute, _NOBODY_LOOKED_AT)
        await asyncio.to_thread(self._execute, _VACUUM)
        await asyncio.to_thread(self._postgres.settle)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _finds(self, query: str) -> bool:
        with psycopg.connect(self._url) as connection:
            return connection.execute(query.encode()).fetchone() is not None

    def _number(self, query: str) -> int:
        with psycopg.connect(self._url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    async def _until(self, query: str, seconds: float) -> None:
        """Wait until the query finds nobody. Raises RuntimeError."""
        deadline = time.monotonic() + seconds
        while await asyncio.to_thread(self._finds, query):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the pass goes on after {seconds:g} s")
            await asyncio.sleep(0.2)


def measure(options: Options) -> Report:
    """Each way's cost by itself; then ingest alongside it and without it in turn."""
    own, options = amounts(
        options, users=str(options.pick(1_000_000, 1_000)), online=str(options.pick(100_000, 100)), rounds="3"
    )
    rounds, seconds = 1 if options.short else int(own["rounds"]), 0.3 if options.short else 20.0
    crowded = Crowded(new_nodes(1)[0], int(own["users"]), int(own["online"]), options.seed)
    questions = Questions()
    with server(options) as postgres, postgres.database() as url, questions.counted():
        crowded.seed(url)
        progress(f"{int(own['users']):,} users known")
        bench = Bench(postgres, url, crowded, questions, warm_up_seconds=seconds / 10)

        async def all_of_it() -> tuple[str, dict[str, Cost], dict[str, list[Alongside]]]:
            async with crowded.answering():
                note = await bench.idle()
                costs = {way: await bench.cost(way) for way in WAYS}
                return note, costs, {way: [await bench.alongside(way, seconds) for _ in range(rounds)] for way in WAYS}

        note, costs, besides = asyncio.run(all_of_it())
        report = Report(
            f"One whole pass over {int(own['users']):,} known users, {int(own['online']):,} of them online (v2.2), by "
            f"`/connz` and by name; ingest of {ITEMS_A_SECOND:,} items/s in bodies of {BODY_ITEMS} alongside it and "
            f"without it, {seconds:g} s each, medians of {rounds} rounds; seed {options.seed}",
            postgres.describe(),
            (
                "pass",
                "seconds",
                "of processor, service",
                "of processor, PostgreSQL",
                "memory over idle, MiB",
                "calls",
                "users asked about",
                "ingest alongside it, items/s",
                "without",
                "POST alongside it, median ms",
                "without",
                "p99 alongside it",
                "without",
            ),
        )
    for way in WAYS:
        _add(report, way, costs[way], besides[way])
    report.notes.append(note)
    return report


def _add(report: Report, way: str, cost: Cost, besides: Sequence[Alongside]) -> None:
    pairs = [(b.alongside, b.alone) for b in besides]
    memory = max(cost.memory, *(b.memory for b in besides)) / MIB
    report.rows.append(
        (
            way,
            *(number(each) for each in (cost.seconds, cost.service, cost.postgres, cost.memory / MIB)),
            f"{cost.calls:,}",
            f"{cost.users:,}",
            *(number(median([pair[which].speed for pair in pairs])) for which in (0, 1)),
            *(number(median([median(pair[which].took) for pair in pairs])) for which in (0, 1)),
            *(number(median([percentile(pair[which].took, 0.99) for pair in pairs])) for which in (0, 1)),
        )
    )
    share = median([alongside.speed for alongside, _ in pairs]) / median([alone.speed for _, alone in pairs])
    calls, users = cost.most
    burst = 1.25
    report.bars += [
        Bar(f"{way}: memory over idle at most, ingest alongside it or not", memory, 300, at_least=False, unit="MiB"),
        Bar(f"{way}: ingest's speed alongside it, as a share", share, 0.9, at_least=True, speed=True),
        Bar(f"{way}: events that tell of drift, where there is none", cost.news, 0, at_least=False),
        Bar(f"{way}: calls, most in a second", calls, DEFAULT_POLICY.budget_calls * burst, at_least=False, speed=True),
        Bar(f"{way}: users, most in a second", users, DEFAULT_POLICY.budget_users * burst, at_least=False, speed=True),
    ]


if __name__ == "__main__":
    main("million", "performance.md", measure)

"""What the parts of one source's live reconciliation share while this instance leads: store, clients, clocks, runs."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ledger.domain.event_types import SourceEvent
from ledger.domain.look import next_due
from ledger.domain.mismatch import CountsCheck
from ledger.domain.observation import SECOND, Instant
from ledger.domain.source import SourceState
from ledger.reconcile import judge, plan
from ledger.reconcile.complaints import Complaints
from ledger.reconcile.counters import ReconcileCounters
from ledger.reconcile.runs import Run
from ledger.reconcile.source_store import SourceStore
from ledger.sources.wukongim.answers import Unanswered
from ledger.sources.wukongim.client import QueryClient

ROTATION_SECONDS = 60.0
"""A run of looks in turn and out of turn; each leaves two events."""

Database = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in the thread that may wait for PostgreSQL."""

Spawn = Callable[[Any], asyncio.Task[Any]]
"""Starts a task whose failure ends the leadership."""


class LeaderContext:
    """One source while this instance leads. `seconds` is a clock that only goes forward."""

    def __init__(
        self,
        source_store: SourceStore,
        clients: Mapping[str, QueryClient],
        instance: str,
        now: Callable[[], Instant],
        seconds: Callable[[], float],
        database: Database,
        spawn: Spawn,
        counters: ReconcileCounters,
    ) -> None:
        self.source_store = source_store
        self.clients = clients
        self.instance = instance
        self.now, self.seconds = now, seconds
        self.database, self.spawn = database, spawn
        self.counters = counters
        self.complaints = Complaints(source_store.name, seconds)
        self.on_judged: list[Callable[[judge.Verdicts], None]] = []
        """Told what polls come to."""
        self.counts: defaultdict[str, CountsCheck] = defaultdict(CountsCheck)
        """What the counts in each node's webhooks tell of its profile; of the thread that waits for PostgreSQL."""
        self.runs: dict[str, Run] = {}
        """All under way, by id."""
        self.in_flight: set[str] = set()
        """Users with a question under way."""
        self._rotation: Run | None = None
        self._ending: list[Run] = []
        """Those before it whose last polls are still under way."""

    @property
    def name(self) -> str:
        return self.source_store.name

    @property
    def source(self) -> SourceState:
        """The source as of the last event that we know of."""
        return self.source_store.source

    async def append(self, *events: SourceEvent) -> None:
        """Append events of the source."""
        await self.database(self.source_store.append, *events)

    def route(self) -> plan.LookRoute | plan.Wait:
        """How to look now."""
        return plan.route_for(self.source, self.now(), self.clients.keys(), names=self.names_answer)

    @property
    def names_answer(self) -> bool:
        """Whether questions by name can be answered: in a cluster peers are asked without the token, and refuse."""
        return len(self.source.node_profiles) <= 1 or all(client.node.token is None for client in self.clients.values())

    def answering(self) -> set[str]:
        """The nodes that can be asked now."""
        return plan.answering(self.source, self.clients.keys())

    @property
    def vip_seconds(self) -> float:
        """Between two looks at a vip."""
        return next_due("vip", self.source.policy, 0) / SECOND

    @property
    def can_scan(self) -> bool:
        """Whether all nodes can be asked for all their connections."""
        return bool(self.clients) and plan.has_connections(self.source, self.clients.keys())

    @property
    def needs_connections(self) -> bool:
        """Whether only `/connz` tells who was held by a node that is gone."""
        return bool(self.clients) and plan.needs_connections(self.source, self.clients.keys())

    def answered(self, run: Run, node: str, route: plan.LookRoute, verdicts: judge.Verdicts) -> None:
        """A poll was answered and judged."""
        run.judged(verdicts)
        self.counters.answered(self.name, node, route.value, verdicts)
        for name in node.split("+"):
            self.complaints.answered(name, route.value)
        for hear in self.on_judged:
            hear(verdicts)

    def failed(self, run: Run, node: str, route: plan.LookRoute, why: Unanswered, users: int) -> None:
        """A poll about so many users was not answered, or with nothing of use."""
        run.failed(node, why.reason, users)
        self.counters.failed(self.name, node, route.value)
        self.complaints.failed(node, route.value, why)

    async def start_run(self, run: Run) -> Run:
        """Put the begin of a run on record."""
        self.runs[run.run] = run
        await self.append(run.start_event(self.instance))
        return run

    async def end_run(self, run: Run) -> None:
        """Put its end on record."""
        del self.runs[run.run]
        await self.database(self.source_store.end_runs, run.end_event(self.now()))

    async def rotation(self) -> Run:
        """The run of what is looked at in turn and out of turn."""
        if self._rotation is None:
            self._rotation = Run.new("rotation", self.now())
            await self.start_run(self._rotation)
        return self._rotation

    async def rotate(self, *, over: bool = False) -> None:
        """End that run when its time is over and its last polls are counted; when leading ends, as it stands."""
        run = self._rotation
        if run is not None and (over or self.seconds() - run.began >= ROTATION_SECONDS):
            self._rotation = None
            self._ending.append(run)
        for run in [run for run in self._ending if over or not run.under_way]:
            self._ending.remove(run)
            await self.end_run(run)

"""Reconciliation as a part of the service: this instance leads or waits to; where that fails, it begins again."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from ledger.domain.instants import from_datetime
from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.ingest import overrides
from ledger.reconcile.count_signs import Checks, CountSigns
from ledger.reconcile.counters import ReconcileCounters
from ledger.reconcile.follower import AgendaFollower
from ledger.reconcile.guarded import MAX_RETRY_DELAY_SECONDS, RETRY_DELAY_SECONDS, Begun, Guarded
from ledger.reconcile.leader_context import LeaderContext, Spawn
from ledger.reconcile.leadership import Leadership
from ledger.reconcile.reconciler import Reconciler
from ledger.reconcile.runs import Run
from ledger.reconcile.source_store import SourceStore
from ledger.repeated_logs import LoggedOutage
from ledger.sources.wukongim.budget import Budget
from ledger.sources.wukongim.client import QueryClient
from ledger.sources.wukongim.query_node import QueryNode
from ledger.store.ledger import Ledger, translated
from ledger.working_state import node_health, runs
from ledger.working_state.sources import SourceUnreadable

log = structlog.get_logger()

TICK_SECONDS = 0.2
HEALTH_SECONDS = 1.0
WAIT_SECONDS = 1.0
"""Between two attempts to lead; another instance takes over so much later at most, once a lock is free."""

STOP_SECONDS = 5.0
"""For what is under way, and again for giving up the lead: an append may wait for the commit lock for far longer."""

FOLLOW_PAGES = 20
"""Of the ledger, between two looks at what is due and at the lock: some seconds, however far behind the agenda is."""


class Reconciliation:
    """Every source of the settings. `nodes` are those with their query APIs, by source."""

    def __init__(
        self,
        ledger: Ledger,
        database_url: str,
        instance: str,
        now: Callable[[], Instant],
        nodes: Mapping[str, Sequence[QueryNode]],
        registry: CollectorRegistry,
        drift_window_seconds: float = 600.0,
    ) -> None:
        self._ledger = ledger
        self._leadership = Leadership(database_url)
        self._instance = instance
        self._now = now
        self._nodes = nodes
        self._drift_window_seconds = drift_window_seconds
        self._counters = ReconcileCounters(
            registry, {source: [node.name for node in its] for source, its in nodes.items()}
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reconcile")
        self._stopping = asyncio.Event()
        self._has_changed = False
        self._task: asyncio.Task[None] | None = None
        self._sources: dict[str, Guarded] = {}
        self._again_seconds = RETRY_DELAY_SECONDS
        self._interrupted = LoggedOutage("reconciliation_interrupted", "reconciliation_goes_on")
        self._leads = False
        self._complaint = ""
        """What was said last of a stream that cannot be read."""
        self.waits: Callable[[], bool] = lambda: False
        """Whether a look would be held against what is older than what waits in the spool. The service sets it."""

    @property
    def trouble(self) -> str | None:
        """Why this instance can neither lead nor see that another does; None where it can, or does not want to."""
        return None if self.waits() else self._leadership.trouble

    @property
    def leads(self) -> bool:
        """Whether this instance reconciles now."""
        return self._leads

    def start(self) -> None:
        """Begin to lead, or to wait for it."""
        self._task = asyncio.create_task(self._run(), name="reconciliation")

    def change(self, nodes: Mapping[str, Sequence[QueryNode]], drift_window_seconds: float) -> None:
        """Go on with these: what is under way ends in order, and begins anew without another instance in between."""
        self._nodes, self._drift_window_seconds = nodes, drift_window_seconds
        self._counters.know({source: [node.name for node in its] for source, its in nodes.items()})
        self._has_changed = True

    async def stop(self) -> None:
        """End in order, and let another instance lead; what takes too long is for that one to do again."""
        self._stopping.set()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
        # The lead ends with its session, whatever that waits for.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._in_thread(self._leadership.give_up), STOP_SECONDS)
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(_translated, function, *args))

    async def _run(self) -> None:
        while not self._stopping.is_set():
            again_seconds = RETRY_DELAY_SECONDS
            try:
                if self.waits():
                    await self._in_thread(self._leadership.give_up)
                    await self._pause(TICK_SECONDS)
                elif await self._in_thread(self._leadership.take):
                    await self._lead()
                else:
                    self._interrupted.succeeded()
                    await self._pause(WAIT_SECONDS)
                continue
            except* StoreUnavailable as errors:
                self._interrupted.failed(str(errors.exceptions[0]))
            except* SourceUnreadable as errors:
                # Without the lead: an instance of the version that can read the stream may have it.
                again_seconds = self._back_off(str(errors.exceptions[0]))
            except* Exception as errors:  # a defect must be seen, and must not end reconciliation for good
                log.exception("reconciliation_failed", exc_info=errors)
            await self._in_thread(self._leadership.give_up)
            await self._pause(again_seconds)

    def _back_off(self, reason: str) -> float:
        """Seconds until a stream that cannot be read is tried again; said once of each event that is in the way."""
        if reason != self._complaint:
            self._complaint = reason
            log.error("reconciliation_waits", reason=reason)
        seconds = self._again_seconds
        self._again_seconds = min(2 * seconds, MAX_RETRY_DELAY_SECONDS)
        return seconds

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _lead(self) -> None:
        """Lead until the lock is lost, PostgreSQL is away, or the service stops."""
        self._has_changed = False
        try:
            async with asyncio.TaskGroup() as tasks:
                follower = await self._in_thread(AgendaFollower, self._ledger, self._nodes, CountSigns(self._counts))
                for name, nodes in self._nodes.items():
                    begun = partial(self._begun, name, nodes, partial(follower.forget, name))
                    source = Guarded(name, begun, tasks, time.monotonic)
                    await source.prepare()
                    self._sources[name] = source
                log.info("leads", instance=self._instance)
                self._leads = True
                self._counters.leads.set(1)
                self._again_seconds = RETRY_DELAY_SECONDS
                for source in self._sources.values():
                    await source.begin()
                await self._reconcile(follower)
                await self._end(tasks)
        except* _Over:
            pass
        finally:
            self._leads = False
            self._counters.leads.set(0)
            left = list(self._sources.values())
            self._sources.clear()
            for source in left:
                await source.close()

    async def _begun(
        self, name: str, nodes: Sequence[QueryNode], forget: Callable[[Iterable[str]], None], spawn: Spawn
    ) -> Begun:
        """A source as the ledger has it now, with new clients of its nodes."""
        source_store = await self._in_thread(SourceStore, self._ledger, name, self._now, time.monotonic, forget)
        clients = {node.name: self._client(node, source_store) for node in nodes if node.api_url}
        context = LeaderContext(
            source_store, clients, self._instance, self._now, time.monotonic, self._in_thread, spawn, self._counters
        )
        last_alive_at = await self._in_thread(self._last_sign_at, source_store)

        async def close() -> None:
            for client in clients.values():
                await client.close()

        return Begun(context, Reconciler(context, last_alive_at, self._drift_window_seconds), close)

    def _client(self, node: QueryNode, source_store: SourceStore) -> QueryClient:
        policy = source_store.source.policy
        return QueryClient(node, Budget(policy.budget_calls, policy.budget_users, burst_seconds=0.25), self._now)

    async def _reconcile(self, follower: AgendaFollower) -> None:
        noted = time.monotonic()
        while not (self._stopping.is_set() or self._has_changed):
            began = time.monotonic()
            for _ in range(FOLLOW_PAGES):
                if not await self._in_thread(self._follow, follower):
                    break
            if not self.waits():
                for source in self._sources.values():
                    await source.tick()
            if time.monotonic() - noted >= HEALTH_SECONDS:
                noted = time.monotonic()
                if not await self._in_thread(self._leadership.still_holds):
                    raise StoreUnavailable("the lock of the leading instance is lost")
                await self._in_thread(self._note_health, self._progress())
                await self._in_thread(overrides.end_those_over, self._ledger, self._now)
                self._interrupted.succeeded()
            await self._pause(max(0.0, began + TICK_SECONDS - time.monotonic()))

    def _counts(self) -> Checks:
        return {name: source.context.counts for name, source in self._sources.items()}

    def _follow(self, follower: AgendaFollower) -> bool:
        more = follower.follow({name: source.context.source for name, source in self._sources.items()})
        for source in self._sources.values():
            source.context.source_store.follow()
        return more

    async def _end(self, tasks: asyncio.TaskGroup) -> None:
        """What is left unfinished is for the next leading instance to close."""
        for source in self._sources.values():
            await source.end()
        await self._in_thread(self._note_health, self._progress())

        async def over() -> None:
            raise _Over

        tasks.create_task(over())

    def _progress(self) -> list[tuple[str, Run]]:
        """The runs under way by source, taken down in the event loop, where they begin and end."""
        working = [source for source in self._sources.values() if source.reconciler is not None]
        return [(source.name, run) for source in working for run in source.context.runs.values()]

    def _note_health(self, progress: Sequence[tuple[str, Run]]) -> None:
        with self._ledger.connection() as connection, connection.transaction():
            cursor = connection.cursor()
            for name, source in self._sources.items():
                # Of one that waits to start again nothing is noted, so that it shows as one that nobody reconciles.
                if (reconciler := source.reconciler) is not None:
                    node_health.write(cursor, name, reconciler.health())
            for name, run in progress:
                runs.note(cursor, run.run, name, run.counts, run.users)

    def _last_sign_at(self, source_store: SourceStore) -> Instant | None:
        """The last instant at which the source was heard or answered, before this instance led."""
        with self._ledger.connection() as connection:
            health = node_health.of_source(connection, source_store.name).get("", {})
        polled = health.get("last_good_poll_at")
        liveness = [
            source_store.source.last_webhook_at,
            None if polled is None else from_datetime(datetime.fromisoformat(polled)),
        ]
        return max((at for at in liveness if at is not None), default=None)


def _translated(function: Callable[..., Any], *args: Any) -> Any:
    """What a function gives; that PostgreSQL is away is StoreUnavailable, wherever it shows."""
    with translated():
        return function(*args)


class _Over(Exception):
    """Leading has ended in order."""

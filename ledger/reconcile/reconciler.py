"""One source's live reconciliation: probes, looks in and out of turn, full scans of all connections, sweeps, runs.

Questions are asked in the event loop; whatever they come to is judged and stored in the thread of
`LeaderContext.database`.
"""

import asyncio
from typing import Any

import structlog

from ledger.domain.instants import to_text
from ledger.domain.look import RETURN_SECONDS, Watch
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import NodeBooted, NodeDown, NodeSettled, RunCounts
from ledger.reconcile import plan
from ledger.reconcile.full_scan import SCAN_USERS, FullScan
from ledger.reconcile.leader_context import LeaderContext
from ledger.reconcile.liveness import SourceLiveness
from ledger.reconcile.probes import PROBE_SECONDS, NodeProbe
from ledger.reconcile.recent_looks import RecentLooks
from ledger.reconcile.row_poller import RowPoller
from ledger.reconcile.runs import Run
from ledger.sources.wukongim.answers import Boot

log = structlog.get_logger()

STEP_SECONDS = 1.0
"""The machine's clock was set if it went so much further than the monotonic one between two probes."""

PROBE = "probe"
"""In the place of a route, where the log says why a node's probes fail."""


class Reconciler:
    """One source while this instance leads. `last_alive_at` is when it was last heard, before that."""

    def __init__(
        self, context: LeaderContext, last_alive_at: Instant | None, drift_window_seconds: float = 600.0
    ) -> None:
        self._context = context
        self._recent = RecentLooks(drift_window_seconds, context.seconds)
        context.on_judged.append(lambda verdicts: self._recent.judged(verdicts, context.source))
        self._liveness = SourceLiveness(context, last_alive_at)
        self._full_scan = FullScan(context, self._liveness)
        self._row_poller = RowPoller(context, self._liveness, self._full_scan.want)
        self._probes = {name: NodeProbe(name) for name in context.clients}
        self._offsets: dict[str, int] = {}
        """Our clock less the monotonic one, microseconds, when a node's last probe was asked."""
        self._met = {name: asyncio.Event() for name in context.clients}
        """Set once a node's first probe has come to something."""
        self._requested: set[str] = set()
        self._sweeping: set[str] = set()

    async def begin(self) -> None:
        """Take the source over: close what the last leading instance left open, and look at everybody."""
        context = self._context
        left = {run: opened for run, opened in context.source.open_runs.items() if opened.scope != "manual"}
        if left:
            counts = await context.database(context.source_store.noted_counts)
            runs = [
                Run(run, opened.scope, opened.started_at, opened.node, counts=counts.get(run, RunCounts()))
                for run, opened in left.items()
            ]
            ended = [run.end_event(context.now(), "interrupted") for run in runs]
            await context.database(context.source_store.end_runs, *ended)
        if silent := sorted(context.source.node_profiles.keys() - context.clients.keys()):
            log.info("not_reconciled", source=context.name, nodes=silent, reason="no api_url in the settings")
        for name in context.clients:
            context.spawn(self._probe_on(name))
        if context.clients:
            context.spawn(self._first_run())

    async def tick(self) -> None:
        """Do what is due now."""
        await self._liveness.tick()
        self._take_up_requests()
        self._sweep_what_is_left()
        if not self._context.clients:
            return
        self._keep_budgets()
        await self._context.rotate()
        route = self._context.route()
        if route is plan.CONNECTIONS:
            await self._scan_where_due()
        elif route is plan.ROWS and not self._full_scan.under_way:
            await self._row_poller.ask_due(self._full_scan.instead_of)
        self._full_scan.tick()

    async def _scan_where_due(self) -> None:
        """Where only `/connz` is believed: at once for users who are out of turn or may be back after a boot, else
        at the bound of a vip."""
        context = self._context
        if not self._full_scan.may_begin(plan.SCAN_SECONDS):
            return
        lost_at, due = context.source.lost_node_at, await context.database(context.source_store.due_counts)
        is_fresh = lost_at is not None and context.now() - lost_at < round(RETURN_SECONDS * SECOND)
        if due.urgent or (due.everybody and (is_fresh or self._full_scan.may_begin(context.vip_seconds))):
            self._full_scan.want()

    def _keep_budgets(self) -> None:
        """Another instance may have brought a newer policy."""
        policy = self._context.source.policy
        for client in self._context.clients.values():
            budget = client.budget
            if (budget.calls_a_second, budget.users_a_second) != (policy.budget_calls, policy.budget_users):
                budget.change(policy.budget_calls, policy.budget_users)

    async def end(self) -> None:
        """An orderly stop: the looks in turn are complete as far as they went."""
        await self._context.rotate(over=True)

    def health(self) -> dict[str, dict[str, Any]]:
        """What is known of the nodes' query APIs, JSON-ready; under "" of the source."""
        health = self._liveness.health()
        health[""]["looks"] = self._looks()
        health[""]["recent"] = self._recent.told()
        health[""]["looks_due"] = self._context.source_store.due_counts().everybody
        return health

    def _looks(self) -> dict[str, Any]:
        """How users are looked at, why so, and what it costs; JSON-ready."""
        context = self._context
        route = context.route()
        return {
            "route": route.value if isinstance(route, plan.LookRoute) else None,
            "because": plan.in_words(context.source, route, names=context.names_answer, can_scan=context.can_scan),
            "all_connections": self._full_scan.told() if context.can_scan else None,
        }

    # Probes.

    async def _probe_on(self, name: str) -> None:
        """Probe a node once a second."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._probe(name)
            due = max(due + PROBE_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _probe(self, name: str) -> None:
        context = self._context
        if name not in context.source.node_profiles:
            # Retired by the settings of a newer instance: what becomes of it is no news of the source.
            self._met[name].set()
            return
        asked_at = context.now()
        stepped = self._has_stepped(name, asked_at)
        answer = await context.clients[name].probe()
        state = context.source.nodes.get(name, NodeState())
        probe = self._probes[name]
        if isinstance(answer, Boot):
            context.complaints.answered(name, PROBE)
            await self._liveness.polled()
            route = "/metrics" if answer.node_id is None else "/varz"
            events = probe.answered(answer, asked_at, context.now(), state, route, stepped=stepped)
        else:
            events = probe.failed(answer, asked_at, context.now(), state)
            context.complaints.failed(name, PROBE, answer)
            if answer.refused and state.down_since is None and context.needs_connections:
                # It may be gone: who is connected to the others is known the sooner.
                self._full_scan.start_soon(without=name)
        if events:
            await context.append(*events)
        self._met[name].set()
        for event in events:
            self._react(event)

    def _has_stepped(self, name: str, asked_at: Instant) -> bool:
        """Whether our clock was set since the node's last probe."""
        offset = asked_at - round(self._context.seconds() * SECOND)
        before = self._offsets.get(name, offset)
        self._offsets[name] = offset
        return abs(offset - before) > STEP_SECONDS * SECOND

    def _react(self, event: NodeDown | NodeBooted | NodeSettled) -> None:
        name = self._context.name
        for counts in list(self._context.counts.values()):
            counts.forget()
        self._context.source_store.strangers.forget()
        if isinstance(event, NodeDown):
            log.warning("node_down", source=name, node=event.node, reason=event.reason)
            return
        for client in self._context.clients.values():
            # What made their calls fail is over.
            client.close_breaker()
        if isinstance(event, NodeBooted) and not event.first:
            log.warning("node_booted", source=name, node=event.node, latest=to_text(event.latest))

    # Sweeps.

    def _sweep_what_is_left(self) -> None:
        """Boots and retirements whose sweep has not been done, by this leading instance or an earlier one."""
        source = self._context.source
        booted = {name for name, node in source.nodes.items() if not node.swept}
        for name in (booted | source.retired.keys()) - self._sweeping:
            self._sweeping.add(name)
            self._context.spawn(self._sweep(name, retired=name in source.retired))

    async def _sweep(self, name: str, *, retired: bool) -> None:
        context = self._context
        run = await context.start_run(Run.new("retired" if retired else "restart", context.now(), name))
        after: str | None = ""
        while after is not None:
            after, swept = await context.database(
                context.source_store.sweep_page, name, run.run, after, retired, context.can_scan
            )
            run.swept(swept)
            context.counters.swept(context.name, name, swept)
            if not retired:
                self._recent.swept(name, swept, context.source)
        if retired or not context.needs_connections:
            await context.append(NodeSettled(node=name, at=context.now(), booted=not retired))
        if not retired and context.can_scan:
            await self._full_scan.make(run)
            while (node := context.source.nodes.get(name)) is not None and not node.swept:
                await asyncio.sleep(plan.SCAN_SECONDS)
                await self._full_scan.make(run)
            context.spawn(self._scan_once_more())
        await context.end_run(run)
        self._sweeping.discard(name)

    async def _scan_once_more(self) -> None:
        """When most clients have come back: those who were never heard of are found by `/connz` alone."""
        await asyncio.sleep(RETURN_SECONDS)
        if self._context.can_scan:
            await self._full_scan.make(await self._context.rotation())

    # Runs over everybody, and those that somebody asked for.

    async def _first_run(self) -> None:
        """Everybody we hold online, and everybody else whom the nodes can name, once this instance leads."""
        await asyncio.gather(*(met.wait() for met in self._met.values()))
        run = await self._context.start_run(Run.new("start", self._context.now()))
        if self._context.can_scan:
            await self._full_scan.make(run)
        else:
            await self._row_poller.ask_pages(run, self._online_page)
        await self._context.end_run(run)

    async def _online_page(self, after: str) -> dict[str, Watch]:
        source_store = self._context.source_store
        page = await self._context.database(source_store.online_after, after, SCAN_USERS)
        watches: dict[str, Watch] = await self._context.database(source_store.watches_for, page)
        return watches

    async def _known_page(self, after: str) -> dict[str, Watch]:
        watches: dict[str, Watch] = await self._context.database(
            self._context.source_store.known_after, after, SCAN_USERS
        )
        return watches

    def _take_up_requests(self) -> None:
        for run, opened in self._context.source.open_runs.items():
            if opened.scope == "manual" and run not in self._requested:
                self._requested.add(run)
                self._context.spawn(self._requested_run(run, opened))

    async def _requested_run(self, name: str, opened: OpenRun) -> None:
        context = self._context
        run = Run(name, "manual", opened.started_at, users=len(opened.uids) or None)
        context.runs[name] = run
        if not context.clients:
            run.failed("", "no node of the source has an api_url", len(opened.uids))
        elif opened.uids and (not context.can_scan or (context.route() is plan.ROWS and context.source.absence_tells)):
            await self._row_poller.ask_all(run, await context.database(context.source_store.watches_for, opened.uids))
        elif context.can_scan:
            await self._full_scan.make(run, only=opened.uids)
        else:
            await self._row_poller.ask_pages(run, self._known_page)
        await context.end_run(run)
        self._requested.discard(name)

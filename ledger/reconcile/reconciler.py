"""One source's live reconciliation: probes, looks in and out of turn, passes over all connections, sweeps, runs.

Questions are asked in the event loop; whatever they come to is judged and stored in the thread of `Term.database`.
"""

import asyncio
from typing import Any

import structlog

from ledger.domain.instants import to_text
from ledger.domain.look import RETURN_SECONDS, Watch
from ledger.domain.nodes import NodeState, OpenRun
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciled import NodeBooted, NodeDown, NodeSettled, RunCounts, RunEnded
from ledger.reconcile import plan
from ledger.reconcile.asking import Asking
from ledger.reconcile.passing import PASS_SECONDS, PASS_USERS, Passing
from ledger.reconcile.probes import PROBE_SECONDS, NodeProbe
from ledger.reconcile.runs import Run
from ledger.reconcile.signs import Signs
from ledger.reconcile.term import Term
from ledger.sources.wukongim.answers import Boot

log = structlog.get_logger()

STEP_SECONDS = 1.0
"""The machine's clock was set if it went so much further than the monotonic one between two probes."""

PROBE = "probe"
"""In the place of a route, where the log says why a node's probes fail."""


class Reconciler:
    """One source while this instance leads. `last_sign_at` is when it was last heard, before that."""

    def __init__(self, term: Term, last_sign_at: Instant | None) -> None:
        self._term = term
        self._signs = Signs(term, last_sign_at)
        self._passing = Passing(term, self._signs)
        self._asking = Asking(term, self._signs, self._passing.want)
        self._probes = {name: NodeProbe(name) for name in term.clients}
        self._offsets: dict[str, int] = {}
        """Our clock less the monotonic one, microseconds, when a node's last probe was asked."""
        self._met = {name: asyncio.Event() for name in term.clients}
        """Set once a node's first probe has come to something."""
        self._requested: set[str] = set()
        self._sweeping: set[str] = set()

    async def begin(self) -> None:
        """Take the source over: close what the last leading instance left open, and look at everybody."""
        term = self._term
        left = {run: opened for run, opened in term.source.open_runs.items() if opened.scope != "manual"}
        if left:
            counts = await term.database(term.desk.noted_counts)
            ended = [
                _interrupted(run, opened, counts.get(run, RunCounts()), term.now()) for run, opened in left.items()
            ]
            await term.database(term.desk.end_runs, *ended)
        if silent := sorted(term.source.node_profiles.keys() - term.clients.keys()):
            log.info("not_reconciled", source=term.name, nodes=silent, reason="no api_url in the settings")
        for name in term.clients:
            term.spawn(self._probe_on(name))
        if term.clients:
            term.spawn(self._first_run())

    async def tick(self) -> None:
        """Do what is due now."""
        await self._signs.tick()
        self._take_up_requests()
        self._sweep_what_is_left()
        if not self._term.clients:
            return
        self._keep_budgets()
        await self._term.rotate()
        route = self._term.route()
        if route is plan.CONNECTIONS:
            await self._pass_where_due()
        elif route is plan.ROWS and not self._passing.under_way:
            await self._asking.ask_due(self._passing.instead_of)
        self._passing.tick()

    async def _pass_where_due(self) -> None:
        """Where only `/connz` is believed: at once for whoever is out of turn or may be back after a boot, else at the
        bound of a vip."""
        term = self._term
        if not self._passing.may_begin(PASS_SECONDS):
            return
        lost_at, due = term.source.lost_node_at, await term.database(term.desk.due_counts)
        is_fresh = lost_at is not None and term.now() - lost_at < round(RETURN_SECONDS * SECOND)
        if due.urgent or (due.everybody and (is_fresh or self._passing.may_begin(term.vip_seconds))):
            self._passing.want()

    def _keep_budgets(self) -> None:
        """Another instance may have brought a newer policy."""
        policy = self._term.source.policy
        for client in self._term.clients.values():
            budget = client.budget
            if (budget.calls_a_second, budget.users_a_second) != (policy.budget_calls, policy.budget_users):
                budget.change(policy.budget_calls, policy.budget_users)

    async def end(self) -> None:
        """An orderly stop: the looks in turn are complete as far as they went."""
        await self._term.rotate(over=True)

    def health(self) -> dict[str, dict[str, Any]]:
        """What is known of the nodes' query APIs, JSON-ready; under "" of the source. Sets the gauges, too."""
        term, health = self._term, self._signs.health()
        health[""]["looks"] = self._looks()
        source = term.source
        term.counters.state(
            term.name,
            breaker_open=source.breaker_until is not None,
            dark=source.dark_since is not None,
            down=sum(node.down_since is not None for node in source.nodes.values()),
            silent=health[""]["webhooks_silent"],
            due=term.desk.due_counts().everybody,
        )
        return health

    def _looks(self) -> dict[str, Any]:
        """How users are looked at, why so, and what it costs; JSON-ready."""
        term = self._term
        route = term.route()
        return {
            "route": route.value if isinstance(route, plan.Route) else None,
            "because": plan.in_words(term.source, route, names=term.names_answer, can_pass=term.can_pass),
            "all_connections": self._passing.told() if term.can_pass else None,
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
        term = self._term
        if name not in term.source.node_profiles:
            # Retired by the settings of a newer instance: what becomes of it is no news of the source.
            self._met[name].set()
            return
        asked_at = term.now()
        stepped = self._has_stepped(name, asked_at)
        answer = await term.clients[name].probe()
        state = term.source.nodes.get(name, NodeState())
        probe = self._probes[name]
        if isinstance(answer, Boot):
            term.complaints.answered(name, PROBE)
            await self._signs.polled()
            route = "/metrics" if answer.node_id is None else "/varz"
            events = probe.answered(answer, asked_at, term.now(), state, route, stepped=stepped)
        else:
            events = probe.failed(answer, asked_at, term.now(), state)
            term.complaints.failed(name, PROBE, answer)
            if answer.refused and state.down_since is None and term.needs_connections:
                # It may be gone: who is connected to the others is known the sooner.
                self._passing.make_soon(without=name)
        if events:
            await term.append(*events)
        self._met[name].set()
        for event in events:
            self._react(event)

    def _has_stepped(self, name: str, asked_at: Instant) -> bool:
        """Whether our clock was set since the node's last probe."""
        offset = asked_at - round(self._term.seconds() * SECOND)
        before = self._offsets.get(name, offset)
        self._offsets[name] = offset
        return abs(offset - before) > STEP_SECONDS * SECOND

    def _react(self, event: NodeDown | NodeBooted | NodeSettled) -> None:
        name = self._term.name
        for counts in list(self._term.counts.values()):
            counts.forget()
        if isinstance(event, NodeDown):
            log.warning("node_down", source=name, node=event.node, reason=event.reason)
            return
        for client in self._term.clients.values():
            # What made their calls fail is over.
            client.close_breaker()
        if isinstance(event, NodeBooted) and not event.first:
            log.warning("node_booted", source=name, node=event.node, latest=to_text(event.latest))

    # Sweeps.

    def _sweep_what_is_left(self) -> None:
        """Boots and retirements whose sweep has not been done, in this term or an earlier one."""
        source = self._term.source
        booted = {name for name, node in source.nodes.items() if not node.swept}
        for name in (booted | source.retired.keys()) - self._sweeping:
            self._sweeping.add(name)
            self._term.spawn(self._sweep(name, retired=name in source.retired))

    async def _sweep(self, name: str, *, retired: bool) -> None:
        term = self._term
        run = await term.start_run(Run.new("retired" if retired else "restart", term.now(), name))
        after: str | None = ""
        while after is not None:
            after, swept = await term.database(term.desk.sweep_page, name, run.run, after, retired, term.can_pass)
            run.swept(swept)
            term.counters.swept(term.name, name, swept)
        if retired or not term.needs_connections:
            await term.append(NodeSettled(node=name, at=term.now(), booted=not retired))
        if not retired and term.can_pass:
            await self._passing.make(run)
            while (node := term.source.nodes.get(name)) is not None and not node.swept:
                await asyncio.sleep(PASS_SECONDS)
                await self._passing.make(run)
            term.spawn(self._pass_once_more())
        await term.end_run(run)
        self._sweeping.discard(name)

    async def _pass_once_more(self) -> None:
        """When most clients have come back: whoever among them was never heard of is found by `/connz` alone."""
        await asyncio.sleep(RETURN_SECONDS)
        if self._term.can_pass:
            await self._passing.make(await self._term.rotation())

    # Runs over everybody, and those that somebody asked for.

    async def _first_run(self) -> None:
        """Everybody we hold online, and whoever the nodes can name besides, once this instance leads."""
        await asyncio.gather(*(met.wait() for met in self._met.values()))
        run = await self._term.start_run(Run.new("start", self._term.now()))
        if self._term.can_pass:
            await self._passing.make(run)
        else:
            await self._asking.ask_pages(run, self._online_page)
        await self._term.end_run(run)

    async def _online_page(self, after: str) -> dict[str, Watch]:
        desk = self._term.desk
        page = await self._term.database(desk.online_after, after, PASS_USERS)
        watches: dict[str, Watch] = await self._term.database(desk.watches_of, page)
        return watches

    async def _known_page(self, after: str) -> dict[str, Watch]:
        watches: dict[str, Watch] = await self._term.database(self._term.desk.known_after, after, PASS_USERS)
        return watches

    def _take_up_requests(self) -> None:
        for run, opened in self._term.source.open_runs.items():
            if opened.scope == "manual" and run not in self._requested:
                self._requested.add(run)
                self._term.spawn(self._requested_run(run, opened))

    async def _requested_run(self, name: str, opened: OpenRun) -> None:
        term = self._term
        run = Run(name, "manual", opened.started_at, users=len(opened.uids) or None)
        term.runs[name] = run
        if not term.clients:
            run.failed("", "no node of the source has an api_url", len(opened.uids))
        elif opened.uids and (not term.can_pass or (term.route() is plan.ROWS and term.source.absence_tells)):
            await self._asking.ask_all(run, await term.database(term.desk.watches_of, opened.uids))
        elif term.can_pass:
            await self._passing.make(run, only=opened.uids)
        else:
            await self._asking.ask_pages(run, self._known_page)
        await term.end_run(run)
        self._requested.discard(name)


def _interrupted(run: str, opened: OpenRun, counts: RunCounts, at: Instant) -> RunEnded:
    """The end of a run whose instance leads no longer, with what it was last noted to have come to."""
    return RunEnded(
        run=run,
        at=at,
        started_at=opened.started_at,
        scope=opened.scope,
        outcome="interrupted",
        counts=counts,
        node=opened.node,
    )

"""One source's live reconciliation: probes, looks in and out of turn, passes over all connections, sweeps, runs.

Questions are asked in the event loop; whatever they come to is judged and stored in the thread of `Database`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog
from msgspec.structs import asdict

from ledger.domain.drift import Poll
from ledger.domain.instants import to_text
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciled import (
    BreakerClosed,
    NodeBooted,
    NodeDown,
    NodeSettled,
    RunCounts,
    RunEnded,
    SourceDark,
    SourceLit,
)
from ledger.domain.source import NodeState, OpenRun, SourceState
from ledger.reconcile import plan
from ledger.reconcile.desk import Desk
from ledger.reconcile.probes import PROBE_SECONDS, NodeProbe
from ledger.reconcile.requests import new_run
from ledger.reconcile.runs import Run
from ledger.sources.wukongim.answers import Boot, Connections, OnlineRows, Unanswered
from ledger.sources.wukongim.client import QueryClient

log = structlog.get_logger()

ROTATION_SECONDS = 60.0
"""A run of looks in turn; each leaves two events."""

PASS_SECONDS = 5.0
"""Passes over all connections follow each other no sooner, but for those that a boot or somebody asks for."""

CONNECTIONS_FROM = 5_000
"""With more users due, one `/connz` of each node is cheaper than asking about them by name."""

PASS_USERS = 2_000
"""Users of a pass that are judged at a time."""

CALLS_AT_A_TIME = 4
"""To one node."""

FIRST_AGAIN_SECONDS, LONGEST_AGAIN_SECONDS = 4.0, 60.0
"""After a look that failed, doubling with each failure in a row."""

STEP_SECONDS = 1.0
"""The machine's clock was set if it went so much further than the monotonic one between two probes."""

T = TypeVar("T")

Database = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in the thread that may wait for PostgreSQL."""


class Reconciler:
    """One source while this instance leads. `spawn` starts a task whose failure ends the term of leading."""

    def __init__(
        self,
        desk: Desk,
        clients: Mapping[str, QueryClient],
        instance: str,
        now: Callable[[], Instant],
        seconds: Callable[[], float],
        database: Database,
        spawn: Callable[[Any], asyncio.Task[Any]],
    ) -> None:
        self.desk = desk
        self.clients = clients
        self._instance = instance
        self._now, self._seconds = now, seconds
        self._database, self._spawn = database, spawn
        self._probes = {name: NodeProbe(name) for name in clients}
        self._in_flight: set[str] = set()
        self._calls: dict[str, int] = dict.fromkeys(clients, 0)
        self._rotation: Run | None = None
        self.runs: dict[str, Run] = {}
        """All under way, by id."""
        self._requested: set[str] = set()
        self._sweeping: set[str] = set()
        self._passing = False
        self._passed_at = float("-inf")
        self._failures = 0
        self._offset: int | None = None
        """Our clock less the monotonic one, microseconds, when the last probe was asked."""
        self._breaker_ends: float | None = None
        self._last_sign = seconds()
        self._last_webhook_at = desk.source.last_webhook_at
        self._last_good_poll_at: Instant | None = None
        self._webhook_interval: float | None = None
        self._booted_at_lead = dict.fromkeys(clients, 0)

    @property
    def source(self) -> SourceState:
        """The source as of the last event that we know of."""
        return self.desk.source

    # The term.

    async def begin(self, last_sign_at: Instant | None) -> None:
        """Take the source over: close what the last leading instance left open, and look at everybody."""
        if last_sign_at is not None:
            self._last_sign = self._seconds() - max(0, self._now() - last_sign_at) / SECOND
        left = {run: opened for run, opened in self.source.open_runs.items() if opened.scope != "manual"}
        if left:
            await self._database(self.desk.append, *(_interrupted(run, o, self._now()) for run, o in left.items()))
        for name in self.clients:
            self._spawn(self._probe_on(name))
        if self.clients:
            self._spawn(self._first_run())

    async def tick(self) -> None:
        """What is due now: at most a fifth of a second's worth of questions."""
        await self._note_webhooks()
        await self._close_breaker()
        await self._note_darkness()
        self._take_up_requests()
        self._sweep_what_is_left()
        if not self.clients:
            return
        await self._rotate()
        route = plan.route_for(self.source, self._now(), self.clients.keys())
        if route is plan.CONNECTIONS:
            due = await self._database(self.desk.due_counts)
            if due.everybody and self._may_pass():
                self._start_pass()
        elif route is plan.ROWS and not self._passing:
            await self._ask_who_is_due()

    # Signs of life and darkness.

    async def _note_webhooks(self) -> None:
        at = self.source.last_webhook_at
        if at is None or at == self._last_webhook_at:
            return
        if self._last_webhook_at is not None:
            interval = (at - self._last_webhook_at) / SECOND
            known = self._webhook_interval
            self._webhook_interval = interval if known is None else 0.9 * known + 0.1 * interval
        self._last_webhook_at = at
        await self._sign("webhook")

    async def _sign(self, by: str) -> None:
        """The source spoke."""
        self._last_sign = self._seconds()
        if by == "poll":
            self._last_good_poll_at = self._now()
        if self.source.dark_since is not None:
            await self._database(self.desk.append, SourceLit(at=self._now(), by="poll" if by == "poll" else "webhook"))

    async def _note_darkness(self) -> None:
        silent = self._seconds() - self._last_sign
        dark = self.source.policy.dark_seconds
        if dark and silent >= dark and self.source.dark_since is None:
            now = self._now()
            log.warning("source_dark", source=self.desk.name, silent_seconds=round(silent))
            await self._database(self.desk.append, SourceDark(at=now, since=now - round(silent * SECOND)))

    async def _close_breaker(self) -> None:
        until = self.source.breaker_until
        if until is None:
            self._breaker_ends = None
            return
        if self._breaker_ends is None:
            held = min(self.source.policy.breaker_hold_seconds, max(0.0, (until - self._now()) / SECOND))
            self._breaker_ends = self._seconds() + held
            log.warning("breaker_open", source=self.desk.name, until=to_text(until))
        if self._seconds() >= self._breaker_ends:
            self.desk.breaker.reset()
            await self._database(self.desk.append, BreakerClosed(at=self._now()))
            log.info("breaker_closed", source=self.desk.name)

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
        asked_at = self._now()
        stepped = self._has_stepped(asked_at)
        answer = await self.clients[name].probe()
        at = self._now()
        state = self.source.nodes.get(name, NodeState())
        probe = self._probes[name]
        if isinstance(answer, Boot):
            await self._sign("poll")
            route = "/metrics" if answer.node_id is None else "/varz"
            events = probe.answered(answer, asked_at, at, state, route, stepped=stepped)
        else:
            events = probe.failed(answer, asked_at, at, state)
            if answer.refused and not events and self._needs_connections() and self._may_pass():
                # It may be gone: who is connected to the others is known the sooner.
                self._start_pass(without=name)
        for event in events:
            await self._database(self.desk.append, event)
            self._react(event)

    def _has_stepped(self, asked_at: Instant) -> bool:
        offset = asked_at - round(self._seconds() * SECOND)
        stepped = self._offset is not None and abs(offset - self._offset) > STEP_SECONDS * SECOND
        self._offset = offset
        return stepped

    def _react(self, event: NodeDown | NodeBooted | NodeSettled) -> None:
        if isinstance(event, NodeDown):
            log.warning("node_down", source=self.desk.name, node=event.node, reason=event.reason)
            if self._needs_connections() and self._may_pass():
                self._start_pass()
            return
        for client in self.clients.values():
            # What made their calls fail is over.
            client.close_breaker()
        if isinstance(event, NodeBooted) and not event.first:
            log.warning("node_booted", source=self.desk.name, node=event.node, latest=to_text(event.latest))

    def _needs_connections(self) -> bool:
        return plan.needs_connections(self.source, self.clients.keys())

    # Sweeps.

    def _sweep_what_is_left(self) -> None:
        """Boots and retirements whose sweep has not been done, this instance's or an earlier one's."""
        booted = {name for name, node in self.source.nodes.items() if not node.swept}
        for name in (booted | self.source.retired.keys()) - self._sweeping:
            self._sweeping.add(name)
            self._spawn(self._sweep(name, retired=name in self.source.retired))

    async def _sweep(self, name: str, *, retired: bool) -> None:
        run = await self._start_run(Run.new("retired" if retired else "restart", self._now(), name))
        after: str | None = ""
        while after is not None:
            after, swept = await self._database(self._sweep_page, name, run.run, after, retired)
            run.swept(swept)
        if not retired and self._needs_connections():
            await self._pass(run)
        if retired or not self._needs_connections():
            await self._settle(name, booted=not retired)
        self._sweeping.discard(name)
        await self._end_run(run)

    def _sweep_page(self, name: str, run: str, after: str, retired: bool) -> tuple[str | None, int]:
        return self.desk.sweep_page(name, run, after, retired=retired)

    async def _settle(self, name: str, *, booted: bool) -> None:
        await self._database(self.desk.append, NodeSettled(node=name, at=self._now(), booted=booted))

    # Looks by name.

    async def _ask_who_is_due(self) -> None:
        free = self._free_nodes()
        limit = sum(self._room(name) for name in free)
        if not limit:
            return
        taken = await self._database(self.desk.take_due, limit, self._in_flight)
        if not taken.watches:
            return
        run = await self._rotation_run()
        run.overdue(taken.overdue)
        if len(taken.watches) > CONNECTIONS_FROM and self._can_pass() and self._may_pass():
            self._start_pass()
            return
        waiting = list(taken.watches.items())
        for name in free:
            while waiting and self._room(name):
                size = self.clients[name].chunk_users
                chunk, waiting = dict(waiting[:size]), waiting[size:]
                self._begin_call(name, chunk)
                self._spawn(self._ask(name, chunk, taken.head, run))

    def _free_nodes(self) -> list[str]:
        """The nodes that can be asked now, whoever has most of its budget left first."""
        names = [
            n for n in plan.answering(self.source, self.clients.keys()) if self.clients[n].health.breaker != "open"
        ]
        return sorted(names, key=lambda name: -self.clients[name].budget.available().users)

    def _room(self, name: str) -> int:
        """Users that the node can be asked about at once."""
        client = self.clients[name]
        allowed = client.budget.available()
        calls = min(int(allowed.calls), CALLS_AT_A_TIME - self._calls[name])
        return max(0, min(int(allowed.users), calls * client.chunk_users))

    def _begin_call(self, name: str, watches: Mapping[str, Watch]) -> None:
        self._calls[name] += 1
        self._in_flight |= watches.keys()

    async def _ask(self, name: str, watches: dict[str, Watch], head: int, run: Run) -> None:
        asked_at = self._now()
        try:
            answer = await self.clients[name].online_status(list(watches))
            if isinstance(answer, OnlineRows):
                await self._sign("poll")
                self._failures = 0
                poll = Poll(new_run().replace("r-", "p-"), run.run, name, plan.ROWS.value, asked_at, self._now(), head)
                run.judged(await self._database(self.desk.judge_rows, poll, watches, answer.rows))
            else:
                await self._look_failed(name, answer, watches, run)
        finally:
            self._calls[name] -= 1
            self._in_flight -= watches.keys()

    async def _look_failed(self, name: str, why: Unanswered, watches: dict[str, Watch], run: Run) -> None:
        """It says nothing of anybody; they are asked about again, ever later."""
        run.failed(name, why.reason, len(watches))
        seconds = min(LONGEST_AGAIN_SECONDS, FIRST_AGAIN_SECONDS * 2 ** min(self._failures, 8))
        self._failures += 1
        await self._database(self.desk.put_back, watches, self._now() + round(seconds * SECOND))

    # Passes over all connections.

    def _can_pass(self) -> bool:
        return plan.has_connections(self.source, self.clients.keys())

    def _may_pass(self) -> bool:
        return not self._passing and self._seconds() - self._passed_at >= PASS_SECONDS

    def _start_pass(self, without: str | None = None) -> None:
        self._passing = True
        self._spawn(self._pass_in_turn(without))

    async def _pass_in_turn(self, without: str | None) -> None:
        self._passing = False
        await self._pass(await self._rotation_run(), without)

    async def _pass(self, run: Run, without: str | None = None) -> None:
        """Hold every node's own connections against everybody we hold online, and whoever else is due."""
        while self._passing:
            await asyncio.sleep(0.05)
        self._passing = True
        self._passed_at = self._seconds()
        try:
            head, asked_at = await self._database(self.desk.head), self._now()
            names = sorted(plan.answering(self.source, self.clients.keys()) - {without})
            answers = await asyncio.gather(*(self.clients[name].connections() for name in names))
            found: dict[str, Connections] = {}
            for name, answer in zip(names, answers, strict=True):
                if isinstance(answer, Connections):
                    found[name] = answer
                else:
                    run.failed(name, answer.reason, 0)
            if found:
                await self._sign("poll")
                node = next(iter(found)) if len(found) == 1 else "+".join(found)
                poll = Poll("p-" + run.run[2:], run.run, node, plan.CONNECTIONS.value, asked_at, self._now(), head)
                await self._judge_pass(run, poll, found)
        finally:
            self._passing = False
            self._passed_at = self._seconds()

    async def _judge_pass(self, run: Run, poll: Poll, found: dict[str, Connections]) -> None:
        union = plan.union_of(self.source, found)
        names = set(found)
        number = 0

        async def judge(uids: list[str]) -> None:
            nonlocal number
            number += 1
            part = poll._replace(poll=f"{poll.poll}-{number}")
            watches = await self._database(self.desk.watches_of, uids)
            run.judged(await self._database(self.desk.judge_connections, part, watches, union, names))

        uids = sorted(union)
        for start in range(0, len(uids), PASS_USERS):
            await judge(uids[start : start + PASS_USERS])
        after = ""
        while page := await self._database(self.desk.online_after, after, PASS_USERS):
            after = page[-1]
            if missing := [uid for uid in page if uid not in union]:
                await judge(missing)
        while True:
            taken = await self._database(self.desk.take_due, PASS_USERS, self._in_flight)
            rest = [uid for uid in taken.watches if uid not in union]
            if not rest:
                break
            before = run.counts.looked
            await judge(rest)
            if run.counts.looked == before:
                await self._database(self.desk.put_back, {u: taken.watches[u] for u in rest}, self._now() + SECOND)
        for name, node in self.source.nodes.items():
            boot = node.boot
            if not node.swept and name in found and boot is not None and boot[1] < poll.asked_at:
                await self._settle(name, booted=True)

    # Runs.

    async def _first_run(self) -> None:
        """Everybody we hold online, and whoever a source can name, once this instance leads."""
        run = await self._start_run(Run.new("start", self._now()))
        if self._can_pass():
            await self._pass(run)
        else:
            await self._ask_pages(run, self._online_page)
        await self._end_run(run)

    async def _online_page(self, after: str) -> dict[str, Watch]:
        page = await self._database(self.desk.online_after, after, PASS_USERS)
        watches: dict[str, Watch] = await self._database(self.desk.watches_of, page)
        return watches

    async def _known_page(self, after: str) -> dict[str, Watch]:
        watches: dict[str, Watch] = await self._database(self.desk.known_after, after, PASS_USERS)
        return watches

    async def _ask_pages(self, run: Run, page_after: Callable[[str], Awaitable[dict[str, Watch]]]) -> None:
        after = ""
        while page := await page_after(after):
            after = max(page)
            await self._ask_all(run, page)

    async def _ask_all(self, run: Run, watches: dict[str, Watch]) -> None:
        """Ask about these users, whoever's turn it is; who cannot be asked about now has failed."""
        waiting = [(uid, watch) for uid, watch in watches.items() if uid not in self._in_flight]
        while waiting:
            free = self._free_nodes()
            if not free or plan.route_for(self.source, self._now(), self.clients.keys()) is not plan.ROWS:
                run.failed(", ".join(self.clients), "no node can be asked now", len(waiting))
                return
            name = free[0]
            size = self.clients[name].chunk_users
            chunk, waiting = dict(waiting[:size]), waiting[size:]
            head = await self._database(self.desk.head)
            self._begin_call(name, chunk)
            await self._ask(name, chunk, head, run)

    def _take_up_requests(self) -> None:
        for run, opened in self.source.open_runs.items():
            if opened.scope == "manual" and run not in self._requested:
                self._requested.add(run)
                self._spawn(self._requested_run(run, opened))

    async def _requested_run(self, name: str, opened: OpenRun) -> None:
        run = Run(name, "manual", opened.started_at, users=len(opened.uids) or None)
        self.runs[name] = run
        if opened.uids:
            await self._ask_all(run, await self._database(self.desk.watches_of, opened.uids))
        elif self._can_pass():
            await self._pass(run)
        else:
            await self._ask_pages(run, self._known_page)
        await self._end_run(run)
        self._requested.discard(name)

    async def _rotate(self) -> None:
        """End the run of looks in turn when its time is over."""
        run = self._rotation
        if run is not None and self._seconds() - run.began >= ROTATION_SECONDS:
            self._rotation = None
            await self._end_run(run)

    async def _rotation_run(self) -> Run:
        if self._rotation is None:
            self._rotation = Run.new("rotation", self._now())
            await self._start_run(self._rotation)
        return self._rotation

    async def _start_run(self, run: Run) -> Run:
        self.runs[run.run] = run
        await self._database(self.desk.append, run.start_event(self._instance))
        return run

    async def _end_run(self, run: Run) -> None:
        await self._database(self.desk.append, run.end_event(self._now()))
        del self.runs[run.run]

    async def end(self) -> None:
        """An orderly stop: the rotation's run is complete as far as it went."""
        if self._rotation is not None and self._rotation.run in self.runs:
            await self._end_run(self._rotation)

    def health(self) -> dict[str, dict[str, Any]]:
        """What is known of the nodes' query APIs, JSON-ready; under "" of the source."""
        now = self._now()
        interval = self._webhook_interval
        heard = self.source.last_webhook_at
        polled = self._last_good_poll_at
        quiet = interval is not None and heard is not None and (now - heard) / SECOND > 60 + 10 * interval
        nodes = {name: _texts(asdict(client.health)) for name, client in self.clients.items()}
        nodes[""] = {
            "leader": self._instance,
            "noted_at": to_text(now),
            "last_good_poll_at": None if polled is None else to_text(polled),
            "webhook_interval_seconds": None if interval is None else round(interval, 3),
            "webhooks_silent": quiet and polled is not None and now - polled < 10 * SECOND,
            "breaker_open": self.source.breaker_until is not None,
        }
        return nodes


def _interrupted(run: str, opened: OpenRun, at: Instant) -> RunEnded:
    """The end of a run whose instance led no longer."""
    return RunEnded(
        run=run,
        at=at,
        started_at=opened.started_at,
        scope=opened.scope,
        outcome="interrupted",
        counts=RunCounts(),
        node=opened.node,
    )


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    instants = {name for name in fields if name.endswith(("_at", "_until"))}
    return {name: to_text(value) if name in instants and value is not None else value for name, value in fields.items()}

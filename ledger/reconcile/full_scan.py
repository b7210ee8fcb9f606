"""Full scans: every node's own `/connz`, compared with all users that we hold online or that are due."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import structlog

from ledger.domain.drift import Connection, Poll
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import NodeSettled
from ledger.reconcile import judge, plan
from ledger.reconcile.leader_context import LeaderContext
from ledger.reconcile.liveness import SourceLiveness
from ledger.reconcile.requests import new_poll
from ledger.reconcile.runs import Run
from ledger.sources.wukongim.answers import NodeConnection, NodeConnections, Unanswered

log = structlog.get_logger()

PATIENCE_SECONDS, PATIENCE_TIMES = 3.0, 4.0
"""A node may take so long, or so many times as long as the last time: nobody is looked at while a scan waits for it."""

REST_TIMES = 10.0
"""Full scans that nothing presses follow each other by so many times as long as the nodes took for the last one."""

USERS_FROM = 5_000
"""With more users due, one `/connz` of each node is cheaper than asking about them by name."""

SCAN_USERS = 2_000
"""Users that are judged at a time."""


class LastScan(NamedTuple):
    """What a look at all connections cost and came to."""

    asked_at: Instant | None
    calls: int
    """Of the budget of calls, one a node."""
    rows: int
    contradicted: int
    """Connections that nodes list though an offline has closed them."""
    seconds: float
    """That the nodes took, the slowest of them."""


class FullScan:
    """The full scans of one source, one at a time."""

    def __init__(self, context: LeaderContext, liveness: SourceLiveness) -> None:
        self._context = context
        self._liveness = liveness
        self._one = asyncio.Lock()
        self._begun_at = float("-inf")
        self._took = 0.0
        self._wanted = False
        self.last: LastScan | None = None
        self._patience: dict[str, float] = {}

    @property
    def under_way(self) -> bool:
        """Whether a full scan is being made."""
        return self._one.locked()

    def instead_of(self, users: int) -> bool:
        """Make a full scan instead of asking about so many users by name, where that is cheaper."""
        if users <= USERS_FROM or not self._context.can_scan:
            return False
        return self.start_soon()

    def may_begin(self, every: float) -> bool:
        """Whether none is being made, and the last one was begun so many seconds ago."""
        return not self.under_way and self._context.seconds() - self._begun_at >= every

    @property
    def rest_seconds(self) -> float:
        """So long a full scan keeps its distance from the one before: the nodes spend a tenth of their time on them."""
        return max(plan.SCAN_SECONDS, REST_TIMES * self._took)

    def want(self) -> None:
        """Something is to be seen that only a full scan shows: make one as soon as the last one is long enough ago."""
        self._wanted = True

    def tick(self) -> None:
        """Make the scan that is wanted, or whose turn it is: nobody waits longer for one than for a look by name."""
        every = self.rest_seconds
        if not self._wanted:
            every = max(every, plan.scan_seconds(self._context.source.policy))
        if self._context.can_scan and self.may_begin(every):
            self.start_soon()

    def start_soon(self, without: str | None = None) -> bool:
        """Make a full scan, unless one is being made or was made just now -> whether one is made."""
        if not self.may_begin(plan.SCAN_SECONDS):
            return False
        self._begun_at = self._context.seconds()
        self._context.spawn(self._make_in_turn(without))
        return True

    async def _make_in_turn(self, without: str | None) -> None:
        await self.make(await self._context.rotation(), without)

    async def make(self, run: Run, without: str | None = None, only: Sequence[str] = ()) -> None:
        """Ask all nodes but `without`, and judge what they say together; `only`: of these users, if any are named."""
        run.under_way += 1
        try:
            await self._make(run, without, only)
        finally:
            run.under_way -= 1

    async def _make(self, run: Run, without: str | None, only: Sequence[str]) -> None:
        context = self._context
        async with self._one:
            self._begun_at = context.seconds()
            self._wanted = self._wanted and bool(only)
            head, asked_at = await context.database(context.source_store.head), context.now()
            names = sorted(context.answering() - {without})
            answers = await asyncio.gather(*(self._ask(name) for name in names))
            found: dict[str, Sequence[NodeConnection]] = {}
            for name, answer in zip(names, answers, strict=True):
                own = plan.own_connections(context.source, name, answer)
                if isinstance(own, Unanswered):
                    context.failed(run, name, plan.CONNECTIONS, own, 0)
                else:
                    found[name] = own
            # What was to be seen may be at a node that should have answered.
            self._wanted = self._wanted or found.keys() < context.answering()
            if not found:
                return
            self._took = context.seconds() - self._begun_at
            await self._liveness.polled()
            union = await asyncio.to_thread(plan.union_connections, found, asked_at)
            poll = Poll(new_poll(), run.run, "+".join(found), plan.CONNECTIONS.value, asked_at, context.now(), head)
            judging = _Judging(context, run, poll, union, set(found))
            if only:
                await judging.judge(only)
                return
            await judging.judge_everybody()
            rows = sum(map(len, union.values()))
            self._note(LastScan(asked_at, len(names), rows, judging.contradicted, self._took))
            await self._settle(poll, set(found), judging.contradicted)

    def told(self) -> dict[str, Any]:
        """How often all connections are looked at at least, and what the last time cost and came to; JSON-ready."""
        every, last = plan.scan_seconds(self._context.source.policy), self.last or LastScan(None, 0, 0, 0, 0.0)
        asked_at = None if last.asked_at is None else to_text(last.asked_at)
        return {
            "at_least_every_seconds": max(every, self.rest_seconds),
            "asked_at": asked_at,
            "calls": last.calls,
            "connections": last.rows,
            "contradicted": last.contradicted,
            "seconds": round(last.seconds, 3),
        }

    def _note(self, made: "LastScan") -> None:
        """Say once that nodes list connections which an offline has closed, and once that they do so no longer."""
        before = 0 if self.last is None else self.last.contradicted
        self.last = made
        if bool(made.contradicted) != bool(before):
            begins = "connections_contradicted" if made.contradicted else "connections_contradicted_no_more"
            log.warning(begins, source=self._context.name, connections=made.contradicted or before)

    async def _ask(self, name: str) -> NodeConnections | Unanswered:
        """A node's connections; one that takes far longer than it did is waited for twice as long the next time."""
        began, patience = self._context.seconds(), self._patience.get(name)
        try:
            async with asyncio.timeout(patience):
                answer = await self._context.clients[name].connections()
        except TimeoutError:
            assert patience is not None
            self._patience[name] = 2 * patience
            return Unanswered(f"no answer within {patience:.0f} s, far longer than it took before")
        if isinstance(answer, NodeConnections):
            self._patience[name] = max(PATIENCE_SECONDS, PATIENCE_TIMES * (self._context.seconds() - began))
        return answer

    async def _settle(self, poll: Poll, names: set[str], contradicted: int) -> None:
        """What a boot ended is known once all its connections are, and none of them was said offline since."""
        for name in plan.settled_nodes(self._context.source, poll.asked_at, contradicted, names):
            await self._context.append(NodeSettled(node=name, at=self._context.now(), booted=True))


class _Judging:
    """What one full scan found, compared with every user it may tell of."""

    def __init__(
        self, context: LeaderContext, run: Run, poll: Poll, union: Mapping[str, Sequence[Connection]], names: set[str]
    ) -> None:
        self._context, self._run, self._poll, self._union, self._names = context, run, poll, union, names
        self.contradicted = 0
        seconds = max(plan.scan_seconds(context.source.policy), plan.MAX_RETRY_DELAY_SECONDS)
        self._by = poll.asked_at + round(seconds * SECOND)
        """Whose turn comes by then is judged as well."""
        self._done: set[str] = set()
        """Of those who have been judged, who would be taken for that again, and who is in doubt: an answer is one look,
        however often it is read."""

    async def judge(self, uids: Sequence[str]) -> judge.Verdicts:
        """Judge these users."""
        context = self._context
        watches = await context.database(context.source_store.watches_for, uids)
        part = self._poll._replace(poll=new_poll())
        verdicts: judge.Verdicts = await context.database(
            context.source_store.judge_connections, part, watches, self._union, self._names
        )
        context.answered(self._run, part.node, plan.CONNECTIONS, verdicts)
        self.contradicted += verdicts.contradicted
        self._done |= {
            uid for uid, left in verdicts.watches().items() if left.doubt is not None or left.due_at <= self._by
        }
        return verdicts

    async def judge_everybody(self) -> None:
        """Users who are connected, others that we hold online, and those whose turn comes before the next full scan."""
        context = self._context
        connected = sorted(self._union)
        for start in range(0, len(connected), SCAN_USERS):
            await self.judge(connected[start : start + SCAN_USERS])
        after = ""
        while page := await context.database(context.source_store.online_after, after, SCAN_USERS):
            after = page[-1]
            if missing := [uid for uid in page if uid not in self._union]:
                await self.judge(missing)
        due = partial(context.source_store.take_due, SCAN_USERS, by=self._by)
        while rest := (await context.database(partial(due, context.in_flight | self._done))).watches:
            judged = (await self.judge(list(rest))).watches()
            unjudged = {uid: watch for uid, watch in rest.items() if uid not in judged}
            # Of them nobody can be judged without a node that did not answer.
            await context.database(
                context.source_store.put_back, unjudged, context.now() + round(plan.SCAN_SECONDS * SECOND)
            )
            self._done |= unjudged.keys()

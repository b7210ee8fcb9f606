"""Looks by name: users who are due, or whom a run names, are asked about in chunks, each node within its budget."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from ledger.domain.drift import Poll
from ledger.domain.look import Watch
from ledger.domain.observation import SECOND
from ledger.reconcile import plan
from ledger.reconcile.leader_context import LeaderContext
from ledger.reconcile.liveness import SourceLiveness
from ledger.reconcile.requests import new_poll
from ledger.reconcile.runs import Run
from ledger.sources.wukongim.answers import OnlineRows, Unanswered

CALLS_AT_A_TIME = 4
"""To one node."""

IN_TURN_SECONDS = 1.0
"""Looks in turn are gathered for so long, so that few calls ask about many; those out of turn do not wait."""

PageAfter = Callable[[str], Awaitable[dict[str, Watch]]]
"""The next page of users after one, by uid; empty at the end."""


class RowPoller:
    """The questions of `/user/onlinestatus` to the nodes of one source."""

    def __init__(self, context: LeaderContext, liveness: SourceLiveness, want_scan: Callable[[], None]) -> None:
        """`want_scan` asks for what only all connections show."""
        self._context = context
        self._liveness = liveness
        self._want_scan = want_scan
        self._calls: dict[str, int] = dict.fromkeys(context.clients, 0)
        self._failures: dict[str, int] = dict.fromkeys(context.clients, 0)
        """In a row, by node."""
        self._asked_in_turn = float("-inf")

    async def ask_due(self, scan_instead: Callable[[int], bool]) -> None:
        """Ask about users who are due, as far as the budgets go; `scan_instead` may take over for so many users."""
        context = self._context
        free = self._free_nodes()
        limit = sum(self._room(name) for name in free)
        if not limit:
            return
        in_turn = context.seconds() - self._asked_in_turn >= IN_TURN_SECONDS
        taken = await context.database(
            partial(context.source_store.take_due, limit, context.in_flight, in_turn=in_turn)
        )
        if in_turn and len(taken.watches) < limit:
            self._asked_in_turn = context.seconds()
        if not taken.watches:
            return
        if len(taken.watches) >= limit and scan_instead(
            (await context.database(context.source_store.due_counts)).everybody
        ):
            return
        run = await context.rotation()
        run.overdue(taken.overdue)
        waiting = list(self._tellable(taken.watches).items())
        for name in free:
            while waiting and self._room(name):
                size = context.clients[name].chunk_users
                chunk, waiting = dict(waiting[:size]), waiting[size:]
                self._begin(name, chunk, run)
                context.spawn(self._ask(name, chunk, taken.head, run))

    def _tellable(self, watches: dict[str, Watch]) -> dict[str, Watch]:
        """Those of whom an answer by name may tell what is asked: where absence says nothing, it settles no doubt."""
        if self._context.source.absence_tells or not self._context.can_scan:
            return watches
        told = {uid: watch for uid, watch in watches.items() if watch.doubt is None}
        if len(told) < len(watches):
            self._want_scan()
        return told

    async def ask_pages(self, run: Run, page_after: PageAfter) -> None:
        """Ask about everybody, page by page."""
        after = ""
        while page := await page_after(after):
            after = max(page)
            await self.ask_all(run, page)

    async def ask_all(self, run: Run, watches: Mapping[str, Watch]) -> None:
        """Ask about these users, in turn or not; a look that cannot be made now has failed."""
        context = self._context
        waiting = list(watches.items())
        while waiting:
            free = self._free_nodes()
            if not free or context.route() is not plan.ROWS:
                run.not_asked(self._why_nobody(), len(waiting))
                return
            name = free[0]
            size = context.clients[name].chunk_users
            chunk, waiting = dict(waiting[:size]), waiting[size:]
            head = await context.database(context.source_store.head)
            self._begin(name, chunk, run)
            await self._ask(name, chunk, head, run)

    def _free_nodes(self) -> list[str]:
        """The nodes that can be asked now: those that answered last time first, of these who has most budget left."""
        clients = self._context.clients
        names = [name for name in self._context.answering() if clients[name].health.breaker != "open"]
        return sorted(names, key=lambda name: (self._failures[name], -clients[name].budget.available().users))

    def _why_nobody(self) -> dict[str, str]:
        """Why no node can be asked about users now, by node."""
        reasons = {}
        for name, client in self._context.clients.items():
            health = client.health
            cause = health.probe_reason if health.breaker == "closed" else health.last_reason
            reasons[name] = f"not asked: {cause or 'what the cluster says of users is not believed yet'}"
        return reasons

    def _room(self, name: str) -> int:
        """Users that the node can be asked about at once."""
        client = self._context.clients[name]
        allowed = client.budget.available()
        # Of a half open breaker one call decides; the others would fail unasked, and their users wait for it.
        most = CALLS_AT_A_TIME if client.health.breaker == "closed" else 1
        calls = min(int(allowed.calls), most - self._calls[name])
        return max(0, min(int(allowed.users), calls * client.chunk_users))

    def _begin(self, name: str, watches: Mapping[str, Watch], run: Run) -> None:
        run.under_way += 1
        self._calls[name] += 1
        self._context.in_flight |= watches.keys()

    async def _ask(self, name: str, watches: dict[str, Watch], head: int, run: Run) -> None:
        context = self._context
        asked_at = context.now()
        try:
            answer = await context.clients[name].online_status(list(watches))
            if isinstance(answer, OnlineRows):
                self._failures[name] = 0
                await self._liveness.polled()
                poll = Poll(new_poll(), run.run, name, plan.ROWS.value, asked_at, context.now(), head)
                verdicts = await context.database(context.source_store.judge_rows, poll, watches, answer.rows)
                context.answered(run, name, plan.ROWS, verdicts)
                if verdicts.waits_for_connections:
                    self._want_scan()
            else:
                await self._failed(name, answer, watches, run)
        finally:
            run.under_way -= 1
            self._calls[name] -= 1
            context.in_flight -= watches.keys()

    async def _failed(self, name: str, why: Unanswered, watches: dict[str, Watch], run: Run) -> None:
        """It says nothing of anybody; they are asked about again, ever later, or looked at by a scan before that."""
        self._context.failed(run, name, plan.ROWS, why, len(watches))
        self._want_scan()
        seconds = min(plan.MAX_RETRY_DELAY_SECONDS, plan.RETRY_DELAY_SECONDS * 2 ** min(self._failures[name], 8))
        self._failures[name] += 1
        await self._context.database(
            self._context.source_store.put_back, watches, self._context.now() + round(seconds * SECOND)
        )

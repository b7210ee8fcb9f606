"""Passes over all connections: every node's own `/connz`, held against everybody we hold online and whoever is due."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from ledger.domain.drift import Connection, Poll
from ledger.domain.observation import SECOND
from ledger.domain.reconciled import NodeSettled
from ledger.reconcile import plan
from ledger.reconcile.requests import new_poll
from ledger.reconcile.runs import Run
from ledger.reconcile.signs import Signs
from ledger.reconcile.term import Term
from ledger.sources.wukongim.answers import Connections, Unanswered

PASS_SECONDS = 3.0
"""Passes follow each other no sooner, but for those that a boot or somebody asks for."""

PATIENCE_SECONDS, PATIENCE_TIMES = 3.0, 4.0
"""A node may take so long, or so many times as long as the last time: nobody is looked at while a pass waits for it."""

USERS_FROM = 5_000
"""With more users due, one `/connz` of each node is cheaper than asking about them by name."""

PASS_USERS = 2_000
"""Users that are judged at a time."""

NUMBER_UNKNOWN = Unanswered("its number in the cluster is not known yet", answered=True)


class Passing:
    """The passes of one source, one at a time."""

    def __init__(self, term: Term, signs: Signs) -> None:
        self._term = term
        self._signs = signs
        self._one = asyncio.Lock()
        self._begun_at = float("-inf")
        self._patience: dict[str, float] = {}

    @property
    def under_way(self) -> bool:
        """Whether a pass is being made."""
        return self._one.locked()

    def instead_of(self, users: int) -> bool:
        """Make a pass instead of asking about so many users by name, where that is cheaper."""
        if users <= USERS_FROM or not self._term.can_pass:
            return False
        return self.make_soon()

    def may_begin(self, every: float) -> bool:
        """Whether none is being made, and the last one was begun so many seconds ago."""
        return not self.under_way and self._term.seconds() - self._begun_at >= every

    def make_soon(self, without: str | None = None) -> bool:
        """Make a pass, unless one is being made or was made just now -> whether one is made."""
        if not self.may_begin(PASS_SECONDS):
            return False
        self._begun_at = self._term.seconds()
        self._term.spawn(self._make_in_turn(without))
        return True

    async def _make_in_turn(self, without: str | None) -> None:
        await self.make(await self._term.rotation(), without)

    async def make(self, run: Run, without: str | None = None) -> None:
        """Ask all nodes but `without`, and judge what they say together."""
        run.under_way += 1
        try:
            await self._make(run, without)
        finally:
            run.under_way -= 1

    async def _make(self, run: Run, without: str | None) -> None:
        term = self._term
        async with self._one:
            self._begun_at = term.seconds()
            head, asked_at = await term.database(term.desk.head), term.now()
            names = sorted(term.answering() - {without})
            answers = await asyncio.gather(*(self._ask(name) for name in names))
            found: dict[str, Connections] = {}
            for name, answer in zip(names, answers, strict=True):
                if isinstance(answer, Connections) and plan.knows_its_own(term.source, name):
                    found[name] = answer
                elif isinstance(answer, Connections):
                    term.failed(run, name, plan.CONNECTIONS, NUMBER_UNKNOWN, 0)
                else:
                    term.failed(run, name, plan.CONNECTIONS, answer, 0)
            if not found:
                return
            await self._signs.polled()
            union = await asyncio.to_thread(plan.union_of, term.source, found)
            poll = Poll(new_poll(), run.run, "+".join(found), plan.CONNECTIONS.value, asked_at, term.now(), head)
            await self._judge(run, poll, union, set(found))
            await self._settle(poll, set(found))

    async def _ask(self, name: str) -> Connections | Unanswered:
        """A node's connections; one that takes far longer than it did is waited for twice as long the next time."""
        began, patience = self._term.seconds(), self._patience.get(name)
        try:
            async with asyncio.timeout(patience):
                answer = await self._term.clients[name].connections()
        except TimeoutError:
            assert patience is not None
            self._patience[name] = 2 * patience
            return Unanswered(f"no answer within {patience:.0f} s, far longer than it took before")
        if isinstance(answer, Connections):
            self._patience[name] = max(PATIENCE_SECONDS, PATIENCE_TIMES * (self._term.seconds() - began))
        return answer

    async def _judge(self, run: Run, poll: Poll, union: Mapping[str, Sequence[Connection]], names: set[str]) -> None:
        """Whoever is connected, whoever we hold online besides, and whoever is due besides."""
        term = self._term

        async def judge(uids: Sequence[str]) -> None:
            watches = await term.database(term.desk.watches_of, uids)
            part = poll._replace(poll=new_poll())
            verdicts = await term.database(term.desk.judge_connections, part, watches, union, names)
            term.answered(run, poll.node, plan.CONNECTIONS, verdicts)

        connected = sorted(union)
        for start in range(0, len(connected), PASS_USERS):
            await judge(connected[start : start + PASS_USERS])
        after = ""
        while page := await term.database(term.desk.online_after, after, PASS_USERS):
            after = page[-1]
            if missing := [uid for uid in page if uid not in union]:
                await judge(missing)
        # Due by the time of asking: answers that took their time may be older than the turn of whom they agree about.
        due = partial(term.desk.take_due, PASS_USERS, term.in_flight, by=poll.asked_at)
        while rest := (await term.database(due)).watches:
            before = run.counts.looked
            await judge(list(rest))
            if run.counts.looked == before:
                # Nobody of them can be judged without a node that did not answer.
                await term.database(term.desk.put_back, rest, term.now() + round(PASS_SECONDS * SECOND))

    async def _settle(self, poll: Poll, names: set[str]) -> None:
        """What a boot ended is known once all its connections are."""
        for name, node in self._term.source.nodes.items():
            if not node.swept and name in names and node.boot is not None and node.boot[1] < poll.asked_at:
                await self._term.append(NodeSettled(node=name, at=self._term.now(), booted=True))

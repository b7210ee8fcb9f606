"""The live client of one node's query API: its questions within budget, time and breaker, and its health."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

import httpx2
import structlog

from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant
from ledger.domain.profile import Profile
from ledger.sources.wukongim.answers import (
    Boot,
    NodeConnections,
    OnlineRows,
    Unanswered,
    read_connections,
    read_online_status,
    read_start_time,
    read_uptime,
)
from ledger.sources.wukongim.budget import Budget
from ledger.sources.wukongim.clock import clock_offset
from ledger.sources.wukongim.exchange import Answer, Exchange, may_pass
from ledger.sources.wukongim.forms import CONNECTIONS_BYTES, METRICS_BYTES, VARZ_BYTES, status_bytes
from ledger.sources.wukongim.node_breaker import NodeBreaker
from ledger.sources.wukongim.query_node import NodeHealth, QueryNode, TimeOuts
from ledger.text import shortened

CHUNK_USERS = 1000
"""Users a call asks about at most: an answer in milliseconds, and a lost one costs little."""

CONNECTIONS_LIMIT = 10_000_000
"""Rows of one page: there is no snapshot across pages, and no answer that we would read to its end holds so many."""

LONGEST_REASON = 200
"""Of what a node says of its failure so many characters are kept."""

ATTEMPTS = 3
BACK_OFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 2.0

THREAD_BYTES = 262_144
"""Longer bodies are read in a thread, so that webhooks and probes need not wait for it."""

T = TypeVar("T")

log = structlog.get_logger()


class _Call(NamedTuple):
    method: str
    route: str
    seconds: float
    most_bytes: int
    users: int = 0
    content: bytes | None = None


_Read = Callable[[Answer, Instant, Instant], T | Unanswered]


class QueryClient:
    """The query API of one node of a source.

    Every failure is a value with its reason, in words and without a secret; nothing but a cancellation is raised. A
    call waits for its turn in the budget; from then on it takes no longer than its time-out, with all its retries.
    """

    def __init__(
        self,
        node: QueryNode,
        budget: Budget,
        now: Callable[[], Instant],
        monotonic: Callable[[], float] = time.monotonic,
        random: Random | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        time_outs: TimeOuts = TimeOuts(),  # noqa: B008  (a value that cannot change)
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.node, self.budget = node, budget
        self._now, self._monotonic, self._sleep = now, monotonic, sleep
        self._random = random or Random()  # noqa: S311
        self._time_outs = time_outs
        self._breaker = NodeBreaker(monotonic, self._random)
        self._exchange = Exchange(node.api_url, node.token, time_outs.connect, transport, ca_file=node.ca_file)
        self._calls = self._users_asked = 0
        self._last_good_at: Instant | None = None
        self._last_failure_at: Instant | None = None
        self._last_reason: str | None = None
        self._last_good_probe_at: Instant | None = None
        self._probe_reason: str | None = None
        self._clock_offset: float | None = None

    @property
    def chunk_users(self) -> int:
        """Users to ask about in one call: at most CHUNK_USERS, and at most a second's worth of the budget."""
        return max(1, min(CHUNK_USERS, int(self.budget.users_a_second)))

    @property
    def health(self) -> NodeHealth:
        """As of now."""
        open_seconds = self._breaker.open_seconds()
        return NodeHealth(
            last_good_at=self._last_good_at,
            last_failure_at=self._last_failure_at,
            failures_in_a_row=self._breaker.failures_in_a_row,
            last_reason=self._last_reason,
            calls=self._calls,
            users_asked=self._users_asked,
            breaker=self._breaker.state,
            breaker_open_until=self._now() + round(open_seconds * SECOND) if open_seconds else None,
            last_good_probe_at=self._last_good_probe_at,
            probe_reason=self._probe_reason,
            clock_offset_seconds=self._clock_offset,
        )

    async def online_status(self, uids: Sequence[str]) -> OnlineRows | Unanswered:
        """Ask about these users, at most CHUNK_USERS, in one call; nobody is asked about without a call.

        Raises ValueError for more of them, which is the caller's mistake.
        """
        if len(uids) > CHUNK_USERS:
            raise ValueError(f"{len(uids)} users in one call; at most {CHUNK_USERS}")
        if not uids:
            return OnlineRows({}, 0)
        asked = frozenset(uids)
        content = json.dumps(list(uids), separators=(",", ":")).encode()
        most_bytes = status_bytes(content, len(uids))
        question = _Call("POST", "/user/onlinestatus", self._time_outs.call, most_bytes, len(uids), content)
        return await self._ask(question, lambda answer, _, __: read_online_status(answer.status, answer.body, asked))

    async def connections(self) -> NodeConnections | Unanswered:
        """All connections of the node in one page: v1 and v2 only."""
        if self.node.profile is Profile.V3:
            return Unanswered("v3 lists no connections")
        question = _Call("GET", f"/connz?limit={CONNECTIONS_LIMIT}", self._time_outs.connections, CONNECTIONS_BYTES)
        return await self._ask(question, lambda answer, _, __: read_connections(answer.status, answer.body))

    async def boot(self) -> Boot | Unanswered:
        """When the node booted."""
        return await self._ask(self._boot_question(self._time_outs.call), self._read_boot)

    async def probe(self) -> Boot | Unanswered:
        """The same as a sign of life: one request within a second that waits for no turn and passes an open breaker.

        It costs a call of the budget, which those that wait for theirs pay.
        """
        problem = self._exchange.problem
        if problem is None:
            self.budget.charge(1)
            boot = await self._once(self._boot_question(self._time_outs.probe), self._read_boot, attempts=1)
        else:
            boot = problem
        good = not isinstance(boot, Unanswered)
        self._breaker.probed(good)
        self._probe_reason = boot.reason if isinstance(boot, Unanswered) else None
        if good:
            self._last_good_probe_at = self._now()
        return boot

    def close_breaker(self) -> None:
        """Let calls through again, since what made them fail is known to be gone, as a peer that was down."""
        self._breaker.close()

    async def close(self) -> None:
        """Give the connections up; calls after it are unanswered."""
        await self._exchange.close()

    def _boot_question(self, seconds: float) -> _Call:
        if self.node.profile is Profile.V3:
            return _Call("GET", "/metrics", seconds, METRICS_BYTES)
        return _Call("GET", "/varz", seconds, VARZ_BYTES)

    def _read_boot(self, answer: Answer, asked_at: Instant, answered_at: Instant) -> Boot | Unanswered:
        if self.node.profile is Profile.V3:
            return read_start_time(answer.status, answer.body)
        return read_uptime(answer.status, answer.body, asked_at, answered_at)

    async def _ask(self, question: _Call, read: _Read[T]) -> T | Unanswered:
        if self._exchange.problem is not None:
            return self._failed(self._exchange.problem)
        if not self._breaker.is_passable:
            return self._held_back()
        await self.budget.take(1, question.users)
        admission = self._breaker.admit()
        if admission is None:
            self.budget.give_back(1, question.users)
            return self._held_back()
        attempts = 1 if self._breaker.is_trial(admission) else ATTEMPTS
        try:
            result = await self._once(question, read, attempts)
        except BaseException:  # cancelled too: an admission that is not given back would count as under way for ever
            self._breaker.abandoned(admission)
            raise
        if isinstance(result, Unanswered):
            self._breaker.failed(admission)
            return self._failed(result)
        self._breaker.succeeded()
        self._last_good_at = self._now()
        return result

    def _held_back(self) -> Unanswered:
        seconds = self._breaker.open_seconds()
        if seconds:
            what = f"not asked until {to_text(self._now() + round(seconds * SECOND))}"
        else:
            what = "not asked while another call tries whether it answers"
        return Unanswered(f"{self._last_reason or 'its calls failed'} ({what})", held_back=True)

    def _failed(self, unanswered: Unanswered) -> Unanswered:
        self._last_failure_at, self._last_reason = self._now(), unanswered.reason
        return unanswered

    async def _once(self, question: _Call, read: _Read[T], attempts: int) -> T | Unanswered:
        """One call, paid for its first attempt, with its retries, and its answer read."""
        late = Unanswered(f"timed out after {question.seconds:g} s")
        answer: Answer | Unanswered = late
        asked_at = self._now()
        elapsed = 0.0
        try:
            async with asyncio.timeout(question.seconds):
                for attempt in range(attempts):
                    if attempt:
                        await self._back_off(attempt)
                        await self.budget.take(1, question.users)
                    answer, asked_at, began = late, self._now(), self._monotonic()
                    self._calls += 1
                    self._users_asked += question.users
                    answer = await self._exchange.ask(
                        question.method, question.route, question.content, most_bytes=question.most_bytes
                    )
                    elapsed = self._monotonic() - began
                    if not may_pass(answer):
                        break
        except TimeoutError:
            pass
        if isinstance(answer, Unanswered):
            return answer
        # By the monotonic clock, since the other one may be set in between.
        answered_at = asked_at + round(elapsed * SECOND)
        self._clock_offset = clock_offset(answer.date, asked_at, answered_at)
        try:
            if len(answer.body) > THREAD_BYTES:
                result = await asyncio.to_thread(read, answer, asked_at, answered_at)
            else:
                result = read(answer, asked_at, answered_at)
        except Exception as error:  # a defect of ours: one answer says nothing, and the others go on
            log.exception("answer_unreadable", node=self.node.name, route=question.route)
            return Unanswered(f"an answer that could not be read ({type(error).__name__})", answered=True)
        return self._without_secrets(result)

    async def _back_off(self, attempt: int) -> None:
        most = min(MAX_BACKOFF_SECONDS, BACK_OFF_SECONDS * 2 ** (attempt - 1))
        await self._sleep(self._random.uniform(0.0, most))

    def _without_secrets(self, result: T | Unanswered) -> T | Unanswered:
        """A server may quote the token in its message, and at any length."""
        if not isinstance(result, Unanswered):
            return result
        token = self.node.token
        reason = result.reason.replace(token, "***") if token else result.reason
        return result._replace(reason=shortened(reason, LONGEST_REASON))

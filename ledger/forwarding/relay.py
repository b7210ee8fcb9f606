"""Presence webhooks for the business server as well: after their commit, in order for each node, within bounds.

WuKongIM has its 200 by then, so the attempts that it would have made are made here, with nothing waiting for them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from ledger.forwarding.forwarder import Forwarder, Outcome, Webhook

ATTEMPTS = 5
RETRY_DELAY_SECONDS = 1.0
"""As WuKongIM v1 and v2 try."""

MAX_WAITING_BYTES = 16 * 1_048_576
"""Of one node. A body that finds no room is left out: presence ages, and the ledger has it."""

RelayOutcome: TypeAlias = Outcome | Literal["left_out"]


class NodeRelay:
    """The webhooks of one node on their way to the business server, one after another."""

    def __init__(self, forwarder: Forwarder, seconds: float, count: Callable[[RelayOutcome], None]) -> None:
        self._forwarder = forwarder
        self._seconds = seconds
        self._count = count
        self._waiting: deque[Webhook] = deque()
        self._bytes = 0
        self._worker: asyncio.Task[None] | None = None

    def offer(self, webhook: Webhook) -> None:
        """Take a webhook, or leave it out where too much waits already. Never waits."""
        if self._waiting and self._bytes + len(webhook.body) > MAX_WAITING_BYTES:
            self._count("left_out")
            return
        self._waiting.append(webhook)
        self._bytes += len(webhook.body)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def drain(self, seconds: float) -> None:
        """Send what waits, for as long as that; what is still there is counted as left out."""
        if self._worker is not None:
            await asyncio.wait([self._worker], timeout=seconds)
        if self._worker is not None:
            self._worker.cancel()
            for _ in self._waiting:
                self._count("left_out")

    async def _work(self) -> None:
        while self._waiting:
            self._count(await self._deliver(self._waiting[0]))
            self._bytes -= len(self._waiting.popleft().body)
        self._worker = None

    async def _deliver(self, webhook: Webhook) -> Outcome:
        for attempt in range(1, ATTEMPTS + 1):
            answer = await self._forwarder.forward(webhook, self._seconds)
            if answer.outcome == "delivered" or attempt == ATTEMPTS:
                return answer.outcome
            await asyncio.sleep(RETRY_DELAY_SECONDS)
        raise AssertionError("an attempt is made")

"""Sends commands through the nodes of a source: the one that sent the last, or the next where it does not answer."""

import asyncio
from collections.abc import Sequence

import httpx2

from ledger.sources.wukongim.answers import Unanswered
from ledger.sources.wukongim.command import ANSWER_BYTES, ROUTE, CommandRefused, refusal, request
from ledger.sources.wukongim.exchange import Exchange
from ledger.sources.wukongim.query_node import QueryNode, TimeOuts

TIME_OUTS = TimeOuts()


class CommandSender:
    """All nodes of a source that have an `api_url`; `from_uid` as the settings have it. Raises ValueError for none."""

    def __init__(
        self,
        nodes: Sequence[QueryNode],
        from_uid: str,
        *,
        time_outs: TimeOuts = TIME_OUTS,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._nodes = [
            (node, Exchange(node.api_url, node.token, time_outs.connect, transport, ca_file=node.ca_file))
            for node in nodes
            if node.api_url
        ]
        if not self._nodes:
            raise ValueError("no node has an api_url")
        self._from_uid = from_uid
        self._seconds = time_outs.call
        self._preferred = 0

    async def send(self, message: bytes, subscribers: Sequence[str]) -> CommandRefused | None:
        """Have a message sent to these users, at most MAX_SUBSCRIBERS -> why it was not; None where it was.

        A message may have been sent although its answer was lost, and is then sent once more by another node.
        """
        failed = CommandRefused("no node was asked", may_pass=True)
        first = self._preferred
        for number in range(first, first + len(self._nodes)):
            place = number % len(self._nodes)
            node, exchange = self._nodes[place]
            found = await self._ask(exchange, request(message, subscribers, self._from_uid, node.profile))
            if found is None:
                self._preferred = place
                return None
            failed = CommandRefused(f"{node.name}: {found.reason}", found.may_pass)
            if not found.may_pass:
                break
        return failed

    async def close(self) -> None:
        """Give the connections up."""
        for _, exchange in self._nodes:
            await exchange.close()

    async def _ask(self, exchange: Exchange, body: bytes) -> CommandRefused | None:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await exchange.ask("POST", ROUTE, body, most_bytes=ANSWER_BYTES)
        except TimeoutError:
            return CommandRefused(f"timed out after {self._seconds:g} s", may_pass=True)
        if isinstance(answer, Unanswered):
            return CommandRefused(answer.reason, may_pass=True)
        return refusal(answer.status, answer.body)

"""Webhooks for the business server: other events for its answer, presence after its commit where that is wanted."""

import asyncio
from collections.abc import Mapping

import structlog
from fastapi import Request, Response

from ledger.forwarding.forwarder import Forwarder, NotForwarded, Webhook, seconds_for
from ledger.forwarding.relay import NodeRelay, RelayOutcome
from ledger.http.counters import FORWARD_OUTCOMES, FORWARDED_EVENTS, OTHER, Counters
from ledger.http.problems import Problem
from ledger.settings import SourceSettings
from ledger.sources.wukongim.payload import EVENT_NAME

log = structlog.get_logger()

DRAIN_SECONDS = 2.0
MAX_NAMES = 20
"""Of events that a warning is logged for: names are up to the sender."""


class Forwarding:
    """The business servers of all sources."""

    def __init__(self, sources: Mapping[str, SourceSettings], counters: Counters) -> None:
        self._counters = counters
        self._forwarders = {name: Forwarder(each.forward_url) for name, each in sources.items() if each.forward_url}
        self._seconds = {
            (name, node.name): seconds_for(source.profile_for(node))
            for name, source in sources.items()
            for node in source.nodes
        }
        self._relays = {
            (name, node.name): self._relay(name, node.name)
            for name, source in sources.items()
            for node in source.nodes
            if source.forward_presence
        }
        self._already_logged: set[str] = set()
        for source, node in self._seconds:
            if source in self._forwarders:
                for event in FORWARDED_EVENTS:
                    for outcome in FORWARD_OUTCOMES:
                        counters.forwarded.labels(source, node, event, outcome)

    def takes(self, source: str) -> bool:
        """Whether the source has a business server."""
        return source in self._forwarders

    def takes_presence(self, source: str, node: str) -> bool:
        """Whether presence goes there as well."""
        return (source, node) in self._relays

    async def forward(self, request: Request, source: str, node: str, event: str, body: bytes) -> Response:
        """Its answer as it came. Raises Problem: 502 where it is away, 504 where it is slower than WuKongIM waits."""
        answer = await self._forwarders[source].forward(_as_it_came(request, body), self._seconds[source, node])
        self._count(source, node, event, answer.outcome)
        if isinstance(answer, NotForwarded):
            raise Problem(answer.status, answer.reason)
        response = Response(answer.body, answer.status)
        response.raw_headers += [(name.lower(), value) for name, value in answer.headers]
        return response

    def relay(self, request: Request, source: str, node: str, body: bytes) -> None:
        """Have a presence webhook sent on, which has been committed, without waiting for it."""
        self._relays[source, node].offer(_as_it_came(request, body))

    def swallow(self, source: str, event: str) -> None:
        """Log once for each event that it goes nowhere."""
        if event not in self._already_logged and len(self._already_logged) < MAX_NAMES:
            self._already_logged.add(event)
            log.warning(
                "event_swallowed",
                source=source,
                webhook_event=event[:64],
                way_out="set forward_url to where WuKongIM's webhooks went before, if they are to go on there",
            )

    async def close(self) -> None:
        """Send what waits, for a moment, and close the connections."""
        await asyncio.gather(*(relay.drain(DRAIN_SECONDS) for relay in self._relays.values()))
        for forwarder in self._forwarders.values():
            await forwarder.close()

    def _relay(self, source: str, node: str) -> NodeRelay:
        def count(outcome: RelayOutcome) -> None:
            self._count(source, node, EVENT_NAME, outcome)

        return NodeRelay(self._forwarders[source], self._seconds[source, node], count)

    def _count(self, source: str, node: str, event: str, outcome: RelayOutcome) -> None:
        name = event if event in FORWARDED_EVENTS else OTHER
        self._counters.forwarded.labels(source, node, name, outcome).inc()


def _as_it_came(request: Request, body: bytes) -> Webhook:
    return Webhook(request.scope["query_string"], request.headers.raw, body)

"""A webhook in flight: what the intake queues, the writer takes, and requests wait for."""

import asyncio
import time
from typing import Literal

from ledger.domain.observation import Instant
from ledger.ingest.draft import ParsedWebhook

Body = tuple[str, str, bytes]
"""Source, node and body: what makes two webhooks the same while they are in flight."""


class Ticket:
    """One webhook in flight; every request that brought the same body waits for its `done`."""

    __slots__ = (
        "begun_at",
        "body",
        "delivery",
        "done",
        "entered_at",
        "from_spool",
        "has_yielded",
        "is_array",
        "is_diverted",
        "is_spooled",
        "items",
        "node",
        "parsed",
        "reading",
        "received_at",
        "source",
        "waiters",
    )  # fmt: skip

    def __init__(
        self, delivery: str, source: str, node: str, received_at: Instant, body: bytes, done: asyncio.Future[None]
    ) -> None:
        self.delivery = delivery
        self.source = source
        self.node = node
        self.received_at = received_at
        self.body = body
        self.items = body.count(b",") + 1
        """An upper bound, before it is parsed."""
        self.done = done
        self.waiters = 0
        self.entered_at = time.monotonic()
        self.begun_at = 0.0
        """Of a large one: when the store was first asked to take it."""
        self.parsed: ParsedWebhook | None = None
        """Of a large one, which is read before its turn."""
        self.reading: Literal["not begun", "under way", "over"] = "not begun"
        self.is_array = True
        """Whether its body is one, as far as it has been read."""
        self.has_yielded = False
        """Later ones of other nodes have been let by, which happens once."""
        self.from_spool = False
        """No request waits for it: it was acknowledged when it was spooled."""
        self.is_diverted = False
        """It goes to the spool, and comes back from there: as it is now it is committed no more."""
        self.is_spooled = False
        """The spool has it."""

    @property
    def sender(self) -> tuple[str, str]:
        """Its source and node, whose deliveries are taken in their order."""
        return (self.source, self.node)

    @property
    def key(self) -> Body:
        return (self.source, self.node, self.body)

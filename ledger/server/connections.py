"""Which connections may stay: a bound on all of them, within which senders of webhooks always find room.

The address says nothing about who connects, since behind a proxy all have one. What a connection has done decides: one
that asks for nothing is closed after seconds, and where many are open those go first that are of the least use.
"""

import heapq
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from enum import IntEnum
from typing import Any

FIRST_REQUEST_SECONDS = 10.0
"""A connection has so long for the head of its first request. Half a head is none."""
KEPT_SECONDS = 620.0
"""A connection without a request stays so long: longer than senders keep one, since a request may be on its way when a
server closes it. Go's client keeps 90 s, load balancers 60 to 600 s."""
CROWDED = 0.5
"""Beyond this share of the bound the first request has less time."""
CROWDED_FIRST_REQUEST_SECONDS = 2.0
FILLED = 0.75
"""Beyond this share idle connections are closed, so that a new one never waits for room for long."""

CONNECTION = "presence_ledger.connection"
"""Where a request's scope has its connection."""

Peer = tuple[str, str]
"""Address and port, as granian names them in a request's scope."""


class Standing(IntEnum):
    """What a connection's requests have shown of who sends them; the lower, the sooner it is closed."""

    STRANGER = 0
    """No credential that is right."""
    KEYED = 1
    """An API key."""
    SENDER = 2
    """A webhook's secret."""


SILENT, SURPLUS = "no_request", "crowded"
"""Why a connection was closed, as the log and `/metrics` say it."""


class TrackedConnection:
    """One connection, from its first request on or from when it was seen."""

    __slots__ = ("has_asked", "since", "standing", "under_way")

    def __init__(self, since: float) -> None:
        self.since = since
        """When it was opened, or its last request began or ended; of a monotonic clock."""
        self.standing = Standing.STRANGER
        self.under_way = 0
        """Requests without their whole answer."""
        self.has_asked = False

    def vouch(self, standing: Standing) -> None:
        """A request of it has shown a credential."""
        self.standing = max(self.standing, standing)

    @property
    def rank(self) -> tuple[Standing, bool, bool, float]:
        """The lower, the sooner it is closed: the one that has waited longest, among those with as much to lose."""
        return self.standing, self.has_asked, self.under_way > 0, self.since

    @property
    def is_due(self) -> bool:
        """Whether a webhook on it waits for its answer."""
        return self.standing is Standing.SENDER and self.under_way > 0


class Connections:
    """The connections of one listener; requests begin and end in the event loop, `to_close` is asked by a thread."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._clock = clock
        self._enough = int(most * FILLED)
        self._by_peer: dict[Peer, TrackedConnection] = {}

    def begin(self, peer: Peer) -> TrackedConnection:
        """A request has come, its head complete."""
        now = self._clock()
        connection = self._by_peer.get(peer)
        if connection is None:
            connection = self._by_peer[peer] = TrackedConnection(now)
        connection.has_asked = True
        connection.under_way += 1
        connection.since = now
        return connection

    def end(self, connection: TrackedConnection) -> None:
        """It has its answer."""
        connection.under_way -= 1
        connection.since = self._clock()

    def to_close(self, seen_at: float, peers: Collection[Peer]) -> dict[Peer, str]:
        """Of the peers connected at that instant, those to be closed, each with why.

        A webhook that waits for its answer is never among them.
        """
        self._match(seen_at, peers)
        here = {peer: self._by_peer[peer] for peer in peers}
        patience = CROWDED_FIRST_REQUEST_SECONDS if len(here) > self.most * CROWDED else FIRST_REQUEST_SECONDS
        closing = {
            peer: SILENT for peer, each in here.items() if not each.has_asked and seen_at - each.since > patience
        }
        surplus = len(here) - len(closing) - self._enough
        if surplus > 0:
            spare = [peer for peer, each in here.items() if peer not in closing and not each.is_due]
            closing |= dict.fromkeys(heapq.nsmallest(surplus, spare, key=lambda peer: here[peer].rank), SURPLUS)
        return closing

    def is_filled(self, number: int) -> bool:
        """Whether with so many it is time to make room."""
        return number >= self._enough

    def _match(self, seen_at: float, peers: Collection[Peer]) -> None:
        """Know who has come, forget who has gone; a peer younger than the look may be here though not seen."""
        for peer in peers:
            if peer not in self._by_peer:
                self._by_peer.setdefault(peer, TrackedConnection(seen_at))
        for peer, connection in list(self._by_peer.items()):
            if connection.since < seen_at and peer not in peers:
                self._by_peer.pop(peer, None)


def vouch(scope: Mapping[str, Any], standing: Standing) -> None:
    """A request has shown a credential that is right, so that its connection is not one of the first to be closed."""
    connection: TrackedConnection | None = scope.get(CONNECTION)
    if connection is not None:
        connection.vouch(standing)


class ClosedConnections:
    """What was closed since the last time it was logged, by why."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    def add(self, reasons: Collection[str]) -> None:
        self._numbers.update(reasons)

    def take(self) -> dict[str, int]:
        """The numbers, which then begin at zero again."""
        taken, self._numbers = dict(self._numbers), Counter()
        return taken

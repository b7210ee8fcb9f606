"""The webhook senders of a node as state machines: serial with its failure count (v1 to v2.2), pooled (v3). No I/O."""

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from ledger.simulator.plan import Traits


@dataclass(frozen=True, slots=True)
class Post:
    """One attempt to deliver a batch; the bytes of a retry are those of the first attempt."""

    id: int
    body: bytes
    items: tuple[str, ...]
    attempt: int
    sent_at: float


def encode(items: Iterable[str]) -> bytes:
    """The body of a webhook, as Go writes it: compact, not ASCII only."""
    return json.dumps(list(items), ensure_ascii=False, separators=(",", ":")).encode()


class Sender(Protocol):
    """What a node's sender can be told and asked; instants in seconds of the run."""

    dropped_items: int
    dropped_batches: int

    def push(self, t: float, item: str) -> None: ...
    def wake_at(self) -> float | None: ...
    def step(self, t: float) -> list[Post]: ...
    def answered(self, post: Post, t: float, delivered: bool) -> None: ...
    def flush(self) -> None: ...
    def boot(self, t: float) -> None: ...


class SerialSender:
    """v1 to v2.2: polled every 2 s when idle, else back to back; everything pending in one body; one POST at a time.

    The failure count is never reset by a success, only by the drop of a batch: after four failures at any time the
    next single failed POST loses its batch.
    """

    def __init__(self, traits: Traits, phase: float = 0.0) -> None:
        self.dropped_items = 0
        self.dropped_batches = 0
        self.failures = 0
        self._traits = traits
        self._pending: list[str] = []
        self._batch: tuple[str, ...] | None = None
        self._body = b""
        self._attempt = 0
        self._in_flight: int | None = None
        self._next_at = phase
        self._posts = 0

    def push(self, t: float, item: str) -> None:
        """Queue one item, without bound."""
        self._pending.append(item)

    def wake_at(self) -> float | None:
        """When it wants to act; None while a POST is under way."""
        return None if self._in_flight is not None else self._next_at

    def step(self, t: float) -> list[Post]:
        """Act if it is time: at most one POST."""
        if self._in_flight is not None or t < self._next_at:
            return []
        if self._batch is None:
            if not self._pending:
                self._next_at = t + self._traits.poll_seconds
                return []
            self._batch, self._pending, self._attempt = tuple(self._pending), [], 0
            self._body = encode(self._batch)
        self._attempt += 1
        self._posts += 1
        self._in_flight = self._posts
        return [Post(self._posts, self._body, self._batch, self._attempt, t)]

    def answered(self, post: Post, t: float, delivered: bool) -> None:
        """Take the answer to the POST under way; one to any other is ignored."""
        if post.id != self._in_flight:
            return
        self._in_flight = None
        if delivered:
            self._batch, self._next_at = None, t
            return
        self.failures += 1
        self._next_at = t + self._traits.pause_seconds
        if self.failures >= self._traits.attempts:
            self.dropped_items += len(post.items)
            self.dropped_batches += 1
            self._batch, self.failures = None, 0

    def flush(self) -> None:
        """A stop of these versions sends nothing more."""

    def boot(self, t: float) -> None:
        """Start from scratch: what was pending or in flight is gone, and so is the failure count."""
        self._pending, self._batch, self._in_flight, self.failures = [], None, None, 0
        self._next_at = t


class PooledSender:
    """v3: a bounded queue (full: dropped), batches of what is there or of one item after 2 s, concurrent POSTs.

    A lone item waits 2 s for company; two are sent at once, more go together while every POST is taken.
    """

    def __init__(self, traits: Traits) -> None:
        if traits.queue is None or traits.batch is None:
            raise ValueError("a pooled sender needs the bounds of its queue and its batch")
        self.dropped_items = 0
        self.dropped_batches = 0
        self._traits = traits
        self._queue_bound, self._batch_bound = traits.queue, traits.batch
        self._queue: deque[str] = deque()
        self._since = 0.0
        self._in_flight: set[int] = set()
        self._retries: list[Post] = []
        self._posts = 0
        self._hurry = False

    def push(self, t: float, item: str) -> None:
        """Queue one item; at the bound it is dropped."""
        if len(self._queue) >= self._queue_bound:
            self.dropped_items += 1
            return
        if not self._queue:
            self._since = t
        self._queue.append(item)

    def wake_at(self) -> float | None:
        """When it wants to act; None while nothing waits or every POST is taken."""
        if self._retries:
            return self._retries[0].sent_at
        if not self._queue or len(self._in_flight) >= self._traits.senders:
            return None
        return self._since + (0.0 if self._hurry or len(self._queue) > 1 else self._traits.poll_seconds)

    def step(self, t: float) -> list[Post]:
        """Act if it is time: retries first, then as many batches as there are free POSTs."""
        posts, self._retries = self._retries, []
        while self._queue and len(self._in_flight) < self._traits.senders:
            if len(self._queue) == 1 and not self._hurry and t < self._since + self._traits.poll_seconds:
                break
            items = tuple(self._queue.popleft() for _ in range(min(len(self._queue), self._batch_bound)))
            self._posts += 1
            self._since = t
            self._in_flight.add(self._posts)
            posts.append(Post(self._posts, encode(items), items, 1, t))
        return posts

    def answered(self, post: Post, t: float, delivered: bool) -> None:
        """Take the answer to a POST under way; a failed one goes again at once, three times in all."""
        if post.id not in self._in_flight:
            return
        if not delivered and post.attempt < self._traits.attempts:
            self._in_flight.discard(post.id)
            self._posts += 1
            self._in_flight.add(self._posts)
            self._retries.append(Post(self._posts, post.body, post.items, post.attempt + 1, t))
            return
        self._in_flight.discard(post.id)
        if not delivered:
            self.dropped_items += len(post.items)
            self.dropped_batches += 1

    def flush(self) -> None:
        """A stop sends what is there without waiting for company."""
        self._hurry = True

    def boot(self, t: float) -> None:
        """Start from scratch: what was queued or in flight is gone."""
        self._queue.clear()
        self._in_flight.clear()
        self._retries.clear()
        self._hurry = False


def make_sender(traits: Traits, phase: float) -> Sender:
    """The sender of a node of this version; `phase` is the instant of its first poll."""
    return SerialSender(traits, phase) if traits.queue is None else PooledSender(traits)

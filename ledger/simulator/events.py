"""What a simulated world tells about itself: actions of clients and servers, POSTs on their way, and their answers."""

from dataclasses import dataclass, field
from typing import Any

EVENT = "user.onlinestatus"
Answer = str


@dataclass(frozen=True, slots=True)
class Action:
    """What really happened at `t` (seconds of the run); `line` is it as a line of a recording (interface, §4)."""

    t: float
    do: str
    line: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A POST that reaches the receiver at `t`. `copy` above 1 is a copy that something on the way made.

    `answer_lost`: the receiver's answer will not reach the sender, who will send the same bytes again.
    `patience_seconds`: how much longer the sender waits.
    """

    t: float
    node: str
    post: int
    body: bytes
    items: int
    attempt: int
    copy: int
    answer_lost: bool
    patience_seconds: float


@dataclass(frozen=True, slots=True)
class AnsweredWebhook:
    """An arrival with its answer: "ok" (200), another status, "reset", "slow" (timed out) or "refused"."""

    arrival: Arrival
    answer: Answer

    @property
    def t(self) -> float:
        """When it reached the receiver, in seconds of the run."""
        return self.arrival.t

    def line(self) -> dict[str, Any]:
        """The webhook as a line of a recording."""
        return {
            "t": round(self.arrival.t, 4),
            "kind": "webhook",
            "node": self.arrival.node,
            "event": EVENT,
            "body": self.arrival.body.decode(),
            "answer": self.answer,
        }


Happening = Action | Arrival
SimulatedEvent = Action | AnsweredWebhook


@dataclass(slots=True)
class Totals:
    """Sums of a run; `sent` counts POSTs that left a node, `accepted` the arrivals answered 200."""

    actions: int = 0
    items: int = 0
    sent: int = 0
    retried: int = 0
    copied: int = 0
    lost_on_the_way: int = 0
    accepted: int = 0
    refused: int = 0
    dropped_batches: int = 0
    dropped_items: int = 0

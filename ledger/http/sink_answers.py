"""What the API answers about sinks."""

from typing import Literal

from msgspec import Struct

from ledger.domain.instants import Timestamp

SinkState = Literal["new", "following", "failing", "paused", "stopped"]


class SinkErrorBody(Struct):
    """The last attempt that failed."""

    at: Timestamp
    reason: str


class SinkBody(Struct, kw_only=True):
    """A sink: up to where it has been told, and how it fares.

    `new`: no instance has led the sinks since it was added to the settings. `failing`: what is being told has failed,
    and is told again after a pause. `stopped`: the receiver wants no more, and nothing is told until it is resumed.
    """

    name: str
    kind: str
    list: str
    state: SinkState
    position: int
    lag_events: int
    told: int
    failures: int
    last_success_at: Timestamp | None
    last_error: SinkErrorBody | None
    failing_since: Timestamp | None
    paused_at: Timestamp | None
    stopped_at: Timestamp | None


class SinkItems(Struct):
    """The sinks of the settings, in their order."""

    items: list[SinkBody]

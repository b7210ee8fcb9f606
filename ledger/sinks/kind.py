"""What a kind of sink is: one small module that tells a receiver what the follower hands to it.

The follower knows checkpoints, leadership, batches, coalescing, pauses between attempts and what is kept of users; a
kind knows how its receiver is told. It is called from one event loop, one call at a time, by the one instance that
leads; an instance that has been deposed may still be in the middle of a last call, so a receiver that can compare
keeps the later in the order of `ChangeOrder`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.events import Status
from ledger.domain.instants import Timestamp
from ledger.domain.observation import Instant

T = TypeVar("T")


class ChangeOrder(NamedTuple):
    """Where what is told lies: within an epoch, later is what has the greater position, then the later instant."""

    epoch: str
    position: int
    at: Instant


class ToldDevice(msgspec.Struct, frozen=True):
    """One device of a user, as `GET` shows it."""

    source: str
    device_flag: int | None
    device: str
    status: Status
    since: Timestamp
    sessions: int


class ToldPrevious(msgspec.Struct, frozen=True):
    """What was shown before the change."""

    status: Status
    since: Timestamp | None


class ToldPresence(msgspec.Struct, frozen=True):
    """A presence, as `GET` shows it: what most kinds read of it."""

    uid: str
    status: Status
    since: Timestamp | None
    devices: list[ToldDevice]
    version: int
    reason: str | None = None
    previous: ToldPrevious | None = None


_decode = msgspec.json.Decoder(ToldPresence).decode


@dataclass(frozen=True, eq=False)
class ToldChange:
    """A user of whom something else is shown now: the bytes that are told, and where they lie.

    `body` is a JSON object: the presence as `GET` shows it at `order`, `as_of` with the epoch included, and `previous`
    where it is a change. Of several changes that were told as one, `previous` is that of the first.
    """

    uid: str
    body: bytes
    order: ChangeOrder
    erased: bool = False
    """Whether they have been erased since they were told of: whatever is kept of them is to be forgotten."""

    @cached_property
    def presence(self) -> ToldPresence:
        """The same, to be read."""
        return _decode(self.body)


@dataclass(frozen=True)
class Batch:
    """Changes to be told in one go, in the order of the ledger; of a user one, unless the sink tells of `every` one.

    Asked again after a failure it is the very same batch, `id` included, unless something newer is known of one of its
    users: then it is a new one, with a new `id`.
    """

    id: str
    changes: Sequence[ToldChange]
    remembered: Mapping[str, bytes] = field(default_factory=dict)
    """By user, what `Done.remember` said when they were told of last; of those of whom it said something."""
    made_at: Instant = 0
    begin: int = 0
    """The position up to which the sink had been told before it,"""
    end: int = 0
    """and after it."""


@dataclass(frozen=True)
class Done:
    """The receiver has it. What `remember` says of users is kept with the checkpoint; None: nothing more."""

    remember: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Retry:
    """It has not, or nobody knows: it is told again later, as soon as `after_seconds` where the receiver says so.

    `reason` is for people: what happened, without a secret and without what the receiver wrote.
    """

    reason: str
    after_seconds: float | None = None


@dataclass(frozen=True)
class Stop:
    """The receiver wants no more: nothing is told until somebody resumes the sink."""

    reason: str


Outcome = Done | Retry | Stop


class Head(NamedTuple):
    """Up to here the ledger has been read for this sink, and what was to be told of it has been."""

    order: ChangeOrder
    waiting: int
    """Changes that are known and have not been told."""


class Kind(Protocol):
    """One sink's way to its receiver, from the begin of a term as the leading instance to its end."""

    async def tell(self, batch: Batch) -> Outcome:
        """Tell the receiver. May take its time: what changes meanwhile waits, coalesced. What it raises is a Retry."""
        ...

    async def keep(self, head: Head) -> Outcome | None:
        """Called every second or so, between two batches: what the receiver is to have even if nothing changes.

        A Retry is followed by a pause, as that of a batch; None says that nothing was tried.
        """
        ...

    async def close(self) -> None:
        """The term is over."""
        ...


class Surroundings(Protocol):
    """What a kind may ask of the ledger. Both raise StoreUnavailable."""

    async def read(self, function: Callable[[Connection[TupleRow]], T]) -> T:
        """What a function reads over a connection in autocommit that other questions of this sink wait for."""
        ...

    async def answers(self, uids: Sequence[str]) -> Sequence[ToldChange]:
        """What `GET` answers of users now, without `previous`, all at one order."""
        ...

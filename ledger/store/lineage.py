"""What this process knows of the ledger's chain of seals: whether the database still has it, or went back behind it.

A fail-over to a standby that lacks the last commits, a crash without `synchronous_commit`, a restored data directory:
positions are then given to other events. No number tells; the seal of a commit does, since it stands on all before it.
"""

import threading
from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple

from psycopg import Connection

from ledger.store import seals
from ledger.store.seals import Anchor

MOST = 1024
"""So many seals are remembered; then older ones are forgotten, …"""
RECENT = 32
"""… but for the last ones, every other one of as many before, every fourth of twice as many, and so on."""


class Lost(NamedTuple):
    """A ledger that went back: from the last position that was known, to the last one known that is still there."""

    known: int
    common: int


class Lineage:
    """The seals that were seen, oldest first. Any number of threads may ask.

    `number` grows with each time that the ledger went back, and with each epoch that somebody else has begun: what was
    learnt under another number no longer stands.
    """

    def __init__(self) -> None:
        self.number = 0
        self._epoch: str | None = None
        self._seen: list[Anchor] = []
        self._places: list[int] = []
        """Of each, how many were seen before it."""
        self._changing = threading.Lock()

    def is_last(self, seal: bytes | None) -> bool:
        """Whether this seal, the last one of the database, is the last one known."""
        seen = self._seen
        return bool(seen) and seen[-1].seal == seal

    def holds(self, connection: Connection[Any]) -> bool:
        """Whether the database has all that was known when this was asked."""
        seen = self._seen
        return not seen or _has(connection, seen[-1])

    def lost(self, connection: Connection[Any], seal: bytes | None) -> Lost | None:
        """What the database lacks whose last seal is this one; None: nothing."""
        if self.is_last(seal) or self.holds(connection):
            return None
        seen = self._seen
        there, gone = 0, len(seen)
        # Whatever has a seal has all those before it.
        while there < gone:
            middle = (there + gone) // 2
            if _has(connection, seen[middle]):
                there = middle + 1
            else:
                gone = middle
        return Lost(seen[-1].position, seen[there - 1].position if there else 0)

    def note(self, anchor: Anchor, number: int) -> None:
        """A commit was seen, while the number was this one."""
        with self._changing:
            seen = self._seen
            if number != self.number or (seen and seen[-1].position >= anchor.position):
                return
            self._places.append(self._places[-1] + 1 if self._places else 0)
            seen.append(anchor)
            if len(seen) > MOST:
                last = self._places[-1]
                self._keep([place % _every(last - place) == 0 for place in self._places])

    def _keep(self, wanted: Sequence[bool]) -> None:
        """Forget the others, in new lists: a thread that walks the old one right now keeps it to the end."""
        self._places, self._seen = list(compress(self._places, wanted)), list(compress(self._seen, wanted))

    def see(self, epoch: str, anchor: Anchor | None, number: int) -> int:
        """The database is in this epoch, and its last commit is this one, seen while the number was that -> the number.

        Nothing that is known may be missing there.
        """
        with self._changing:
            if self._epoch not in (None, epoch):
                self.number += 1
            self._epoch = epoch
        if anchor is not None:
            self.note(anchor, number)
        return self.number

    def went_back(self, lost: Lost) -> None:
        """Forget what the database lacks; what is there now is noted when it is next seen."""
        with self._changing:
            self.number += 1
            # It has just begun a new one.
            self._epoch = None
            self._keep([anchor.position <= lost.common for anchor in self._seen])


def _every(age: int) -> int:
    """Of those with so many after them, one of how many is kept."""
    return 1 << max(0, (age // RECENT).bit_length() - 1)


def _has(connection: Connection[Any], anchor: Anchor) -> bool:
    return seals.up_to(connection, anchor.position) == anchor.seal

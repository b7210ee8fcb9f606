"""A commit: the lock that each one holds, what it appends to the table `events`, and the seal that ends it."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.store import identity, partitions, seals
from ledger.store.rows import PackedRows
from ledger.store.seal import SealChain
from ledger.store.seals import Anchor
from ledger.store.session import DURABLY

CHANNEL = "events"
"""Notified at each commit, without a payload."""

COMMIT_LOCK = 0x70726573_656E6365
"""The advisory lock that each commit holds: "presence" in ASCII."""

LOCK_TIMEOUT_SECONDS = 5.0
"""How long a commit waits for the lock by default, and then gives up: an import may hold it for minutes."""

LONG_LOCK_TIMEOUT_SECONDS = 15.0
"""Where giving up costs more than waiting: the largest body holds the lock for several seconds."""

# The condition holds before anything is selected, so the bound is in force when the lock is waited for. That the commit
# survives a crash is said in its own transaction: whatever a session was set to, an answer has been given for it.
LOCK: LiteralString = f"""
SELECT pg_advisory_xact_lock(%s)
 WHERE set_config('lock_timeout', %s, true) IS NOT NULL
   AND set_config('synchronous_commit', {DURABLY}, true) IS NOT NULL
"""

# A statement of its own, after the lock's: only then its snapshot holds the commits that the lock waited for.
# What is sealed counts, too: a position is never given twice, not even where the event that had it was removed.
# Events before the last seal's are in partitions that need not be looked into.
HEAD: LiteralString = f"""
SELECT greatest(last.position, sealed.last_position, 0), greatest(clock_timestamp(), last.recorded_at),
       sealed.seal, ({identity.EPOCH}), ({partitions.ROOM})
  FROM (VALUES (1)) AS always (one)
  LEFT JOIN ({seals.LAST}) AS sealed ON true
  LEFT JOIN LATERAL last_event_from(coalesce(sealed.last_position, 0)) AS last ON true
"""  # noqa: S608  (of constants)

_INSERT = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
SELECT stream, version, %s::bigint + number, kind, payload, %s
  FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
       WITH ORDINALITY AS appended (stream, version, kind, payload, number)
"""

DELIVERY = """
SELECT position FROM event_of_delivery(%s)
"""

# One look into the index for each: with an array of them the planner may read the whole table.
_DELIVERIES = """
SELECT asked.delivery FROM unnest(%s::text[]) AS asked (delivery), LATERAL event_of_delivery(asked.delivery) AS held
"""


class Commit:
    """A transaction that holds the commit lock: what it appends follows `head` at once, and is sealed when it ends.

    What is read under the lock is read through `connection`: to wait for another one of the pool, whose holders may all
    be waiting for the lock, would end by a time-out only.
    """

    def __init__(
        self,
        connection: Connection[TupleRow],
        head: int,
        recorded_at: datetime,
        chain: SealChain,
        lineage: int,
        room: int,
    ) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.head = head
        self.recorded_at = recorded_at
        self.lineage = lineage
        """What was learnt under another number no longer stands: the ledger went back since."""
        self.anchor: Anchor | None = None
        """What it left to be known by, once it is sealed."""
        self._chain = chain
        self._room = room
        """The first position that no partition is for."""

    def holds_delivery(self, delivery: str) -> bool:
        """Whether a delivery is in the ledger: tells a commit that was lost from one whose answer was."""
        return self.cursor.execute(DELIVERY, (delivery,)).fetchone() is not None

    def held_deliveries(self, deliveries: Sequence[str]) -> set[str]:
        """Which of these are in the ledger."""
        return {row[0] for row in self.cursor.execute(_DELIVERIES, (list(deliveries),))}

    def append(self, packed: Sequence[PackedRows]) -> None:
        """Insert rows in their order. Raises psycopg.IntegrityError where a version is taken."""
        self.append_at(packed, self.head + 1, self.recorded_at)

    def append_at(self, packed: Sequence[PackedRows], first: int, recorded_at: datetime) -> None:
        """Insert rows that have their places already, from position `first` on, all recorded at one instant.

        That is what an import does, once for each run of consecutive positions with one `recorded_at`, in ascending
        order. Raises ValueError where `first` is not above the head, psycopg.IntegrityError where a version is taken.
        """
        if first <= self.head:
            raise ValueError(f"position {first} is not above {self.head}, the last one")
        if (last := first + sum(rows.number for rows in packed) - 1) >= self._room:
            # It is made ahead; this is for a burst that comes before, and for an import from far ahead.
            self._room = partitions.make_room(self.cursor, last)
        for rows in packed:
            self.cursor.execute(
                _INSERT, (first - 1, recorded_at, rows.streams, rows.versions, rows.kinds, rows.payloads)
            )
            seals.write(self.cursor, self._chain.add(first, recorded_at, rows.digests))
            first += rows.number
            self.head = first - 1

    def notify(self) -> None:
        """Tell the followers of the ledger, once the transaction commits."""
        self.cursor.execute(f"NOTIFY {CHANNEL}")

    def seal(self) -> None:
        """Seal what was appended, as the last thing in the transaction."""
        if (sealed := self._chain.end()) is not None:
            seals.write(self.cursor, sealed)
            self.anchor = Anchor(self.head, sealed.seal)

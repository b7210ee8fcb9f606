"""Holds every event against the seals, and every seal against the one before it: names the first place that differs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection, IsolationLevel

from ledger.errors import LedgerError
from ledger.store import erased, partitions, raw_events, seals, verified
from ledger.store.archive.beside import LOCK
from ledger.store.archive.manifest import ArchiveDamaged
from ledger.store.archive.sealed_rows import KeptDiffers, SealedRows
from ledger.store.raw_events import Row, decode_position
from ledger.store.seal import Seal, SealKeys
from ledger.store.seal_head import SealHead, new_head
from ledger.store.verified import BACK, BY_WRITER, EVERYTHING, TAKEN_AGAIN, Altered, Extent, KeyMissing, Verified
from ledger.text import counted

WINDOW_EVENTS = 50_000
WINDOW_SEALS = 1_000
"""About so much is read by one COPY."""

Told = Callable[[int, int], None]


class BeyondHead(LedgerError):
    """What is to be checked comes after a position that the ledger has not reached."""


@contextmanager
def snapshot(connection: Connection[Any]) -> Iterator[None]:
    """A transaction that sees one state of the ledger, however long it takes, and changes nothing."""
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    with connection.transaction():
        # Before the snapshot: nothing is archived from then on until it ends.
        connection.execute(LOCK)
        yield


def verify(connection: Connection[Any], keys: SealKeys, told: Told, extent: Extent = EVERYTHING) -> Verified:
    """Walk over the ledger in a `snapshot`, which may be over then; `told`: how many events were checked, of how many.

    Raises BeyondHead where `after` is, unless the head that is expected tells that the ledger was cut.
    """
    after, expected = extent.after, extent.expected
    if (
        after is not None
        and expected is None
        and after > (head := max(raw_events.head(connection), seals.last_position(connection)))
    ):
        raise BeyondHead(
            f"Position {after} is beyond the head, which is {head}: there is nothing to check.\n"
            "Name a position of this ledger, or check all of it without --after."
        )
    rows = SealedRows(connection, extent.archive)
    return _Walk(connection, keys, told, after, expected, rows, rows.before if extent.only_archive else None).go()


class _Walk:
    def __init__(
        self, connection: Connection[Any], keys: SealKeys, told: Told, after: int | None, expected: SealHead | None,
        rows: SealedRows, before: int | None,
    ) -> None:  # fmt: skip
        self._rows = rows
        self._before = before
        """The first position that is of no interest; None: there is none."""
        self._connection = connection
        self._keys = keys
        self._told = told
        start = seals.Start(raw_events.FIRST - 1) if after is None else seals.start_after(connection, after)
        self._read = start.position
        """The last position whose event was read."""
        self._sealed = max(start.position, 0)
        """The last one that was found to be as it was sealed …"""
        self._seal = start.previous
        """… and its seal."""
        self._seals = self._passed = start.number
        self._events = 0
        self._expected = expected
        self._missing: KeyMissing | None = None
        self._is_whole = after is None and before is None
        self._erasures = erased.read(connection)
        self._erased = 0
        head = raw_events.head(connection) if before is None else before - 1
        self._total = max(head - self._sealed, 0)

    def go(self) -> Verified:
        altered = self._walk()
        head = new_head(self._sealed, self._seal, self._seals, datetime.now(UTC))
        missing = None if altered else self._missing
        events, seals, files = self._events, self._seals - self._passed, len(self._rows.manifests)
        return Verified(events, seals, head, altered, missing, self._erased, files)

    def _walk(self) -> Altered | None:
        """Window by window: first the seals, then the events that they seal."""
        if (altered := self._check_head(self._sealed)) is not None:
            return altered
        without = raw_events.number_without_position(self._connection)
        with closing(seals.read(self._connection, self._read + 1)) as chain:
            while True:
                window, broken = self._window(chain)
                if broken is not None and not self._is_by_key_here(broken, window):
                    self._missing = self._key_missing(broken)
                if (altered := self._check(window, self._upto(window, broken))) is not None:
                    return altered
                if self._missing is not None:
                    return None
                if broken is not None:
                    return Altered(self._sealed + 1, verified.broken(broken))
                if not window or self._is_past(window[-1]):
                    break
        if self._expected is not None:
            what = f"what the head knows up to position {self._expected.position:,} was cut off from here on"
            return Altered(self._sealed + 1, what)
        if self._is_whole and (again := self._version_taken_again()) is not None:
            return again
        what = f"{counted(without, 'event')} without a position {'was' if without == 1 else 'were'} put in"
        return Altered(self._sealed + 1, what) if without else None

    def _is_past(self, seal: Seal) -> bool:
        return self._before is not None and seal.last_position >= self._before - 1

    def _version_taken_again(self) -> Altered | None:
        """What no key of a single partition sees: two events of one version, both sealed."""
        if not partitions.divides(self._connection):
            return None
        position = raw_events.taken_again(self._connection)
        return None if position is None else Altered(position, TAKEN_AGAIN, BY_WRITER)

    def _window(self, chain: Iterator[Seal]) -> tuple[list[Seal], Seal | None]:
        """The next seals that stand on each other, and the one after them if that does not."""
        window: list[Seal] = []
        previous, events = self._seal, 0
        while events < WINDOW_EVENTS and len(window) < WINDOW_SEALS and (seal := next(chain, None)) is not None:
            key = self._keys.get(seal.key_id)
            if key is None or not seal.follows(previous, key):
                return window, seal
            window.append(seal)
            if self._is_past(seal):
                break
            previous = seal.seal
            events += seal.last_position - seal.first_position + 1
        return window, None

    def _is_by_key_here(self, seal: Seal, window: list[Seal]) -> bool:
        """Whether a key that is here made it, be it under another one's name."""
        previous = window[-1].seal if window else self._seal
        return seal.key_id in self._keys or any(
            seal._replace(key_id=key.id).follows(previous, key) for key in self._keys.values()
        )

    def _key_missing(self, seal: Seal) -> KeyMissing:
        first, last = seals.positions_sealed_by(self._connection, seal.key_id, seal.first_position)
        return KeyMissing(seal.key_id, first, last)

    def _upto(self, window: list[Seal], broken: Seal | None) -> int:
        """How far events are read after these seals: what lies before a broken one has none."""
        if broken is not None:
            return max(broken.first_position - 1, window[-1].last_position if window else self._read)
        return window[-1].last_position if window else raw_events.LAST

    def _check(self, window: list[Seal], up_to: int) -> Altered | None:
        if up_to <= self._read:
            return None
        try:
            return self._check_rows(window, up_to)
        except ArchiveDamaged as error:
            return Altered(max(error.position, self._sealed + 1), error.what, BACK, error.name)
        except KeptDiffers as error:
            return Altered(error.position, error.what)

    def _check_rows(self, window: list[Seal], up_to: int) -> Altered | None:
        with closing(self._rows.between(self._read + 1, up_to)) as rows:
            for seal in window:
                if (altered := self._check_run(seal, rows)) is not None:
                    return altered
            if left := raw_events.take(rows, 1).places:
                return self._put_in(decode_position(left[0]), self._sealed)
        self._read = up_to
        self._told(self._events, self._total)
        return None

    def _check_run(self, seal: Seal, rows: Iterator[Row]) -> Altered | None:
        left, number = self._erasures.left(seal), seal.last_position - seal.first_position + 1
        taken = raw_events.take(rows, number if left is None else len(left.positions))
        different = raw_events.differs(taken, seal, left)
        if different is not None:
            self._events += different
            there = taken.places[different:] + raw_events.take(rows, 1).places
            positions = range(seal.first_position, seal.last_position + 1) if left is None else left.positions
            return self._difference(seal, positions, different, there)
        self._events += len(taken.places)
        self._erased += number - len(taken.places)
        self._seals += 1
        self._sealed, self._seal = seal.last_position, seal.seal
        return self._check_head(seal.first_position)

    def _check_head(self, first: int) -> Altered | None:
        """Whether the chain goes through the head that was kept, once it has come there; `first` is of its last run."""
        expected = self._expected
        if expected is None or expected.position > self._sealed:
            return None
        self._expected = None
        if (expected.position, expected.seal, expected.seals) == (self._sealed, self._seal, self._seals):
            return None
        return Altered(
            first,
            f"the seal of position {expected.position:,} is not the head's: what stands there, or before it, was "
            "cut off or rewritten with the key",
            "A backup from before that head tells what stood there.",
        )

    def _difference(self, seal: Seal, positions: Sequence[int], number: int, rows: list[bytes]) -> Altered:
        """What is wrong at one place of a run, from the rows that are there and after it."""
        expected = positions[number]
        found = decode_position(rows[0]) if rows else None
        if found is None or found > expected:
            return Altered(expected, "the event was removed")
        if found < expected:
            return self._put_in(found, expected - 1 if number else self._sealed)
        if len(rows) > 1 and decode_position(rows[1]) == expected:
            return verified.twice(expected)
        if not raw_events.is_recorded_at(rows[0], seal):
            return Altered(expected, "recorded_at of the event was altered")
        return Altered(expected, "the event was altered, or another one put in its place")

    def _put_in(self, position: int, last: int) -> Altered:
        """What a row is that has no place there; `last` is the position before it that was checked."""
        if self._erasures.gone(position, position):
            return Altered(position, "an event was put in where one was erased")
        return verified.unsealed(position, last)

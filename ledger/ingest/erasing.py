"""Erasure: everything that names a user is removed and put on record, in one commit; `erasing_end` is what follows.

What names them beside others is looked for before the commit lock is taken, through all of the ledger; under the lock
only what has come since. Whatever crashes before the commit has done nothing; after it, the row of the erasure says
what is still to be done, whichever instance does it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.domain.alert_events import SERVICE, AlertBegan, AlertEnded
from ledger.domain.erasure import Name, pack_positions
from ledger.domain.erasure_events import Redacted, UserErased
from ledger.domain.event_types import Event
from ledger.domain.nodes import OpenRun
from ledger.domain.observation import Instant
from ledger.domain.reconciliation_events import RunCounts, RunEnded
from ledger.errors import LedgerError
from ledger.ingest import erasing_archived
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.ingest.erasing_archived import ArchiveMoved, Rewritten
from ledger.ingest.erasing_others import Naming, left_of, naming, run_by
from ledger.store import erased
from ledger.store.archive import table
from ledger.store.commit import LONG_LOCK_TIMEOUT_SECONDS
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.store.seal import SealKey
from ledger.working_state import alerts, erasures, sources, watch_list_changes
from projections.engine import checkpoints, rebuild


class NeverSeen(LedgerError):
    """Nothing here names the user, and they were never erased."""


class RebuildUnderWay(LedgerError):
    """A projection is being rebuilt, from events that an erasure would remove under it."""

    def __init__(self) -> None:
        super().__init__("A projection is being rebuilt; nothing was erased.\nTry again once the rebuild has ended.")


class SpoolHoldsWebhooks(LedgerError):
    """Webhooks wait in a spool that may name the user, and would bring them back."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Webhooks that were received before wait in the spool of {host}, and may name the user; nothing was "
            "erased.\nTry again once it is empty: `spooling` in its /health/ready is null then."
        )


class Order(NamedTuple):
    """Why, and by which API key."""

    reason: str
    by: str


class Erasure(NamedTuple):
    """An erasure on record; `is_new`: made just now."""

    position: int
    event: UserErased
    is_new: bool


def erase(
    ledger: Ledger,
    uid: str,
    order: Order,
    keys: Sequence[SealKey],
    at: Instant,
    archive: Folder = Path(),
    nothing_waits: Callable[[Connection[TupleRow]], None] = lambda _: None,
) -> Erasure:
    """Erase a user; where nothing has named them since the last time, that one's record.

    `keys`: the newest first, which the hash is made with. `archive`: the folder of its files. `nothing_waits`
    raises where what was received before would come only after it; asked at once, and again under the lock.

    Raises ArchiveDamaged, ArchiveUnwritable, NeverSeen, RebuildUnderWay, StoreUnavailable.
    """
    name = Name(uid)
    with ledger.connection() as connection:
        nothing_waits(connection)
        head = checkpoints.head(connection)
        before = erasures.find(connection, uid, keys)
        is_known = bool(erased.positions_of(connection, uid)) or erasures.names(connection, uid)
        of_sources = set(sources.holding(connection, uid))
        with connection.transaction():
            found = [row.position for row in naming(ledger, connection, name, 0, head)]
    if not is_known and not found:
        if before is None:
            raise NeverSeen(f"the user {uid!r} was never seen")
        return _on_record(ledger, before)
    while True:
        with ledger.connection() as connection, connection.transaction():
            # The files first: whatever they hold is in what is read then, as others' erasures have left it by now.
            there = table.read(connection)
            after, head = head, checkpoints.head(connection)
            left = list(left_of(ledger, erased.rows_at(connection, found), name))
            left += naming(ledger, connection, name, after, head)
        found = [each.position for each in left]
        of_sources |= run_by(left)
        with contextlib.suppress(ArchiveMoved):
            archived = erasing_archived.rewritten(
                ledger, archive, uid, there, {each.position: each.payload for each in left}
            )
            try:
                return _Attempt(ledger, name, order, keys[0], at, head, archived, found, nothing_waits).run(of_sources)
            except _OtherSources as others:
                of_sources |= others.names
            except _NothingLeft:
                # Somebody else was faster.
                if (by_another := get(ledger, uid, keys)) is None:
                    raise NeverSeen(f"the user {uid!r} was never seen") from None
                return by_another
            finally:
                archived.clean(ledger, archive)


def get(ledger: Ledger, uid: str, keys: Sequence[SealKey]) -> Erasure | None:
    """The last erasure of a user, if there was one. Raises StoreUnavailable."""
    with ledger.connection() as connection:
        position = erasures.find(connection, uid, keys)
    return None if position is None else _on_record(ledger, position)


class _OtherSources(Exception):
    """Sources whose states are to be read, too, since their runs name the user."""

    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names = names


class _NothingLeft(Exception):
    """By now nothing names the user."""


class _Attempt:
    """One commit: what it is to remove is found under the lock, put on record, and removed."""

    def __init__(
        self, ledger: Ledger, name: Name, order: Order, key: SealKey, at: Instant, head: int, archived: Rewritten,
        found: Sequence[int], nothing_waits: Callable[[Connection[TupleRow]], None],
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._name = name
        self._order = order
        self._key = key
        self._at = at
        self._head = head
        self._archived = archived
        self._found = found
        self._nothing_waits = nothing_waits
        self._positions: list[int] = []
        self._left: list[Naming] = []
        self._draft: Draft | None = None
        self._sources: list[str] = []

    def run(self, of_sources: Iterable[str]) -> Erasure:
        self._sources = sorted({SERVICE, *of_sources})
        known = dict.fromkeys(self._sources)
        appended = append(
            self._ledger, known, (), self._decide, self._write, self._load, lock_timeout=LONG_LOCK_TIMEOUT_SECONDS
        )
        position, event = appended.events[-1]
        assert isinstance(event, UserErased)
        return Erasure(position, event, is_new=True)

    def _load(self, connection: Connection[TupleRow]) -> None:
        if not rebuild.keep_from_beginning(connection):
            raise RebuildUnderWay
        self._nothing_waits(connection)
        checkpoints.hold_all(connection.cursor())
        self._archived.expect(table.read(connection))
        self._positions = [*self._archived.positions, *erased.positions_of(connection, self._name.uid)]
        earlier = erased.rows_at(connection, self._found)
        self._left = list(left_of(self._ledger, earlier, self._name))
        self._left += naming(self._ledger, connection, self._name, self._head, checkpoints.head(connection))
        if not self._positions and not self._left and not erasures.names(connection, self._name.uid):
            raise _NothingLeft
        if missing := run_by(self._left) - set(self._sources):
            raise _OtherSources(missing)

    def _decide(self, draft: Draft) -> Iterator[Recorded]:
        self._draft = draft
        for source in self._sources:
            for run, opened in draft.source(source).open_runs.items():
                if self._name.uid in opened.uids:
                    # What is open is kept in memory by many; its end makes all of them forget whom it named.
                    yield draft.append_to_source(source, _ended(run, opened, self._at))
        yield draft.append_to_source(SERVICE, self._event())

    def _event(self) -> UserErased:
        redacted = [
            Redacted(each.position, erased.digest_of(each.row, each.payload).hex())
            for each in sorted(self._left, key=lambda each: each.position)
        ]
        return UserErased(
            at=self._at,
            by=self._name.masked(self._order.by),
            reason=self._name.masked(self._order.reason),
            uid_hash=erasures.uid_hash(self._name.uid, self._key).hex(),
            key_id=self._key.id.hex(),
            events=len(self._positions),
            positions=pack_positions(self._positions),
            redacted=tuple(redacted),
        )

    def _write(self, cursor: Cursor[Any], events: list[tuple[int, Event]]) -> None:
        position, uid = events[-1][0], self._name.uid
        erasures.add(cursor, position, uid, self._key, self._at)
        self._archived.put(cursor)
        erased.take(cursor, position, uid, [(each.position, each.payload) for each in self._left])
        watch_list_changes.take_off_all(cursor.connection, uid, self._name.masked(self._order.by))
        erasures.remove(cursor, uid)
        for each in self._left:
            if isinstance(each.event, AlertBegan | AlertEnded):
                alerts.rewrite_figures(cursor, each.event.alert, each.event.figures)
        assert self._draft is not None
        sources.write(cursor, map(sources.to_row, map(self._draft.source, self._sources)))


def _ended(run: str, opened: OpenRun, at: Instant) -> RunEnded:
    return RunEnded(
        run=run,
        at=at,
        started_at=opened.started_at,
        scope=opened.scope,
        outcome="interrupted",
        counts=RunCounts(),
        node=opened.node,
    )


def _on_record(ledger: Ledger, position: int) -> Erasure:
    rows = ledger.events_recorder.ledger_rows(after=position - 1, limit=1)
    event = ledger.event(rows[0])
    assert isinstance(event, UserErased)
    return Erasure(position, event, is_new=False)

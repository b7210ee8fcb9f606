"""Archiving: the oldest partition is written to files, proven, and only then taken out of the database.

Whoever is killed, at whatever instant, has lost nothing: until the one commit that puts the small table in the
partition's place nothing of the database has changed, and from then on the files are whole, durable and proven.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import psycopg
import structlog
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.domain.alert_events import SERVICE
from ledger.domain.archive_events import ArchivedFile, EventsArchived
from ledger.domain.event_types import Event
from ledger.domain.observation import Instant
from ledger.errors import LedgerError
from ledger.ingest.append import append
from ledger.ingest.archive_turn import ArchiveWaits, alone, clean, discard, keep_out_rebuild, when_free
from ledger.ingest.draft import Draft
from ledger.store import erased, raw_events
from ledger.store.archive import files, manifest, partitions, proving, table, writing
from ledger.store.archive.manifest import Manifest
from ledger.store.archive.partitions import Partition
from ledger.store.archive.proving import Different
from ledger.store.archive.table import FileGone
from ledger.store.commit import LONG_LOCK_TIMEOUT_SECONDS
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.store.raw_events import Row
from ledger.store.seal import instant_from_count
from ledger.working_state import erasures
from projections.models import boundary, session_trimming
from projections.models.boundary import ErasedMeanwhile, RebuiltMeanwhile

log = structlog.get_logger()

MAX_FILE_EVENTS = 5_000_000
"""A larger partition makes several files."""

Told = Callable[[int, int], None]
"""Told how many events are done, of how many."""

Step = Callable[[str], None]
"""Told each step before it is taken."""


class ArchiveRefused(LedgerError):
    """What would be archived is not what was sealed; nothing was."""


class Retention(NamedTuple):
    """What is to leave the database, and where it goes."""

    older_than: datetime
    folder: Folder
    sinks: Sequence[str]
    """Whose events stay until they have been told."""


class Archived(NamedTuple):
    """A partition that was archived, and the files that its events are in."""

    partition: str
    first: int
    before: int
    files: Sequence[Manifest]

    @property
    def events(self) -> int:
        return sum(each.events for each in self.files)


def _ignore(_: object, __: object = None) -> None:
    """Where nobody wants to know."""


class Archiving:
    """Archives one partition after another over connections of its own."""

    def __init__(
        self, ledger: Ledger, database_url: str, retention: Retention, now: Callable[[], Instant],
        told: Told = _ignore, step: Step = _ignore,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._database_url = database_url
        self._retention = retention
        self._now = now
        self._told = told
        self._step = step

    def run(self) -> Iterator[Archived]:
        """Archive all that is to be, oldest first.

        Raises ArchiveDamaged, ArchiveRefused, ArchiveUnwritable, ArchiveWaits, StoreUnavailable.
        """
        with alone(self._database_url, self._retention.folder) as connection:
            # What one that was killed has left.
            session_trimming.trim(connection)
            while (due := self._due(connection)) is not None:
                archived = self._archive(connection, due)
                self._step("trim")
                session_trimming.trim(connection)
                yield archived

    def _due(self, connection: Connection[TupleRow]) -> Partition | None:
        """The next partition that is old enough. Raises ArchiveWaits."""
        found = partitions.next_full(connection)
        if found is None or (found.ends_at is not None and found.ends_at >= self._retention.older_than):
            return None
        waits_for = partitions.behind(connection, found.before - 1, list(self._retention.sinks))
        if waits_for is not None:
            what = "sink" if waits_for.is_sink else "projection"
            raise ArchiveWaits(
                f"The {what} '{waits_for.name}' is at position {waits_for.position:,} and still needs what is to be "
                f"archived, up to {found.before - 1:,}.\nIt is archived once that has followed; a paused sink is to be "
                "resumed, or taken out of the settings."
            )
        return found

    def _archive(self, connection: Connection[TupleRow], due: Partition) -> Archived:
        while True:
            erased_at = erasures.last_position(connection)
            try:
                return self._attempt(connection, due, erased_at)
            except ErasedMeanwhile:
                log.info("archiving_again", meaning="a user was erased meanwhile, who may be in what was written")
            except FileGone:
                log.info("archiving_again", meaning="it took so long that what was written was removed as left over")
            except RebuiltMeanwhile:
                log.info("archiving_again", meaning="the projection `snapshots` was rebuilt meanwhile")

    def _attempt(self, connection: Connection[TupleRow], due: Partition, erased_at: int) -> Archived:
        written: list[Manifest] = []
        try:
            self._step("write")
            written.extend(self._write(connection, due))
            self._step("prove")
            self._prove(connection, written, erased_at)
            self._step("snapshots")
            snapshots = boundary.table_id(connection)
            for each in written:
                # A file is read from its beginning, and nothing of the one before it.
                boundary.write(connection, each.first, each.before, erased_at)
            self._step("keep")
            kept = partitions.keep(connection, due.name)
            self._step("replace")
            archived = Archived(due.name, due.first, due.before, written)
            known = (erased_at, snapshots)
            when_free(connection, due.name, lambda: _Replacing(self._ledger, archived, kept, known, self._now()).run())
        except Exception:  # whatever failed, what was written is of no use; raised again
            with suppress(psycopg.Error):
                discard(connection, self._retention.folder, [each.name for each in written])
            raise
        self._step("drop")
        clean(connection, self._retention.folder)
        return archived

    def _write(self, connection: Connection[TupleRow], due: Partition) -> Iterator[Manifest]:
        """Write the partition's events into files; together they are for all of its positions."""
        folder, total = self._retention.folder, due.before - due.first
        if due.ends_at is None:
            yield manifest.empty(due.first, due.before, due.name, self._retention.older_than)
            return
        writing.make_folder(folder)
        with connection.transaction(), closing(raw_events.rows(connection, due.first, due.before - 1)) as rows:
            first, left = due.first, _Lookahead(rows)
            while left.has_more():
                name = manifest.new_name(first)
                with self._ledger.connection() as noting:
                    table.note(noting.cursor(), [name])
                part = islice(left, MAX_FILE_EVENTS)
                found = writing.write(folder, name, _counted(part, first - due.first, total, self._told))
                before = found.last.position + 1 if left.has_more() else due.before
                yield Manifest(
                    first, before, due.name, name, found.events, found.size, found.sha256,
                    instant_from_count(found.first.recorded_at), instant_from_count(found.last.recorded_at),
                )  # fmt: skip
                first = before

    def _prove(self, connection: Connection[TupleRow], written: Sequence[Manifest], erased_at: int) -> None:
        """Read what was written again, and hold it against the seals.

        Raises ArchiveDamaged, ArchiveRefused, ErasedMeanwhile.
        """
        with connection.transaction():
            erasures_known = erased.read(connection)
            if erasures.last_position(connection) != erased_at:
                raise ErasedMeanwhile
            for each in written:
                if each.events:
                    files.check(self._retention.folder, each)
                    different = proving.first_difference(connection, self._retention.folder, each, erasures_known)
                    if different is not None:
                        raise _refused(different)


class _Replacing:
    """One attempt at the commit."""

    def __init__(self, ledger: Ledger, archived: Archived, kept: str, known: tuple[int, int], at: Instant) -> None:
        """`known`: the position of the last erasure, and which table has the snapshots."""
        self._ledger = ledger
        self._archived = archived
        self._kept = kept
        self._known = known
        self._at = at

    def run(self) -> None:
        append(
            self._ledger, {SERVICE: None}, (), self._decide, self._write, self._load,
            lock_timeout=LONG_LOCK_TIMEOUT_SECONDS,
        )  # fmt: skip

    def _load(self, connection: Connection[TupleRow]) -> None:
        erased_at, snapshots = self._known
        if erasures.last_position(connection) != erased_at:
            raise ErasedMeanwhile
        if table.before(connection) >= self._archived.before:
            raise ArchiveWaits("Another one has archived this meanwhile.\nNothing more is to be done.")
        keep_out_rebuild(connection)
        if boundary.table_id(connection) != snapshots:
            raise RebuiltMeanwhile

    def _decide(self, draft: Draft) -> Iterator[Recorded]:
        archived = self._archived
        listed = tuple(ArchivedFile(each.name, each.events, each.size, each.sha256) for each in archived.files)
        event = EventsArchived(at=self._at, first=archived.first, before=archived.before, files=listed)
        yield draft.append_to_source(SERVICE, event)

    def _write(self, cursor: Cursor[Any], _: list[tuple[int, Event]]) -> None:
        table.add(cursor, self._archived.files)
        partitions.replace(cursor, self._archived.partition, self._kept)


class _Lookahead(Iterator[Row]):
    """Rows, of which it is known whether there are more."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def has_more(self) -> bool:
        return self._next is not None

    def __next__(self) -> Row:
        if (found := self._next) is None:
            raise StopIteration
        self._next = next(self._rows, None)
        return found


def _counted(rows: Iterator[Row], done: int, total: int, told: Told) -> Iterator[Row]:
    for number, row in enumerate(rows):
        if number % writing.ROWS_A_GROUP == 0:
            told(done + number, total)
        yield row


def _refused(different: Different) -> ArchiveRefused:
    return ArchiveRefused(
        f"At position {different.position:,}: {different.what}. Nothing has left the database.\n"
        "`presence-ledger verify` tells more; what is not as it was sealed is not archived."
    )

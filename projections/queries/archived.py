"""Questions about the past, part of which may be archived: asked of the database, or with archived files beside it.

Which it is, is decided in the very snapshot that answers, so that what is archived meanwhile is missing in no answer.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, LiteralString, NamedTuple, TypeVar

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.store.archive import beside, table
from ledger.store.archive.beside import Wanted
from ledger.store.archive.manifest import ArchiveDamaged, Manifest
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import user_stream
from ledger.store.recorder import StoredRow
from ledger.store.seal import instant_from_count
from projections.engine.switch import ONE_MOMENT
from projections.models.current import can_be_stored
from projections.models.shown import AnswerPoint
from projections.queries import history

T = TypeVar("T")

Needs = Callable[[Connection[TupleRow], int], Wanted | None]
"""What of the archive a question needs, told the first position that is not archived; None: nothing."""

_FIRST = "SELECT version FROM events WHERE stream = %s ORDER BY version LIMIT 1"

_IS_KNOWN = "SELECT FROM current WHERE uid = %s"

# What an explanation looks for before the start of an instance, unless it is in the table.
_STARTS = """
SELECT position - 1 FROM events AS started
 WHERE kind = 'service_started.v1' AND position < %s
   AND NOT EXISTS (SELECT FROM events WHERE position = started.position - 1)
"""


class Asked(NamedTuple, Generic[T]):
    """An answer; `before`: files of the archive were read for it, which ends before that position."""

    answer: T
    before: int | None


class Archive:
    """The archive of a ledger, as those who ask about the past see it."""

    def __init__(self, ledger: Ledger, database_url: str, folder: Folder) -> None:
        self._ledger = ledger
        self._database_url = database_url
        self._folder = folder

    def ask(self, tables: LiteralString, needs: Needs, question: Callable[[Connection[TupleRow]], T]) -> Asked[T]:
        """The answer to a question that reads one snapshot of `events` and these tables.

        Raises ArchiveDamaged, StoreUnavailable, and what the question does.
        """
        with self._ledger.connection() as connection, connection.transaction():
            connection.execute(ONE_MOMENT.format(f"{tables}, ONLY events"), prepare=False)
            before = table.before(connection)
            wanted = needs(connection, before) if before else None
            if wanted is None:
                return Asked(question(connection), None)
        with translated(), beside.opened(self._database_url, self._folder, wanted, tables) as found:
            return Asked(question(found.connection), found.before)

    def rows_after(self, position: int, limit: int) -> Asked[list[StoredRow]]:
        """The next events of the whole ledger, in the order of their positions.

        Raises ArchiveDamaged, StoreUnavailable.
        """
        while True:
            try:
                return self._rows_after(position, limit)
            except ArchiveDamaged as error:
                with self._ledger.connection() as connection:
                    if table.has(connection, error.name):
                        raise

    def _rows_after(self, position: int, limit: int) -> Asked[list[StoredRow]]:
        found: list[StoredRow] = []
        with self._ledger.connection() as connection, connection.transaction():
            connection.execute(ONE_MOMENT.format("ONLY events"), prepare=False)
            before = table.before(connection)
            after = max(position, before - 1)
            for manifest in table.read(connection, position + 1) if position < after else ():
                found += islice(_rows_of(self._folder, manifest, position + 1), limit - len(found))
                if len(found) == limit:
                    break
            else:
                found += self._ledger.events_recorder.ledger_rows(
                    after=after, limit=limit - len(found), connection=connection
                )
        return Asked(found, before if position < after else None)


def _rows_of(folder: Folder, manifest: Manifest, first: int) -> Iterator[StoredRow]:
    # Only who reads the archive needs its library, which is large.
    from ledger.store.archive import files  # noqa: PLC0415

    events = files.rows(files.groups(folder, manifest, first))
    for position, recorded_at, version, stream, kind, payload in events:
        yield StoredRow(position, stream, version, kind, payload, instant_from_count(recorded_at))


def of_user(connection: Connection[TupleRow], uid: str, version: int = 1) -> Wanted | None:
    """What was archived of a user; None where nothing of the events from a version on was."""
    if not can_be_stored(uid):
        return None
    row = connection.execute(_FIRST, (user_stream(uid),)).fetchone()
    if row is None:
        # Of whom nobody knows, nothing is archived either: an erasure has reached it.
        is_known = connection.execute(_IS_KNOWN, (uid,)).fetchone() is not None
        return Wanted([user_stream(uid)]) if is_known else None
    return Wanted([user_stream(uid)]) if row[0] > version else None


def to_explain(connection: Connection[TupleRow], before: int, uid: str, made: AnswerPoint) -> Wanted | None:
    """What an explanation cites: whatever the user has, and what came last before an instance's start."""
    wanted = of_user(connection, uid)
    if wanted is None and made.position >= before:
        return None
    starts = [position for (position,) in connection.execute(_STARTS, (before,))]
    return (wanted or Wanted([])).with_last_up_to([made.position, *starts])


def as_of(connection: Connection[TupleRow], before: int, uids: Sequence[str], made: AnswerPoint) -> Wanted | None:
    """What users are folded from for an answer about the past: each has a snapshot where a file ends."""
    base = min(made.position, history.position_at(connection, made.at))
    if base >= before - 1:
        return None
    streams = [user_stream(uid) for uid in uids if can_be_stored(uid)]
    return Wanted(streams, whole_from=base, up_to=made.position)

"""Rebuilding `current`: all users folded from scratch, compared with the live rows, which the new table then replaces.

It is written with the events and not by the projector, so the engine's rebuild is not for it; it is divided among
processes and switched as that is. Nothing is judged here and nothing is written twice, so that folding takes little
longer than to fetch the events.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, LiteralString, NamedTuple, cast

import psycopg
from psycopg import Connection, Cursor, ServerCursor
from psycopg.rows import TupleRow

from ledger.archive_folder import Folder
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.errors import LedgerError
from ledger.store import distribution, session
from ledger.store.commit import COMMIT_LOCK
from ledger.store.ledger import translated
from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.engine import archived, checkpoints, switch
from projections.engine.by_stream import STREAM_BY_STREAM, StreamShare, opened, partitions
from projections.engine.rebuild import Progress, Waiting, ignore, limit_lock_wait, switch_when_free
from projections.engine.shares import ReportDone, together
from projections.models import current

TABLES = ("current",)

FETCHED_ROWS = 5_000

MAX_CATCH_UP_EVENTS = 20_000
"""Folded in one go, and so few may be left for the moment in which appends wait."""

NAMED_USERS = 5
"""Of those whose rows differ."""

_USUAL = "webhook_observed.v2"

# User by user, so that each one's presence is at hand until it is complete.
_STREAMS_TEMPLATE: LiteralString = """
SELECT stream, position, nullif(kind, %s), payload FROM events WHERE starts_with(stream, 'user:') AND {}
"""
_STREAMS = _STREAMS_TEMPLATE.format(STREAM_BY_STREAM)

_EVENTS = """
SELECT stream, position, kind, payload FROM events
 WHERE position > %s AND position <= %s AND starts_with(stream, 'user:') ORDER BY position
"""

_DIFFERENT = """
SELECT count(*), coalesce((array_agg(uid ORDER BY uid))[1:%s], '{{}}')
  FROM (SELECT coalesce(live.uid, made.uid) AS uid
          FROM current AS live FULL JOIN {}.current AS made ON live.uid = made.uid
         WHERE live IS DISTINCT FROM made) AS different
"""


class FoldFailed(LedgerError):
    """An event cannot be folded; the live table is as it was."""


class Compared(NamedTuple):
    """The rebuilt rows compared with the live ones, both as of a position."""

    position: int
    different: int
    uids: Sequence[str]
    """The first few users whose rows differ."""


class RebuildCurrent:
    """The rebuild of `current` over a connection of `alone`."""

    def __init__(self, connection: Connection[TupleRow], database_url: str, archive: Folder | None = None) -> None:
        """`archive`: the folder of its files."""
        self._archive = archive
        self._connection = connection
        self._database_url = database_url
        self._mapper = EventMapper()
        self._position = 0

    def run(self, progress: Progress, waiting: Waiting = ignore) -> Compared:
        """Build it, compare, catch up, and switch.

        Raises ArchiveDamaged, ArchiveUnknown, FoldFailed, ProcessEnded, RebuildRefused, StoreUnavailable.
        """
        self.build(progress)
        compared = self.compare()
        self._catch_up()
        switch_when_free(self._connection, TABLES, self._switch, self._catch_up, waiting)
        return compared

    def build(self, progress: Progress) -> None:
        """Fill a new table alongside the live one, as far as the ledger goes now."""
        up_to, folded = checkpoints.head(self._connection), 0

        def report(events: int) -> None:
            nonlocal folded
            folded += events
            progress(folded, max(up_to, folded))

        with self._connection.transaction():
            switch.begin(self._connection.cursor(), TABLES, indexed=False)
        archived.put_beside(self._connection, self._archive)
        together(partial(fold_partitions, self._database_url), partitions(up_to), report)
        with self._connection.transaction():
            cursor = self._connection.cursor()
            switch.index(cursor, TABLES)
            switch.analyze(cursor, TABLES)
        self._position = up_to

    def compare(self) -> Compared:
        """Compare every column of every row with the live table, in one snapshot."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor = self._connection.cursor(binary=True)
            self._fold_up_to(cursor, checkpoints.head(self._connection))
            row = cursor.execute(_DIFFERENT.format(switch.SCHEMA), (NAMED_USERS,)).fetchone()
        assert row is not None
        return Compared(self._position, row[0], row[1])

    def _catch_up(self) -> None:
        while True:
            behind = checkpoints.head(self._connection) - self._position
            with self._connection.transaction():
                up_to = self._position + min(behind, MAX_CATCH_UP_EVENTS)
                self._fold_up_to(self._connection.cursor(binary=True), up_to)
            if behind <= MAX_CATCH_UP_EVENTS:
                return

    def _switch(self) -> int:
        """The last events and the switch, while appends wait."""
        before = self._position
        try:
            with self._connection.transaction():
                cursor = self._connection.cursor(binary=True)
                limit_lock_wait(cursor)
                distribution.allow_exchange(cursor)
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
                self._fold_up_to(cursor, checkpoints.head(self._connection))
                switch.switch(cursor, TABLES)
        except psycopg.errors.LockNotAvailable:
            self._position = before
            raise
        return self._position

    def _fold_up_to(self, cursor: Cursor[Any], up_to: int) -> None:
        """Bring the new table to a position, in parts."""
        while self._position < up_to:
            until = min(up_to, self._position + MAX_CATCH_UP_EVENTS)
            rows = cursor.execute(_EVENTS, (self._position, until)).fetchall()
            with switch.named_first(cursor):
                current.write(cursor, list(current.to_rows(self._folded(rows))))
            self._position = until

    def _folded(self, rows: Sequence[TupleRow]) -> Iterable[Presence]:
        uids = {stream[len(USER_PREFIX) :] for stream, *_ in rows}
        presences = dict(current.load(self._connection, list(uids)))
        for stream, position, kind, payload in rows:
            uid, event = stream[len(USER_PREFIX) :], cast(UserEvent, self._mapper.event_at(position, kind, payload))
            presences[uid] = evolve(presences.get(uid) or Presence(uid), event, position)
        return presences.values()


def fold_partitions(database_url: str, share: Sequence[StreamShare], report: ReportDone) -> None:
    """Fill the new table with the presences of these users, as of the partitions' position, a transaction for each.

    Raises FoldFailed, StoreUnavailable.
    """
    mapper = EventMapper()
    with translated(), session.connect(database_url, "rebuild", autocommit=False) as connection:
        connection.execute("SET synchronous_commit = off")
        for partition in share:
            cursor = connection.cursor()
            with opened(connection, _STREAMS, (_USUAL,), partition) as events, switch.named_first(cursor):
                current.insert(cursor, current.to_rows(_fold_streams(events, mapper, report)))
            connection.commit()


def _fold_streams(events: ServerCursor[TupleRow], mapper: EventMapper, report: ReportDone) -> Iterator[Presence]:
    """Each user's presence, when its last event has come."""
    usual, last, position = mapper.decoder(_USUAL), "", 0
    presence = Presence("")
    try:
        while rows := events.fetchmany(FETCHED_ROWS):
            for stream, position, kind, payload in rows:
                if stream != last:
                    if last:
                        yield presence
                    last, presence = stream, Presence(stream[len(USER_PREFIX) :])
                event = usual(payload) if kind is None else cast(UserEvent, mapper.event(kind, payload))
                presence = evolve(presence, event, position)
            report(len(rows))
    except (psycopg.Error, OSError):
        raise
    except Exception as error:  # whatever folding raises, the event is named by which it was met
        raise FoldFailed(
            f"the event at position {position} cannot be folded: {type(error).__name__}: {error}.\n"
            "The live table is as it was; upgrade to the version that wrote the event."
        ) from error
    if last:
        yield presence

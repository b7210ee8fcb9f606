"""Rebuilding `current`: all users folded anew from the ledger, held against the live rows, and put in their place."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.store.commit import COMMIT_LOCK
from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.engine import switch
from projections.engine.fold import fold_all
from projections.engine.rebuild import Progress, Waiting, be_quick, head, until_switched, untold
from projections.models import current

TABLES = ("current",)

CAUGHT_UP_EVENTS = 20_000
"""Folded in one go, and so few may be left for the moment in which nobody can append."""

NAMED_USERS = 5
"""Of those whose rows differ."""

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


class Compared(NamedTuple):
    """The rebuilt rows held against the live ones, both as of a position."""

    position: int
    different: int
    uids: Sequence[str]
    """The first few users whose rows differ."""


class RebuildCurrent:
    """`current` made anew over a connection of `alone`."""

    def __init__(self, connection: Connection[TupleRow], database_url: str) -> None:
        self._connection = connection
        self._database_url = database_url
        self._mapper = EventMapper()
        self._position = 0

    def run(self, progress: Progress, waiting: Waiting = untold) -> Compared:
        """Build it, compare, catch up, and switch. Raises FoldFailed, RebuildRefused, StoreUnavailable."""
        self.build(progress)
        compared = self.compare()
        self._catch_up()
        until_switched(self._connection, TABLES, self._switch, self._catch_up, waiting)
        return compared

    def build(self, progress: Progress) -> None:
        """Fill a new table beside the live one, as far as the ledger goes now."""
        up_to, folded = head(self._connection), 0

        def told(events: int) -> None:
            nonlocal folded
            folded += events
            progress(folded, max(up_to, folded))

        with self._connection.transaction():
            switch.begin(self._connection.cursor(), TABLES, indexed=False)
        fold_all(self._database_url, up_to, told)
        with self._connection.transaction():
            cursor = self._connection.cursor()
            switch.index(cursor, TABLES)
            switch.analyze(cursor, TABLES)
        self._position = up_to

    def compare(self) -> Compared:
        """Hold every column of every row against the live table, of one moment."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor = self._connection.cursor(binary=True)
            self._fold_upto(cursor, head(self._connection))
            row = cursor.execute(_DIFFERENT.format(switch.SCHEMA), (NAMED_USERS,)).fetchone()
        assert row is not None
        return Compared(self._position, row[0], row[1])

    def _catch_up(self) -> None:
        while True:
            behind = head(self._connection) - self._position
            with self._connection.transaction():
                up_to = self._position + min(behind, CAUGHT_UP_EVENTS)
                self._fold_upto(self._connection.cursor(binary=True), up_to)
            if behind <= CAUGHT_UP_EVENTS:
                return

    def _switch(self) -> int:
        """The last events and the switch, while nobody can append."""
        before = self._position
        try:
            with self._connection.transaction():
                cursor = self._connection.cursor(binary=True)
                be_quick(cursor)
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
                self._fold_upto(cursor, head(self._connection))
                switch.switch(cursor, TABLES)
        except psycopg.errors.LockNotAvailable:
            self._position = before
            raise
        return self._position

    def _fold_upto(self, cursor: Cursor[Any], up_to: int) -> None:
        """Bring the new table to a position, in parts."""
        while self._position < up_to:
            until = min(up_to, self._position + CAUGHT_UP_EVENTS)
            rows = cursor.execute(_EVENTS, (self._position, until)).fetchall()
            with switch.named_first(cursor):
                current.write(cursor, list(current.to_rows(self._folded(cursor, rows))))
            self._position = until

    def _folded(self, cursor: Cursor[Any], rows: Sequence[TupleRow]) -> Iterable[Presence]:
        by_user: dict[str, list[tuple[int, UserEvent]]] = {}
        for stream, position, kind, payload in rows:
            event = cast(UserEvent, self._mapper.event_at(position, kind, payload))
            by_user.setdefault(stream[len(USER_PREFIX) :], []).append((position, event))
        presences = dict(current.load(self._connection, list(by_user)))
        for uid, events in by_user.items():
            presence = presences.get(uid) or Presence(uid)
            for position, event in events:
                presence = evolve(presence, event, position)
            presences[uid] = presence
        return presences.values()

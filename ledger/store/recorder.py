"""The recorder: events are appended in commits under one lock, and read by stream and by position.

The library's PostgreSQL recorder, extended at its seams: our own DDL and names, arrays sent in binary instead of
composite types as text (a third of the time an event), one transaction-level advisory lock instead of `LOCK TABLE`
(which stalls against VACUUM), positions counted under that lock, so that they have no gaps, and `recorded_at`, which
never goes back.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, TypeAlias, cast
from uuid import UUID

import structlog
from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow, dict_row, tuple_row

from ledger.store import identity, seals
from ledger.store.commit import CHANNEL, COMMIT_LOCK, DELIVERY, HEAD, LOCK, LOCK_TIMEOUT_SECONDS, Commit
from ledger.store.lineage import Lineage, Lost
from ledger.store.rows import Rows
from ledger.store.seal import SealChain, SealKey
from ledger.store.seals import Anchor

log = structlog.get_logger()

_STREAM = "SELECT stream, version, kind, payload FROM events WHERE stream = %s"

_FEED = "SELECT position, stream, version, kind, payload FROM events"

_SAID = "SELECT position, stream, kind, payload FROM events WHERE position > %s"

_ROWS = "SELECT position, stream, version, kind, payload, recorded_at FROM events"


# The kinds of the index.
_SIGNS: LiteralString = """
 WHERE stream = %s AND kind IN ('service_started.v1', 'service_stopped.v1', 'node_down.v1', 'node_booted.v1',
                               'node_settled.v1', 'source_dark.v1', 'source_lit.v1', 'breaker_opened.v1',
                               'breaker_closed.v1')
   AND kind = %s
"""

_STARTS = """
SELECT stream FROM events WHERE kind = 'service_started.v1' AND payload_json(payload) ->> 'instance' = %s
"""


class StoredRow(NamedTuple):
    """An event as it lies in the table, with its place and the instant of its commit."""

    position: int
    stream: str
    version: int
    kind: str
    payload: bytes
    recorded_at: datetime


SaidRow: TypeAlias = tuple[int, str, str, bytes]
"""Position, stream, kind and payload: what a follower needs of very many."""


def knows_instance(connection: Connection[Any], instance: str) -> bool:
    """Whether the start of an instance is on record."""
    return connection.execute(_STARTS, (instance,)).fetchone() is not None


class LedgerRecorder(PostgresApplicationRecorder):
    """The library's application recorder on our table `events`."""

    def __init__(self, datastore: PostgresDatastore, seal_key: SealKey) -> None:
        super().__init__(datastore, events_table_name=CHANNEL)
        self.lineage = Lineage()
        self._seal_key = seal_key

    def create_table(self) -> None:
        """Nothing: `migrations/` makes the tables."""

    @contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """A connection of the pool whose rows are tuples; database errors are the library's or the driver's."""
        with self.datastore.get_connection() as pooled:
            # The library wants dictionaries of the same connections.
            connection = cast(Connection[TupleRow], pooled)
            connection.row_factory = tuple_row
            try:
                yield connection
            finally:
                pooled.row_factory = dict_row

    @contextmanager
    def commit(self, lock_timeout: float | None = None) -> Iterator[Commit]:
        """A transaction holding the commit lock, sealed and committed on leaving; database errors are the library's.

        One of them is LockNotAvailable, as the cause of its OperationalError: the lock was held by others for longer
        than `lock_timeout` seconds, `LOCK_TIMEOUT_SECONDS` by default.
        """
        bound = LOCK_TIMEOUT_SECONDS if lock_timeout is None else lock_timeout
        with self.connection() as connection:
            commit = None
            while commit is None:
                with connection.transaction():
                    connection.execute(LOCK, (COMMIT_LOCK, f"{bound * 1000:.0f}ms"))
                    number, row = self.lineage.number, connection.execute(HEAD).fetchone()
                    assert row is not None
                    head, recorded_at, sealed, epoch, room = row
                    lost = self.lineage.lost(connection, sealed)
                    if lost is None:
                        lineage = self.lineage.see(epoch, Anchor(head, sealed) if sealed else None, number)
                        commit = Commit(connection, head, recorded_at, SealChain(self._seal_key, sealed), lineage, room)
                        yield commit
                        commit.seal()
                    else:
                        # On record before anything is decided on it.
                        identity.go_back(connection, lost.known, lost.common)
                if lost is not None:
                    self._went_back(lost, head)
        if (anchor := commit.anchor) is not None:
            self.lineage.note(anchor, commit.lineage)

    def look(self) -> int:
        """See whether the database has all that is known of the ledger -> the number of its lineage.

        Where it has not, that is put on record, as by a commit.
        """
        with self.connection() as connection:
            number, last = self.lineage.number, seals.last(connection)
            if self.lineage.lost(connection, last and last.seal) is None:
                return self.lineage.see(identity.epoch(connection), last, number)
        with self.commit() as commit:
            return commit.lineage

    def _went_back(self, lost: Lost, head: int) -> None:
        self.lineage.went_back(lost)
        log.error(
            "ledger_went_back",
            known=lost.known,
            common=lost.common,
            head=head,
            meaning="what this instance knew after the position `common` is not in the database, or is another event",
            way_out="docs/operations.md, when the ledger went back",
        )

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Append and return the positions. Not retried here: a lost answer to COMMIT would come back as a conflict."""
        rows = Rows()
        for event in stored_events:
            rows.add(str(event.originator_id), event.originator_version, event.topic, event.state)
        packed = rows.pack()
        with self.commit() as commit:
            first = commit.head + 1
            commit.append(packed)
            commit.notify()
        return list(range(first, commit.head + 1))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """The events of one stream by version."""
        rows = self._select(
            _STREAM,
            [str(originator_id)],
            [(" AND version > %s", gt), (" AND version <= %s", lte)],
            " ORDER BY version DESC" if desc else " ORDER BY version",
            limit,
        )
        return [StoredEvent(stream, version, kind, payload) for stream, version, kind, payload in rows]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """The events of the whole ledger by position."""
        rows = self._select(
            _FEED + " WHERE true",
            [],
            [
                (" AND position >= %s" if inclusive_of_start else " AND position > %s", start),
                (" AND position <= %s", stop),
                (" AND kind = ANY(%s)", list(topics) or None),
            ],
            " ORDER BY position",
            limit,
        )
        return [
            Notification(stream, version, kind, payload, position) for position, stream, version, kind, payload in rows
        ]

    def max_notification_id(self) -> int | None:
        """The head: the last position, None while the ledger is empty."""
        rows = self._select("SELECT max(position) FROM events", [], [], "", None)
        head: int | None = rows[0][0]
        return head

    def stream_rows(
        self,
        stream: str,
        *,
        after: int | None = None,
        before: int | None = None,
        recorded_from: datetime | None = None,
        recorded_before: datetime | None = None,
        descending: bool = False,
        limit: int,
        connection: Connection[Any] | None = None,
    ) -> list[StoredRow]:
        """A page of one stream: versions above `after` and below `before`, recorded between the two instants.

        `connection`: the one to read through, where the caller holds one already.
        """
        return self._rows(
            " WHERE stream = %s",
            [stream],
            [
                (" AND version > %s", after),
                (" AND version < %s", before),
                (" AND recorded_at >= %s", recorded_from),
                (" AND recorded_at < %s", recorded_before),
            ],
            " ORDER BY version DESC" if descending else " ORDER BY version",
            limit,
            connection,
        )

    def ledger_rows(
        self,
        *,
        after: int = 0,
        streams: Sequence[str] | None = None,
        limit: int,
        connection: Connection[Any] | None = None,
    ) -> list[StoredRow]:
        """A page of the whole ledger, or of these streams: positions above `after`; `connection` as above."""
        only = None if streams is None else list(streams)
        return self._rows(
            " WHERE position > %s", [after], [(" AND stream = ANY(%s)", only)], " ORDER BY position", limit, connection
        )

    def said_after(self, after: int, limit: int, connection: Connection[Any]) -> list[SaidRow]:
        """A page of the whole ledger: positions above `after`."""
        return self._select(_SAID, [after], [], " ORDER BY position", limit, connection)

    def last_signs(self, stream: str, kind: str, limit: int, connection: Connection[Any]) -> list[StoredRow]:
        """The last events of a kind among the signs of a source, which have an index of their own; the latest first."""
        return self._rows(_SIGNS, [stream, kind], [], " ORDER BY position DESC", limit, connection)

    def streams_with_start(self, instance: str, connection: Connection[Any]) -> set[str]:
        """The sources' streams in which the start of an instance is on record."""
        return {stream for (stream,) in self._select(_STARTS, [instance], [], "", None, connection)}

    def delivery_position(self, delivery: str) -> int | None:
        """Where a delivery's own event is; the events of its items follow it."""
        rows = self._select(DELIVERY, [delivery], [], "", None)
        return rows[0][0] if rows else None

    def _rows(
        self,
        where: LiteralString,
        params: list[Any],
        conditions: Iterable[tuple[LiteralString, Any]],
        order: LiteralString,
        limit: int,
        connection: Connection[Any] | None = None,
    ) -> list[StoredRow]:
        return [StoredRow(*row) for row in self._select(_ROWS + where, params, conditions, order, limit, connection)]

    def _select(
        self,
        query: LiteralString,
        params: list[Any],
        conditions: Iterable[tuple[LiteralString, Any]],
        order: LiteralString,
        limit: int | None,
        connection: Connection[Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """Run a query with those of the conditions whose value is given."""
        for condition, value in conditions:
            if value is not None:
                query += condition
                params.append(value)
        query += order
        if limit is not None:
            query += " LIMIT %s"
            params.append(limit)
        with nullcontext(connection) if connection is not None else self.datastore.get_connection() as reading:
            cursor: Cursor[tuple[Any, ...]] = reading.cursor(binary=True, row_factory=tuple_row)
            return cursor.execute(query, params).fetchall()

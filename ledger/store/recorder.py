"""The one place that knows the table `events`: appending under one lock, and reading by stream and by position.

The library's PostgreSQL recorder, extended at its seams: our own DDL and names, arrays sent in binary instead of
composite types as text (a third of the time an event), one transaction-level advisory lock instead of `LOCK TABLE`
(which stalls against VACUUM), positions counted under that lock, so that they have no gaps, and `recorded_at`, which
never goes back.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from eventsourcing.persistence import Notification, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.rows import tuple_row

from ledger.store.arrays import BigintArray, ByteaArray, TextArray, bigints, byteas, texts

CHANNEL = "events"
"""Notified at each commit, without a payload."""

COMMIT_LOCK = 0x70726573_656E6365
"""The advisory lock that each commit holds: "presence" in ASCII."""

STATEMENT_BYTES = 8 * 1024 * 1024
"""Payload bytes of one INSERT at most; a larger append takes several in its one transaction."""

_LOCK = "SELECT pg_advisory_xact_lock(%s)"

# A statement of its own, after the lock's: only then its snapshot holds the commits that the lock waited for.
_HEAD = """
SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0),
       greatest(clock_timestamp(), (SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1))
"""

_INSERT = """
INSERT INTO events (stream, version, position, kind, payload, recorded_at)
SELECT stream, version, %s::bigint + number, kind, payload, %s
  FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bytea[])
       WITH ORDINALITY AS appended (stream, version, kind, payload, number)
"""

_MOVED = "SELECT stream, max(version) FROM events WHERE position > %s GROUP BY stream"

_STREAM = "SELECT stream, version, kind, payload FROM events WHERE stream = %s"

_FEED = "SELECT position, stream, version, kind, payload FROM events"

_ROWS = "SELECT position, stream, version, kind, payload, recorded_at FROM events"

_DELIVERY = """
SELECT position FROM events
 WHERE payload_json(payload) ->> 'delivery' = %s
   AND kind IN ('delivery_received.v1', 'body_rejected.v1')
"""


class StoredRow(NamedTuple):
    """An event as it lies in the table, with its place and the instant of its commit."""

    position: int
    stream: str
    version: int
    kind: str
    payload: bytes
    recorded_at: datetime


class Commit:
    """A transaction that holds the commit lock: what it appends follows `head` at once."""

    def __init__(self, cursor: Cursor[Any], head: int, recorded_at: datetime) -> None:
        self.cursor = cursor
        self.head = head
        self.recorded_at = recorded_at

    def moved_since(self, position: int) -> dict[str, int]:
        """The streams that grew after a position, each with its version now."""
        return dict(self.cursor.execute(_MOVED, (position,)).fetchall())

    def holds_delivery(self, delivery: str) -> bool:
        """Whether a delivery is in the ledger: tells a commit that was lost from one whose answer was."""
        return self.cursor.execute(_DELIVERY, (delivery,)).fetchone() is not None

    def append(self, packed: Sequence["PackedRows"]) -> None:
        """Insert rows in their order. Raises psycopg.IntegrityError where a version is taken."""
        for rows in packed:
            self.cursor.execute(
                _INSERT, (self.head, self.recorded_at, rows.streams, rows.versions, rows.kinds, rows.payloads)
            )
            self.head += rows.number

    def notify(self) -> None:
        """Tell the followers of the ledger, once the transaction commits."""
        self.cursor.execute(f"NOTIFY {CHANNEL}")


class Rows:
    """Events on their way into the table, column by column, in their order."""

    __slots__ = ("kinds", "payloads", "streams", "versions")

    def __init__(self) -> None:
        self.streams: list[str] = []
        self.versions: list[int] = []
        self.kinds: list[str] = []
        self.payloads: list[bytes] = []

    def add(self, stream: str, version: int, kind: str, payload: bytes) -> None:
        """One more event."""
        self.streams.append(stream)
        self.versions.append(version)
        self.kinds.append(kind)
        self.payloads.append(payload)

    def pack(self) -> list["PackedRows"]:
        """The rows as the arrays of one INSERT each, which is work to be done before the lock is taken."""
        return [self._pack(start, stop) for start, stop in self._statements()]

    def _pack(self, start: int, stop: int) -> "PackedRows":
        return PackedRows(
            stop - start,
            texts(self.streams[start:stop]),
            bigints(self.versions[start:stop]),
            texts(self.kinds[start:stop]),
            byteas(self.payloads[start:stop]),
        )

    def _statements(self) -> Iterator[tuple[int, int]]:
        start = size = 0
        for number, payload in enumerate(self.payloads):
            size += len(payload)
            if size > STATEMENT_BYTES and number > start:
                yield start, number
                start, size = number, len(payload)
        if start < len(self.payloads):
            yield start, len(self.payloads)


class PackedRows(NamedTuple):
    """The parameters of one INSERT: `number` events, packed."""

    number: int
    streams: TextArray
    versions: BigintArray
    kinds: TextArray
    payloads: ByteaArray


class LedgerRecorder(PostgresApplicationRecorder):
    """The library's application recorder on our table `events`."""

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str = CHANNEL) -> None:
        del events_table_name  # the library derives a name of its own from the application's; the table is ours
        super().__init__(datastore, events_table_name=CHANNEL)

    def create_table(self) -> None:
        """Nothing: `migrations/` makes the tables."""

    @contextmanager
    def commit(self) -> Iterator[Commit]:
        """A transaction holding the commit lock, committed on leaving; database errors are the library's."""
        with self.datastore.get_connection() as connection, connection.transaction():
            cursor = connection.cursor(row_factory=tuple_row)
            cursor.execute(_LOCK, (COMMIT_LOCK,))
            row = cursor.execute(_HEAD).fetchone()
            assert row is not None
            yield Commit(cursor, row[0], row[1])

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
    ) -> list[StoredRow]:
        """A page of one stream: versions above `after` and below `before`, recorded between the two instants."""
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
        )

    def ledger_rows(self, *, after: int = 0, limit: int) -> list[StoredRow]:
        """A page of the whole ledger: positions above `after`."""
        return self._rows(" WHERE position > %s", [after], [], " ORDER BY position", limit)

    def delivery_position(self, delivery: str) -> int | None:
        """Where a delivery's own event is; the events of its items follow it."""
        rows = self._select(_DELIVERY, [delivery], [], "", None)
        return rows[0][0] if rows else None

    def _rows(
        self,
        where: LiteralString,
        params: list[Any],
        conditions: Iterable[tuple[LiteralString, Any]],
        order: LiteralString,
        limit: int,
    ) -> list[StoredRow]:
        return [StoredRow(*row) for row in self._select(_ROWS + where, params, conditions, order, limit)]

    def _select(
        self,
        query: LiteralString,
        params: list[Any],
        conditions: Iterable[tuple[LiteralString, Any]],
        order: LiteralString,
        limit: int | None,
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
        with self.datastore.get_connection() as connection:
            cursor: Cursor[tuple[Any, ...]] = connection.cursor(binary=True, row_factory=tuple_row)
            return cursor.execute(query, params).fetchall()

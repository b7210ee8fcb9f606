"""How far each sink has been told, how it fares, and what is wanted of it: the one place that knows the two tables."""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.store.arrays import byteas, texts

MAX_ERROR_CHARACTERS = 500


class SinkCheckpoint(NamedTuple):
    """Up to where a sink has been told, in the ledger of this epoch."""

    epoch: str
    position: int
    """Of what users' events changed up to there,"""
    rules_position: int
    """of what the sources' events changed up to there, for all their users,"""
    list_number: int
    """of who came to its list by the changes of lists up to that one,"""
    at: Instant
    """and of what changed by time alone up to then."""


class SinkRow(NamedTuple):
    """A sink as it stands."""

    name: str
    checkpoint: SinkCheckpoint
    revision: int
    """Another one whenever an operator or the receiver has changed what is to be done."""
    paused_at: Instant | None
    stopped_at: Instant | None
    told: int
    failures: int
    last_success_at: Instant | None
    last_error_at: Instant | None
    last_error: str | None
    failing_since: Instant | None

    @property
    def is_held(self) -> bool:
        """Whether nothing is told until somebody resumes it."""
        return self.paused_at is not None or self.stopped_at is not None


READ: LiteralString = """
SELECT name, epoch, position, rules_position, list_number, at, revision, paused_at, stopped_at, told, failures,
       last_success_at, last_error_at, last_error, failing_since
  FROM sinks
"""

_BEHIND = "SELECT name FROM sinks WHERE name = ANY(%b) AND position < %s ORDER BY name"

_BEGIN = """
INSERT INTO sinks (name, epoch, position, rules_position, list_number, at) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""

_RECOVERED = """
UPDATE sinks SET last_success_at = %(now)s, failing_since = NULL WHERE name = %(name)s AND revision = %(revision)s
"""

# Whoever moved the checkpoint meanwhile is right.
_MOVE = """
UPDATE sinks SET epoch = %(epoch)s, position = %(position)s, rules_position = %(rules_position)s,
       list_number = %(list_number)s, at = %(at)s
 WHERE name = %(name)s AND revision = %(revision)s
"""

_SUCCEEDED = """
UPDATE sinks
   SET epoch = %(epoch)s, position = %(position)s, rules_position = %(rules_position)s,
       list_number = %(list_number)s, at = %(at)s,
       told = told + %(told)s, last_success_at = %(now)s, failing_since = NULL
 WHERE name = %(name)s AND revision = %(revision)s
"""

_FAILED = """
UPDATE sinks
   SET failures = failures + 1, last_error = %(reason)s, last_error_at = %(now)s,
       failing_since = coalesce(failing_since, %(now)s)
 WHERE name = %(name)s AND revision = %(revision)s
"""

_STOPPED = """
UPDATE sinks
   SET stopped_at = %(now)s, revision = revision + 1, failures = failures + 1, last_error = %(reason)s,
       last_error_at = %(now)s, failing_since = coalesce(failing_since, %(now)s)
 WHERE name = %(name)s AND revision = %(revision)s
"""

_PAUSE = """
UPDATE sinks SET paused_at = coalesce(paused_at, %(now)s), failing_since = NULL, revision = revision + 1
 WHERE name = %(name)s
"""

_RESUME = """
UPDATE sinks SET paused_at = NULL, stopped_at = NULL, failing_since = NULL, revision = revision + 1
 WHERE name = %(name)s
"""

_REPLAY = """
UPDATE sinks
   SET epoch = %(epoch)s, position = %(position)s, rules_position = %(rules_position)s,
       list_number = %(list_number)s, at = %(at)s,
       revision = revision + 1
 WHERE name = %(name)s
"""

_REMEMBERED = "SELECT uid, told FROM sink_users WHERE uid = ANY(%b) AND sink = %s"
_REMEMBER = """
INSERT INTO sink_users (uid, sink, told)
SELECT uid, %s, told FROM unnest(%b::text[], %b::bytea[]) AS new (uid, told)
    ON CONFLICT (uid, sink) DO UPDATE SET told = excluded.told
"""
_FORGET_USERS = "DELETE FROM sink_users WHERE uid = ANY(%b) AND sink = %s"
_FORGET_ALL = "DELETE FROM sink_users WHERE sink = %s"


def row_of(row: Sequence[Any]) -> SinkRow:
    """A row that READ found."""
    name, epoch, position, rules_position, list_number, at, *rest = row
    return SinkRow(name, SinkCheckpoint(epoch, position, rules_position, list_number, at), *rest)


def read(connection: Connection[TupleRow]) -> dict[str, SinkRow]:
    """Every sink that has ever begun, by name."""
    return {row[0]: row_of(row) for row in connection.execute(READ)}


def begin(connection: Connection[TupleRow], name: str, checkpoint: SinkCheckpoint) -> None:
    """A sink begins here, unless it has begun already."""
    connection.execute(_BEGIN, (name, *checkpoint))


def move(connection: Connection[TupleRow], row: SinkRow, checkpoint: SinkCheckpoint) -> None:
    """There was nothing more to be told up to there."""
    connection.execute(_MOVE, {**_where(row), **checkpoint._asdict()})


def succeeded(
    connection: Connection[TupleRow],
    row: SinkRow,
    checkpoint: SinkCheckpoint,
    told: int,
    remember: Mapping[str, bytes | None],
    now: Instant,
) -> None:
    """So many changes have been told; what is remembered of users is so from here on."""
    with connection.transaction():
        values = {**_where(row), **checkpoint._asdict(), "told": told, "now": now}
        if connection.execute(_SUCCEEDED, values).rowcount:
            _remember(connection.cursor(), row.name, remember)


def recovered(connection: Connection[TupleRow], row: SinkRow, now: Instant) -> None:
    """The receiver answers again; there was nothing to be told."""
    connection.execute(_RECOVERED, {**_where(row), "now": now})


def failed(connection: Connection[TupleRow], row: SinkRow, reason: str, now: Instant) -> None:
    """An attempt has failed."""
    connection.execute(_FAILED, {**_where(row), "reason": reason[:MAX_ERROR_CHARACTERS], "now": now})


def stopped(connection: Connection[TupleRow], row: SinkRow, reason: str, now: Instant) -> None:
    """The receiver wants no more."""
    connection.execute(_STOPPED, {**_where(row), "reason": reason[:MAX_ERROR_CHARACTERS], "now": now})


def pause(connection: Connection[TupleRow], name: str, now: Instant) -> bool:
    """Tell nothing until it is resumed -> whether there is such a sink."""
    return connection.execute(_PAUSE, {"name": name, "now": now}).rowcount > 0


def resume(connection: Connection[TupleRow], name: str) -> bool:
    """Go on from the checkpoint, at once -> whether there is such a sink."""
    return connection.execute(_RESUME, {"name": name}).rowcount > 0


def replay(connection: Connection[TupleRow], name: str, checkpoint: SinkCheckpoint) -> bool:
    """Tell again from there; what is remembered of users is forgotten -> whether there is such a sink."""
    with connection.transaction():
        found = connection.execute(_REPLAY, {"name": name, **checkpoint._asdict()}).rowcount > 0
        connection.execute(_FORGET_ALL, (name,))
    return found


def behind(connection: Connection[TupleRow], names: Sequence[str], position: int) -> list[str]:
    """Those of these sinks that have not been told up to a position."""
    rows = connection.cursor(binary=True).execute(_BEHIND, (texts(names), position)).fetchall()
    return [name for (name,) in rows]


def remembered(connection: Connection[TupleRow], name: str, uids: Sequence[str]) -> dict[str, bytes]:
    """What a kind remembers of these users, of those of whom it does."""
    rows = connection.cursor(binary=True).execute(_REMEMBERED, (texts(uids), name)).fetchall()
    return dict(rows)


def _remember(cursor: Cursor[Any], name: str, remember: Mapping[str, bytes | None]) -> None:
    kept = {uid: told for uid, told in remember.items() if told is not None}
    if kept:
        cursor.execute(_REMEMBER, (name, texts(list(kept)), byteas(list(kept.values()))))
    if gone := [uid for uid, told in remember.items() if told is None]:
        cursor.execute(_FORGET_USERS, (texts(gone), name))


def _where(row: SinkRow) -> dict[str, Any]:
    return {"name": row.name, "revision": row.revision}

"""The presences of users at the end of each archived file: no fold begins in an earlier one then.

Nor does anybody have to look into it for whom it tells of. Each is a row of `snapshots`, beside those of the
projection of that name.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, LiteralString, cast

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.store.archive.table import BEFORE
from ledger.store.arrays import bigints, byteas, texts
from ledger.store.mapper import EventMapper
from ledger.working_state import erasures
from projections.engine import checkpoints, switch
from projections.models.current import decode_state, encode_state
from projections.models.snapshots import EVENTS_PER_SNAPSHOT

USERS_AT_ONCE = 1_000

# Those whose last event of the stretch no snapshot is of yet.
_LASTS = """
SELECT substr(stream, 6), max(version) FROM events AS e
 WHERE position >= %s AND position < %s AND starts_with(stream, 'user:')
 GROUP BY stream
HAVING NOT EXISTS (SELECT FROM snapshots AS s WHERE s.uid = substr(e.stream, 6) AND s.version = max(e.version))
"""

_BEFORE = """
SELECT asked.uid, s.version, s.state
  FROM unnest(%b::text[], %b::bigint[]) AS asked (uid, version), LATERAL snapshot_before(asked.uid, asked.version) AS s
"""

_EVENTS = """
SELECT asked.uid, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS asked (uid, after, up_to),
       LATERAL (SELECT version, position, kind, payload FROM events
                 WHERE stream = 'user:' || asked.uid AND version > asked.after AND version <= asked.up_to) AS e
 ORDER BY asked.uid, e.version
"""

_WRITE = """
INSERT INTO snapshots (uid, version, position, state)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bytea[]) ON CONFLICT DO NOTHING
"""


_CARRY_OVER: LiteralString = f"""
INSERT INTO {switch.SCHEMA}.snapshots
SELECT * FROM snapshots WHERE position < ({BEFORE}) AND version % {EVENTS_PER_SNAPSHOT} <> 0
    ON CONFLICT DO NOTHING
"""  # noqa: S608  (of constants)


_TABLE_ID = "SELECT to_regclass('snapshots')::oid::bigint"


class ErasedMeanwhile(Exception):
    """Somebody was erased since the stretch was looked at: it is to be looked at anew."""


class RebuiltMeanwhile(Exception):
    """A rebuild has put another table in place of the one that they were written to."""


def table_id(connection: Connection[TupleRow]) -> int:
    """Which table they are written to: a rebuild, which knows nothing of them yet, has another in its place."""
    row = connection.execute(_TABLE_ID).fetchone()
    assert row is not None
    number: int = row[0]
    return number


def write(connection: Connection[TupleRow], first: int, before: int, erased_at: int) -> int:
    """Write those that are missing at the end of a stretch -> their number; `erased_at`: of the last erasure known.

    A connection in autocommit: each page is a transaction of its own. Raises ErasedMeanwhile, UnreadableEvent.
    """
    mapper, number = EventMapper(), 0
    lasts = iter(connection.execute(_LASTS, (first, before)).fetchall())
    while page := list(islice(lasts, USERS_AT_ONCE)):
        made = list(_made(connection.cursor(binary=True), mapper, page))
        with connection.transaction():
            cursor = connection.cursor()
            # An erasure waits for this, or is seen here.
            checkpoints.hold(cursor, "snapshots")
            if erasures.last_position(connection) != erased_at:
                raise ErasedMeanwhile
            cursor.execute(
                _WRITE,
                (
                    texts([presence.uid for presence in made]),
                    bigints([presence.version for presence in made]),
                    bigints([presence.position for presence in made]),
                    byteas([encode_state(presence) for presence in made]),
                ),
            )
        number += len(made)
    return number


def carry_over(cursor: Cursor[Any]) -> None:
    """Have a rebuild of the projection keep them: it makes its own alone."""
    cursor.execute(_CARRY_OVER)


def _made(cursor: Cursor[Any], mapper: EventMapper, lasts: Sequence[TupleRow]) -> Iterator[Presence]:
    uids, versions = [uid for uid, _ in lasts], [version for _, version in lasts]
    after = dict.fromkeys(uids, 0)
    presences: dict[str, Presence] = {}
    for uid, version, state in cursor.execute(_BEFORE, (texts(uids), bigints(versions))).fetchall():
        after[uid], presences[uid] = version, decode_state(state)
    asked = (texts(uids), bigints([after[uid] for uid in uids]), bigints(versions))
    for uid, position, kind, payload in cursor.execute(_EVENTS, asked).fetchall():
        event = cast(UserEvent, mapper.event_at(position, kind, payload))
        presences[uid] = evolve(presences.get(uid) or Presence(uid), event, position)
    yield from presences.values()

"""The agenda in PostgreSQL: who is to be looked at when, in each source; the one place that knows its tables."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.observation import Instant
from ledger.store.arrays import bigints, optional_bigints, optional_texts, texts

_SELECT: LiteralString = "SELECT uid, due_at, urgent, verified_at, doubt, looked_at FROM looks WHERE source = %s"

_URGENT: LiteralString = _SELECT + " AND urgent IS NOT NULL AND due_at <= %s ORDER BY due_at LIMIT %s"

_IN_TURN: LiteralString = _SELECT + " AND urgent IS NULL AND due_at <= %s ORDER BY due_at LIMIT %s"

_OF_USERS: LiteralString = _SELECT + " AND uid = ANY(%b)"

# The limit bounds the walk where few are online.
_SOONEST: LiteralString = _SELECT + " AND urgent IS NULL ORDER BY due_at LIMIT %s"

_ONLINE = "SELECT uid FROM current WHERE uid = ANY(%b) AND status = 'online'"

# A source is not asked about users whom only another one has named.
_ONLINE_AFTER = """
SELECT uid FROM current WHERE status = 'online' AND strpos(devices, %s) > 0 AND uid > %s ORDER BY uid LIMIT %s
"""

_KNOWN_AFTER: LiteralString = _SELECT + " AND uid > %s ORDER BY uid LIMIT %s"

_PUT: LiteralString = """
INSERT INTO looks AS l (uid, source, due_at, urgent, verified_at, looked_at, doubt)
SELECT uid, %(source)s, due_at, urgent, verified_at, looked_at, doubt
  FROM unnest(%(uids)b::text[], %(due)b::bigint[], %(urgent)b::text[], %(verified)b::bigint[], %(looked)b::bigint[],
              %(doubts)s::bytea[]) AS new (uid, due_at, urgent, verified_at, looked_at, doubt)
 ORDER BY uid
    ON CONFLICT (uid, source) DO UPDATE
   SET due_at = excluded.due_at, urgent = excluded.urgent,
"""

_WRITE: LiteralString = (
    _PUT + "verified_at = excluded.verified_at, looked_at = excluded.looked_at, doubt = excluded.doubt"
)

# Where it is another doubt than the one judged on, another look has been judged meanwhile; and one that was asked later
# may have been, whatever it left.
_WRITE_UNMOVED: LiteralString = (
    _PUT
    + "verified_at = greatest(l.verified_at, excluded.verified_at),"
    + " looked_at = greatest(l.looked_at, excluded.looked_at)"
    + " WHERE l.doubt IS NOT DISTINCT FROM excluded.doubt RETURNING uid"
)

_POSTPONE = """
INSERT INTO looks (uid, source, due_at)
SELECT uid, %(source)s, %(due)s FROM unnest(%(uids)b::text[]) AS uid ORDER BY uid
    ON CONFLICT (uid, source) DO UPDATE SET due_at = excluded.due_at
"""

# A row is only touched where it changes: most of what the agenda hears of changes nothing. A doubt that an event has
# made void needs no second look out of turn.
_HEAR = """
INSERT INTO looks AS l (uid, source, due_at, urgent)
SELECT heard.uid, %(source)s,
       CASE WHEN NOT heard.known THEN heard.at
            WHEN heard.why IS NULL AND heard.urgent = 'confirm' THEN heard.due
            ELSE least(heard.due, heard.due_at) END,
       heard.why
  FROM (SELECT new.uid, new.at, new.why, old.uid IS NOT NULL AS known, old.due_at, old.urgent,
               CASE WHEN new.why IS NULL THEN new.due
                    ELSE greatest(new.at, coalesce(old.looked_at + %(spacing)s, new.at)) END AS due
          FROM unnest(%(uids)b::text[], %(at)b::bigint[], %(due)b::bigint[], %(why)b::text[]) AS new (uid, at, due, why)
          LEFT JOIN looks AS old ON old.uid = new.uid AND old.source = %(source)s) AS heard
 WHERE NOT heard.known OR heard.due < heard.due_at OR (heard.why IS NULL AND heard.urgent = 'confirm')
    OR (heard.why IS NOT NULL AND heard.urgent IS NULL AND heard.due_at <= heard.at)
 ORDER BY heard.uid
    ON CONFLICT (uid, source) DO UPDATE SET due_at = excluded.due_at, urgent = excluded.urgent
"""

_DUE_COUNTS = """
SELECT count(*) FILTER (WHERE urgent IS NOT NULL), count(*)
  FROM (SELECT urgent FROM looks WHERE source = %s AND due_at <= %s LIMIT 100000) AS due
"""

_VERIFIED = "SELECT uid, max(verified_at) FROM looks WHERE uid = ANY(%b) AND verified_at <= %s GROUP BY uid"

LAST_VERIFIED: LiteralString = """
SELECT uid, max(verified_at) FROM looks WHERE uid = ANY(%b) AND verified_at IS NOT NULL GROUP BY uid
"""
"""The last looks that agreed, of those users who had one."""

_POSITION = "SELECT position FROM followers WHERE name = 'agenda'"
_FOLLOWED = "UPDATE followers SET position = %s WHERE name = 'agenda'"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Doubt).decode

Watches = dict[str, Watch]


_ADD: LiteralString = """
INSERT INTO looks (uid, source, due_at)
SELECT DISTINCT uid, split_part(token, '/', 1), 0
  FROM current, LATERAL string_to_table(btrim(devices), ' ') AS token
 WHERE token <> ''{}
    ON CONFLICT DO NOTHING
"""
_ADD_EVERYBODY: LiteralString = _ADD.format("")
_ADD_THESE: LiteralString = _ADD.format(" AND uid = ANY(%b)")


class DueCounts(NamedTuple):
    """How many users' looks are due, out of turn and in all, counted up to 100,000."""

    urgent: int
    everybody: int


def due(connection: Connection[TupleRow], source: str, now: Instant, limit: int, *, urgent: bool) -> Watches:
    """Users whose look is due, the longest waiting first: those out of turn, or those in turn."""
    return _watches(connection, _URGENT if urgent else _IN_TURN, (source, now, limit))


def of_users(connection: Connection[TupleRow], source: str, uids: Sequence[str]) -> Watches:
    """The watches of those users who have one."""
    return _watches(connection, _OF_USERS, (source, texts(uids)))


def soonest_online(connection: Connection[TupleRow], source: str, number: int) -> Watches:
    """So many online users at most who are next in turn."""
    watches = _watches(connection, _SOONEST, (source, number * 20))
    online = connection.execute(_ONLINE, (texts(list(watches)),)).fetchall()
    uids = {uid for (uid,) in online}
    return dict(islice(((uid, watch) for uid, watch in watches.items() if uid in uids), number))


def online_after(connection: Connection[TupleRow], source: str, uid: str, limit: int) -> list[str]:
    """A page of the users known to a source who are online in any, by uid."""
    return [found for (found,) in connection.execute(_ONLINE_AFTER, (f" {source}/", uid, limit)).fetchall()]


def known_after(connection: Connection[TupleRow], source: str, uid: str, limit: int) -> Watches:
    """A page of everybody known to a source, by uid."""
    return _watches(connection, _KNOWN_AFTER, (source, uid, limit))


def due_counts(connection: Connection[TupleRow], source: str, now: Instant) -> DueCounts:
    """How many looks are due."""
    row = connection.execute(_DUE_COUNTS, (source, now)).fetchone()
    assert row is not None
    return DueCounts(*row)


def write(cursor: Cursor[Any], source: str, watches: Mapping[str, Watch]) -> None:
    """Note when users are to be looked at next, and what their last look left.

    A doubt changes under the commit lock alone, since each change of it leaves an event.
    """
    if watches:
        cursor.execute(_WRITE, _columns(source, watches))


def write_unmoved(cursor: Cursor[Any], source: str, watches: Mapping[str, Watch]) -> set[str]:
    """The same, without the lock, of looks that leave doubts as they found them.

    -> the users whose doubt was another one by now; of them nothing is noted
    """
    if not watches:
        return set()
    written = cursor.execute(_WRITE_UNMOVED, _columns(source, watches)).fetchall()
    return watches.keys() - {uid for (uid,) in written}


def _columns(source: str, watches: Mapping[str, Watch]) -> dict[str, Any]:
    values = watches.values()
    return {
        "source": source,
        "uids": texts(list(watches)),
        "due": bigints([watch.due_at for watch in values]),
        "urgent": optional_texts([watch.urgent for watch in values]),
        "verified": optional_bigints([watch.verified_at for watch in values]),
        "looked": optional_bigints([watch.looked_at for watch in values]),
        "doubts": [None if watch.doubt is None else _encode(watch.doubt) for watch in values],
    }


def postpone(cursor: Cursor[Any], source: str, uids: Sequence[str], due_at: Instant) -> None:
    """Let users be looked at by an instant, whatever else is noted of them."""
    cursor.execute(_POSTPONE, {"source": source, "uids": texts(uids), "due": due_at})


class Heard(NamedTuple):
    """What the ledger says of a user: when, when the look in turn is due after it, and why one out of turn, if so."""

    at: Instant
    due_at: Instant
    why: str | None = None


def hear(cursor: Cursor[Any], source: str, heard: Mapping[str, Heard], spacing: int) -> None:
    """Put who is new on the agenda, and let others be looked at sooner.

    A look out of turn is due at once, but `spacing` microseconds after the one before at the soonest.
    """
    if not heard:
        return
    values = heard.values()
    cursor.execute(
        _HEAR,
        {
            "source": source,
            "uids": texts(list(heard)),
            "at": bigints([each.at for each in values]),
            "due": bigints([each.due_at for each in values]),
            "why": optional_texts([each.why for each in values]),
            "spacing": spacing,
        },
    )


def add_everybody(cursor: Cursor[Any]) -> None:
    """Put everybody on the agenda who is known and not on it, to be looked at in turn."""
    cursor.execute(_ADD_EVERYBODY)


def add(cursor: Cursor[Any], uids: Sequence[str]) -> None:
    """The same with these users alone."""
    cursor.execute(_ADD_THESE, (texts(uids),))


def verified(connection: Connection[TupleRow], uids: Sequence[str], at: Instant) -> dict[str, Instant]:
    """The last looks that agreed, of those users whose last one was made by an instant: earlier ones are not kept."""
    return dict(connection.cursor(binary=True).execute(_VERIFIED, (texts(uids), at)).fetchall())


def followed(connection: Connection[TupleRow]) -> int:
    """The position up to which the agenda has heard the ledger."""
    row = connection.execute(_POSITION).fetchone()
    assert row is not None
    position: int = row[0]
    return position


def note_followed(cursor: Cursor[Any], position: int) -> None:
    """The agenda has heard the ledger up to there."""
    cursor.execute(_FOLLOWED, (position,))


def _watches(connection: Connection[TupleRow], query: LiteralString, params: tuple[Any, ...]) -> Watches:
    rows = connection.cursor(binary=True).execute(query, params).fetchall()
    return {
        uid: Watch(due_at, urgent, verified_at, None if doubt is None else _decode(doubt), looked_at)
        for uid, due_at, urgent, verified_at, doubt, looked_at in rows
    }

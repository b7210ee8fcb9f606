"""The agenda in PostgreSQL: who is to be looked at when, in each source; the one place that knows its tables."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.drift import Doubt
from ledger.domain.look import Watch
from ledger.domain.observation import Instant
from ledger.store.arrays import bigints, optional_bigints, optional_words, texts
from ledger.working_state import canaries, erasures

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

# Of somebody who has been erased since they were asked about nothing is noted.
_IS_THERE: LiteralString = f"({erasures.NOT_OF_LATE} OR EXISTS (SELECT FROM current WHERE current.uid = new.uid))"

_PUT: LiteralString = (
    """
INSERT INTO looks AS l (uid, source, due_at, urgent, verified_at, looked_at, doubt)
SELECT uid, %(source)s, due_at, urgent, verified_at, looked_at, doubt
  FROM unnest(%(uids)b::text[], %(due)b::bigint[], %(urgent)b::text[], %(verified)b::bigint[], %(looked)b::bigint[],
              %(doubts)s::bytea[]) AS new (uid, due_at, urgent, verified_at, looked_at, doubt)
 WHERE """
    + _IS_THERE
    + """
 ORDER BY uid
    ON CONFLICT (uid, source) DO UPDATE
   SET due_at = excluded.due_at, urgent = excluded.urgent,
"""
)

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

_POSTPONE: LiteralString = f"""
INSERT INTO looks (uid, source, due_at)
SELECT uid, %(source)s, %(due)s FROM unnest(%(uids)b::text[]) AS new (uid) WHERE {_IS_THERE} ORDER BY uid
    ON CONFLICT (uid, source) DO UPDATE SET due_at = excluded.due_at
"""  # noqa: S608  (of constants)

_OF_USERS_LOCKED: LiteralString = _OF_USERS + " ORDER BY uid FOR UPDATE"

_ADD_NEW: LiteralString = """
INSERT INTO looks (uid, source, due_at, urgent)
SELECT uid, %(source)s, due_at, urgent
  FROM unnest(%(uids)b::text[], %(due)b::bigint[], %(urgent)b::text[]) AS new (uid, due_at, urgent)
 ORDER BY uid
    ON CONFLICT DO NOTHING RETURNING uid
"""

# Where the row is not what the change was made of, a look has been judged meanwhile. Rows are locked in one order.
_CHANGE_UNMOVED: LiteralString = """
UPDATE looks AS l SET due_at = unmoved.due_at, urgent = unmoved.urgent
  FROM (SELECT old.uid, new.due_at, new.urgent
          FROM unnest(%(uids)b::text[], %(due)b::bigint[], %(urgent)b::text[],
                      %(old_due)b::bigint[], %(old_urgent)b::text[], %(old_looked)b::bigint[])
               AS new (uid, due_at, urgent, old_due, old_urgent, old_looked)
          JOIN looks AS old ON old.uid = new.uid AND old.source = %(source)s
         WHERE old.due_at = new.old_due AND old.urgent IS NOT DISTINCT FROM new.old_urgent
           AND old.looked_at IS NOT DISTINCT FROM new.old_looked
         ORDER BY old.uid
           FOR UPDATE OF old) AS unmoved
 WHERE l.uid = unmoved.uid AND l.source = %(source)s
RETURNING l.uid
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

_IN_ANY_SOURCE: LiteralString = """
SELECT uid, source, due_at, urgent, verified_at, doubt, looked_at FROM looks WHERE uid = ANY(%b)
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Doubt).decode

Watches = dict[str, Watch]


_ADD: LiteralString = """
INSERT INTO looks (uid, source, due_at)
SELECT DISTINCT uid, split_part(token, '/', 1), 0
  FROM current, LATERAL string_to_table(btrim(devices), ' ') AS token
 WHERE token <> '' AND NOT {}{{}}
    ON CONFLICT DO NOTHING
""".format(canaries.IS_CANARY.format("current.uid"))
_ADD_EVERYBODY: LiteralString = _ADD.format("")
_ADD_THESE: LiteralString = _ADD.format(" AND uid = ANY(%b)")


_REMOVE: LiteralString = "DELETE FROM looks WHERE uid = ANY(%b)"


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


def in_any_source(connection: Connection[TupleRow], uids: Sequence[str]) -> dict[str, dict[str, Watch]]:
    """The watches of users, by uid and source."""
    found: dict[str, dict[str, Watch]] = {}
    for uid, source, *watch in connection.cursor(binary=True).execute(_IN_ANY_SOURCE, (texts(uids),)):
        found.setdefault(uid, {})[source] = _watch(*watch)
    return found


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
        "urgent": optional_words([watch.urgent for watch in values]),
        "verified": optional_bigints([watch.verified_at for watch in values]),
        "looked": optional_bigints([watch.looked_at for watch in values]),
        "doubts": [None if watch.doubt is None else _encode(watch.doubt) for watch in values],
    }


def postpone(cursor: Cursor[Any], source: str, uids: Sequence[str], due_at: Instant) -> None:
    """Let users be looked at by an instant, whatever else is noted of them."""
    cursor.execute(_POSTPONE, {"source": source, "uids": texts(uids), "due": due_at})


def change(
    connection: Connection[TupleRow],
    source: str,
    uids: Sequence[str],
    rule: Callable[[str, Watch | None], Watch | None],
    *,
    lock: bool = False,
) -> None:
    """Let a rule say when users are to be looked at, and whether out of turn; it is given the watch that holds then.

    `lock` in a transaction that goes on: no other session changes these watches until it ends. Rows that stay as they
    are are not touched: most of what the agenda hears of changes nothing.
    """
    waiting = list(uids)
    while waiting:
        before = _watches(connection, _OF_USERS_LOCKED if lock else _OF_USERS, (source, texts(waiting)))
        ruled = {uid: rule(uid, before.get(uid)) for uid in waiting}
        changed = {uid: watch for uid, watch in ruled.items() if watch is not None and watch != before.get(uid)}
        waiting = list(changed.keys() - _changed(connection, source, changed, before))


def _changed(
    connection: Connection[TupleRow], source: str, changed: Mapping[str, Watch], before: Mapping[str, Watch]
) -> set[str]:
    """Write what has changed -> the users of whom it was written."""
    done: set[str] = set()
    for query, uids in (
        (_ADD_NEW, [uid for uid in changed if uid not in before]),
        (_CHANGE_UNMOVED, [uid for uid in changed if uid in before]),
    ):
        if not uids:
            continue
        old = [before.get(uid, Watch(0)) for uid in uids]
        values = {
            "source": source,
            "uids": texts(uids),
            "due": bigints([changed[uid].due_at for uid in uids]),
            "urgent": optional_words([changed[uid].urgent for uid in uids]),
            "old_due": bigints([watch.due_at for watch in old]),
            "old_urgent": optional_words([watch.urgent for watch in old]),
            "old_looked": optional_bigints([watch.looked_at for watch in old]),
        }
        done.update(uid for (uid,) in connection.execute(query, values).fetchall())
    return done


def add_everybody(cursor: Cursor[Any]) -> None:
    """Put everybody on the agenda who is known and not on it, to be looked at in turn."""
    cursor.execute(_ADD_EVERYBODY)


def add(cursor: Cursor[Any], uids: Sequence[str]) -> None:
    """The same with these users alone."""
    cursor.execute(_ADD_THESE, (texts(uids),))


def remove(cursor: Cursor[Any], uids: Sequence[str]) -> None:
    """Take users off the agenda: nobody is to look at them."""
    cursor.execute(_REMOVE, (texts(uids),))


def verified(connection: Connection[TupleRow], uids: Sequence[str], at: Instant) -> dict[str, Instant]:
    """The last looks that agreed, of those users whose last one was made by an instant: earlier ones are not kept."""
    return dict(connection.cursor(binary=True).execute(_VERIFIED, (texts(uids), at)).fetchall())


def last_verified(connection: Connection[TupleRow], uids: Sequence[str]) -> dict[str, Instant]:
    """The last looks that agreed."""
    return dict(connection.cursor(binary=True).execute(LAST_VERIFIED, (texts(uids),)).fetchall())


def _watches(connection: Connection[TupleRow], query: LiteralString, params: tuple[Any, ...]) -> Watches:
    rows = connection.cursor(binary=True).execute(query, params).fetchall()
    return {uid: _watch(*watch) for uid, *watch in rows}


def _watch(
    due_at: Instant, urgent: str | None, verified_at: Instant | None, doubt: bytes | None, looked_at: Instant | None
) -> Watch:
    return Watch(due_at, urgent, verified_at, None if doubt is None else _decode(doubt), looked_at)

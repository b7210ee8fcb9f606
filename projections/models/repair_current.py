"""Repair of `current` after the ledger went back: every row is compared with the events, and those that differ mended.

What lies before the last commit that is known to be there still is right where a user's last event is the row's own;
users who have later events are folded from scratch, or from where the archive ends.
"""

from collections.abc import Iterator, Sequence
from typing import Any, LiteralString, NamedTuple, cast

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.store import identity
from ledger.store.archive.table import BEFORE
from ledger.store.arrays import texts
from ledger.store.commit import COMMIT_LOCK
from ledger.store.mapper import USER_PREFIX, EventMapper, UnreadableEvent
from projections.models import current

PAGE_USERS = 2_000
FOLDED_USERS = 100
"""Users folded at once, under the commit lock where they turn out to be wrong."""

# Whose events are all archived has a snapshot of the last one. Where it ends is fetched beforehand: a function that is
# called with a subquery is not put into the statement.
_PAGE: LiteralString = f"""
SELECT c.uid, c.version, c.state, e.version, e.position
  FROM (SELECT uid, version, state, ({BEFORE}) - 1 AS archived
          FROM current WHERE uid > %s ORDER BY uid LIMIT %s) AS c
  LEFT JOIN LATERAL (SELECT version, position FROM last_event_of('user:' || c.uid)
                     UNION ALL
                     SELECT version, position FROM snapshot_at(c.uid, c.archived)
                     ORDER BY version DESC LIMIT 1) AS e ON true
 ORDER BY c.uid
"""  # noqa: S608  (of constants)

_WITHOUT_ROW = """
SELECT DISTINCT substr(stream, 6) FROM user_streams_after(%s)
 WHERE NOT EXISTS (SELECT FROM current WHERE uid = substr(stream, 6))
"""

_EVENTS = "SELECT stream, position, kind, payload FROM events WHERE stream = ANY(%b) ORDER BY stream, version"

# What users had come to where the archive ends.
_ARCHIVED: LiteralString = f"""
SELECT asked.uid, s.state
  FROM unnest(%b::text[]) AS asked (uid), (SELECT ({BEFORE}) - 1) AS archive (last),
       LATERAL snapshot_at(asked.uid, archive.last) AS s
"""  # noqa: S608  (of constants)

_DELETE = "DELETE FROM current WHERE uid = ANY(%b)"


class Repaired(NamedTuple):
    """What was found: so many users, of whom so many were shown what no event supports."""

    users: int
    wrong: int


def repair(connection: Connection[TupleRow]) -> Repaired | None:
    """Compare `current` with the events where the ledger went back; None: it has not since this was done last."""
    found = identity.read(connection)
    if found.suspect_after is None:
        return None
    mapper, users, wrong = EventMapper(), 0, 0
    for number, doubtful in _doubtful(connection, found.suspect_after):
        users += number
        for start in range(0, len(doubtful), FOLDED_USERS):
            part = doubtful[start : start + FOLDED_USERS]
            if different := _different(connection, mapper, part)[0]:
                wrong += _write(connection, mapper, different)
    identity.clear_suspicion(connection, found.epoch, changed=bool(wrong))
    return Repaired(users, wrong)


def _doubtful(connection: Connection[TupleRow], after: int) -> Iterator[tuple[int, list[str]]]:
    """Page by page, how many users there are and which of them their last event does not vouch for."""
    missing = [uid for (uid,) in connection.execute(_WITHOUT_ROW, (after,)).fetchall()]
    if missing:
        yield 0, missing
    uid = ""
    while rows := connection.cursor(binary=True).execute(_PAGE, (uid, PAGE_USERS)).fetchall():
        yield len(rows), [row[0] for row in rows if not _is_vouched_for(row, after)]
        uid = rows[-1][0]


def _is_vouched_for(row: TupleRow, after: int) -> bool:
    _, version, state, last_version, last_position = row
    position = current.decode_state(state).position
    return (version, position) == (last_version, last_position) and position <= after


def _different(
    connection: Connection[TupleRow], mapper: EventMapper, uids: Sequence[str]
) -> tuple[list[str], dict[str, Presence]]:
    """-> (those whose row is not what their events make of them, what these make of all)"""
    cursor = connection.cursor(binary=True)
    archived = cursor.execute(_ARCHIVED, (texts(list(uids)),)).fetchall()
    made: dict[str, Presence] = {uid: current.decode_state(state) for uid, state in archived}
    unreadable: set[str] = set()
    streams = texts([USER_PREFIX + uid for uid in uids])
    for stream, position, kind, payload in connection.cursor(binary=True).execute(_EVENTS, (streams,)):
        uid = stream[len(USER_PREFIX) :]
        try:
            event = cast(UserEvent, mapper.event_at(position, kind, payload))
        except UnreadableEvent:
            # Nothing can be said of this user, so nothing is changed.
            unreadable.add(uid)
            continue
        made[uid] = evolve(made.get(uid) or Presence(uid), event, position)
    there = current.load(connection, uids)
    return [uid for uid in uids if made.get(uid) != there.get(uid) and uid not in unreadable], made


def _write(connection: Connection[TupleRow], mapper: EventMapper, uids: Sequence[str]) -> int:
    """Make users right while appends wait -> how many still were not."""
    with connection.transaction():
        cursor: Any = connection.cursor(binary=True)
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (COMMIT_LOCK,))
        different, made = _different(connection, mapper, uids)
        current.write(cursor, list(current.to_rows(made[uid] for uid in different if uid in made)))
        cursor.execute(_DELETE, (texts([uid for uid in different if uid not in made]),))
    return len(different)

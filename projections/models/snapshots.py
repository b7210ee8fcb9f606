"""The projection `snapshots`: each user's presence as of every 256th of their events, and the one place that writes it.

A long past is then folded from the snapshot before it, and not from its beginning.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from psycopg import Cursor

from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.presence import Presence
from ledger.store.arrays import bigints, byteas, texts
from ledger.store.mapper import USER_KINDS, EventMapper
from projections.engine.memory import Memory
from projections.engine.projection import Followed
from projections.models.current import decode_state, encode_state

EVENTS_PER_SNAPSHOT = 256
"""Events of a user between two snapshots."""

_BEFORE = """
SELECT asked.uid, s.version, s.state
  FROM unnest(%b::text[], %b::bigint[]) AS asked (uid, version), LATERAL snapshot_before(asked.uid, asked.version) AS s
"""

_EVENTS = """
SELECT asked.uid, e.version, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS asked (uid, after, up_to)
 CROSS JOIN LATERAL (SELECT version, position, kind, payload FROM events
                      WHERE stream = 'user:' || asked.uid AND version > asked.after AND version <= asked.up_to) AS e
 ORDER BY asked.uid, e.version
"""

_WRITE = """
INSERT INTO snapshots (uid, version, position, state)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bytea[])
"""


_mapper = EventMapper()


class _Due(NamedTuple):
    """The versions of one user at which snapshots are to be taken."""

    first: int
    last: int


class Snapshots:
    """Folds the events since the snapshot before; it keeps nothing itself."""

    name = "snapshots"
    tables: Sequence[str] = ("snapshots",)
    kinds = USER_KINDS

    def handle(self, cursor: Cursor[Any], events: Sequence[Followed], memory: Memory) -> None:
        """Take the snapshots that are due at these events."""
        due: dict[str, _Due] = {}
        for event in events:
            if event.version % EVENTS_PER_SNAPSHOT == 0 and event.uid is not None:
                known = due.get(event.uid)
                due[event.uid] = _Due(event.version if known is None else known.first, event.version)
        if due:
            taken = list(_take(cursor, due))
            cursor.execute(
                _WRITE,
                (
                    texts([presence.uid for presence in taken]),
                    bigints([presence.version for presence in taken]),
                    bigints([presence.position for presence in taken]),
                    byteas([encode_state(presence) for presence in taken]),
                ),
            )


PROJECTION = Snapshots()


def _take(cursor: Cursor[Any], due: Mapping[str, _Due]) -> Iterator[Presence]:
    uids, firsts = texts(list(due)), bigints([each.first for each in due.values()])
    versions = dict.fromkeys(due, 0)
    presences: dict[str, Presence] = {}
    for uid, version, state in cursor.execute(_BEFORE, (uids, firsts)).fetchall():
        versions[uid], presences[uid] = version, decode_state(state)
    up_to = bigints([each.last for each in due.values()])
    rows = cursor.execute(_EVENTS, (uids, bigints(list(versions.values())), up_to)).fetchall()
    for uid, version, position, kind, payload in rows:
        event = cast(UserEvent, _mapper.event_at(position, kind, payload))
        presences[uid] = evolve(presences.get(uid) or Presence(uid), event, position)
        if version % EVENTS_PER_SNAPSHOT == 0:
            yield presences[uid]

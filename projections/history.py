"""The past: presences and rules as they were at a position, and what is known now of an instant.

Everything is read over one connection; whoever wants it of one moment gives one whose transaction sees one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import LiteralString, NamedTuple, cast

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.as_of import Belief, Later, arrived, believe
from ledger.domain.evolve import evolve
from ledger.domain.history import SourceEvent, UserEvent
from ledger.domain.imported import SourceImported, without_doubts_after
from ledger.domain.instants import to_datetime
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.source import SourceState, evolve_source
from ledger.domain.status import derive
from ledger.store.arrays import bigints, texts
from ledger.store.mapper import SOURCE_PREFIX, EventMapper
from projections.current import can_be_stored, decode_state
from projections.shown import Rules, rules_of

PAGE = 50
"""Events of a user that were recorded after an instant, read at once: of nearly everybody fewer are to be taken."""

TOGETHER = 20_000
"""Events of those who have filled a page that are read at once, shared out among them."""

UNBOUNDED = 2**62

# In microseconds, exactly.
_HEAD = """
SELECT coalesce(max(position), 0), coalesce(max((extract(epoch FROM recorded_at) * 1000000)::bigint), 0)
  FROM (SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1) AS last
"""

_POSITION_AT = "SELECT position_at(%s)"

# The snapshot after the position bounds how much of a long stream is looked at.
_SNAPSHOTS = """
SELECT asked.uid, earlier.version, earlier.state, later.version
  FROM unnest(%b::text[]) AS asked (uid)
  LEFT JOIN LATERAL (SELECT version, state FROM snapshots
                      WHERE uid = asked.uid AND position <= %s ORDER BY version DESC LIMIT 1) AS earlier ON true
  LEFT JOIN LATERAL (SELECT version FROM snapshots
                      WHERE uid = asked.uid AND position > %s ORDER BY version LIMIT 1) AS later ON true
"""

_EVENTS = """
SELECT asked.uid, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS asked (uid, after, upto),
       LATERAL (SELECT version, position, kind, payload FROM events
                 WHERE stream = 'user:' || asked.uid AND version > asked.after AND version <= asked.upto
                   AND position <= %s) AS e
 ORDER BY asked.uid, e.version
"""

_LATER: LiteralString = """
SELECT asked.uid, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[]) AS asked (uid, after),
       LATERAL (SELECT version, position, kind, payload FROM events
                 WHERE stream = 'user:' || asked.uid AND version > asked.after AND position <= %s{}
                 ORDER BY version LIMIT %s) AS e
 ORDER BY asked.uid, e.version
"""
_NEXT = _LATER.format("")
_BOUNDED = _LATER.format(" AND kind IN ('corrected.v1', 'swept.v1')")

_RULES = """
SELECT position, stream, kind, payload FROM events
 WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                'source_lit.v1', 'source_imported.v1')
   AND position <= %s
 ORDER BY position
"""


class Head(NamedTuple):
    """The last position of the ledger, 0 while it is empty, and the instant at which it was recorded."""

    position: int
    recorded_at: Instant


class AsOf(NamedTuple):
    """What is known of users at an instant, with the rules that it follows from. Whoever is not there is unobserved."""

    beliefs: Mapping[str, Belief]
    rules: Rules

    def of(self, uid: str, at: Instant) -> Belief:
        """What is known of a user."""
        nobody = Presence(uid)
        return self.beliefs.get(uid) or Belief(nobody, derive(nobody, self.rules.sources, at))


def head(connection: Connection[TupleRow]) -> Head:
    """The ledger's head."""
    row = connection.execute(_HEAD).fetchone()
    assert row is not None
    return Head(*row)


def position_at(connection: Connection[TupleRow], at: Instant) -> int:
    """The last position recorded up to an instant, 0 before the first."""
    row = connection.execute(_POSITION_AT, (to_datetime(at),)).fetchone()
    assert row is not None
    return int(row[0])


def as_of(
    connection: Connection[TupleRow], mapper: EventMapper, uids: Iterable[str], at: Instant, position: int
) -> AsOf:
    """What whoever knows the ledger up to a position knows of users at an instant.

    Where nothing had been recorded beyond that position by then, that is what was answered then. Else what was recorded
    later is taken for what it says of the instant. Raises UnreadableEvent.
    """
    asked = sorted({uid for uid in uids if can_be_stored(uid)})
    base = min(position, position_at(connection, at))
    rules = rules_at(connection, mapper, base, (position, at))
    presences = presences_at(connection, mapper, asked, base)
    beliefs = {uid: Belief(each, derive(each, rules.sources, at)) for uid, each in presences.items()}
    if base < position:
        beliefs |= _with_hindsight(connection, mapper, asked, presences, rules, at, base, position)
    return AsOf(beliefs, rules)


def presences_at(
    connection: Connection[TupleRow], mapper: EventMapper, uids: Sequence[str], position: int
) -> dict[str, Presence]:
    """The presences, as of a position, of those users who had one by then. Raises UnreadableEvent."""
    cursor = connection.cursor(binary=True)
    presences: dict[str, Presence] = {}
    after, upto = [], []
    rows = cursor.execute(_SNAPSHOTS, (texts(uids), position, position)).fetchall()
    for uid, version, state, bound in rows:
        after.append(version or 0)
        upto.append(bound or UNBOUNDED)
        if state is not None:
            presences[uid] = decode_state(state)
    asked = texts([row[0] for row in rows])
    for uid, placed, kind, payload in cursor.execute(_EVENTS, (asked, bigints(after), bigints(upto), position)):
        event = _user_event(mapper, placed, kind, payload)
        presences[uid] = evolve(presences.get(uid) or Presence(uid), event, placed)
    return presences


def rules_at(
    connection: Connection[TupleRow], mapper: EventMapper, position: int, hindsight: tuple[int, Instant] | None = None
) -> Rules:
    """The rules as of a position.

    `hindsight` is (a later position, an instant): what was recorded up to there and had come about by then counts, too.
    """
    upto, by = hindsight or (position, 0)
    states: dict[str, SourceState] = {}
    last = 0
    for place, stream, kind, payload in connection.cursor(binary=True).execute(_RULES, (upto,)).fetchall():
        event = cast(SourceEvent, mapper.event_at(place, kind, payload))
        if place > position:
            # Their instants need not ascend. A state has none: it tells of the time before the slice, too.
            if isinstance(event, SourceImported):
                event = without_doubts_after(event, by)
            elif getattr(event, "at", by) > by:
                continue
        name = stream.removeprefix(SOURCE_PREFIX)
        states[name] = evolve_source(states.get(name) or SourceState(name), event, place)
        last = place
    return rules_of(last, states)


def _with_hindsight(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    uids: Sequence[str],
    presences: Mapping[str, Presence],
    rules: Rules,
    at: Instant,
    base: int,
    position: int,
) -> dict[str, Belief]:
    """What is known of an instant by whoever knows more than what had been recorded by then."""
    beliefs = {}
    known = dict(presences)
    waiting, page = list(uids), PAGE
    while waiting:
        # What had arrived and was only recorded later; of an imported user that may be all of his history.
        again = []
        following = _later(connection, mapper, _NEXT, waiting, known, position, page)
        for uid in waiting:
            events = following.get(uid, [])
            number = arrived(events, at)
            for each in events[:number]:
                known[uid] = evolve(known.get(uid) or Presence(uid), each.event, each.position)
            if number == page:
                again.append(uid)
        waiting, page = again, max(PAGE, TOGETHER // max(1, len(again)))
    bounded = _later(connection, mapper, _BOUNDED, uids, known, position, PAGE)
    for uid in uids:
        presence = known.get(uid) or Presence(uid)
        beliefs[uid] = believe(presence, bounded.get(uid, ()), rules.sources, at)
    return beliefs


def _later(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    query: LiteralString,
    uids: Sequence[str],
    known: Mapping[str, Presence],
    position: int,
    page: int,
) -> dict[str, list[Later]]:
    """The next events of users after what is known of them, a page of each at most."""
    versions = bigints([known[uid].version if uid in known else 0 for uid in uids])
    found: dict[str, list[Later]] = {}
    for uid, placed, kind, payload in connection.cursor(binary=True).execute(
        query, (texts(uids), versions, position, page)
    ):
        found.setdefault(uid, []).append(Later(placed, _user_event(mapper, placed, kind, payload)))
    return found


def _user_event(mapper: EventMapper, position: int, kind: str, payload: bytes) -> UserEvent:
    # Users' streams hold nothing else; to look at each would cost as much as to fold it.
    return cast(UserEvent, mapper.event_at(position, kind, payload))

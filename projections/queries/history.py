"""The past: presences and rules as they were at a position, and what is known now of an instant.

Everything is read over one connection; for one snapshot it is to be in a transaction that sees one.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple, cast

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.as_of import Belief, Later, arrived, believe
from ledger.domain.event_types import UserEvent
from ledger.domain.evolve import evolve
from ledger.domain.instants import to_datetime
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.status import derive
from ledger.store.archive.table import BEFORE, RECORDED_AT
from ledger.store.arrays import bigints, texts
from ledger.store.mapper import EventMapper
from projections.models.current import can_be_stored, decode_state
from projections.models.shown import Rules, rules_from
from projections.queries.listing import HEAD, LedgerHead
from projections.queries.rule_folds import Hindsight, RuleFolds

PAGE_EVENTS = 50
"""Events of a user that were recorded after an instant, read at once: of nearly everybody fewer are to be taken."""

MAX_SHARED_EVENTS = 20_000
"""Events of those who have filled a page that are read at once, shared out among them."""

UNBOUNDED = 2**62

_POSITION_AT = "SELECT position_at(%s)"

POSITION_BEFORE = "SELECT position_at(%s::timestamptz - interval '1 microsecond')"

_RECORDED_AT: LiteralString = f"""
SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint FROM ({RECORDED_AT}) AS found
"""  # noqa: S608  (of constants)

_RECORDED_AFTER: LiteralString = f"""
SELECT (extract(epoch FROM least(
           (SELECT recorded_at FROM next_event(asked.position)),
           (SELECT recorded_at FROM seals
             WHERE asked.position < ({BEFORE}) - 1 AND first_position > asked.position
             ORDER BY first_position LIMIT 1))) * 1000000)::bigint
  FROM position_at(%s) AS asked (position)
"""  # noqa: S608  (of constants)

# The snapshot after the position bounds how much of a long stream is looked at.
_SNAPSHOTS = """
SELECT asked.uid, earlier.version, earlier.state, later.version
  FROM unnest(%b::text[]) AS asked (uid)
  LEFT JOIN LATERAL snapshot_at(asked.uid, %s) AS earlier ON true
  LEFT JOIN LATERAL snapshot_after(asked.uid, %s) AS later ON true
"""

_EVENTS = """
SELECT asked.uid, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) AS asked (uid, after, up_to),
       LATERAL (SELECT version, position, kind, payload FROM events
                 WHERE stream = 'user:' || asked.uid AND version > asked.after AND version <= asked.up_to
                   AND position <= %s) AS e
 ORDER BY asked.uid, e.version
"""

_LATER: LiteralString = """
SELECT asked.uid, e.position, e.kind, e.payload
  FROM unnest(%b::text[], %b::bigint[]) AS asked (uid, after),
       LATERAL {}('user:' || asked.uid, asked.after, %s, %s) AS e
 ORDER BY asked.uid, e.version
"""
_NEXT = _LATER.format("events_after")
_BOUNDED = _LATER.format("bounds_after")


class PastPresences(NamedTuple):
    """What is known of users at an instant, with the rules that it follows from. Those not in it are unobserved."""

    beliefs: Mapping[str, Belief]
    rules: Rules

    def belief(self, uid: str, at: Instant) -> Belief:
        """What is known of a user."""
        nobody = Presence(uid)
        return self.beliefs.get(uid) or Belief(nobody, derive(nobody, self.rules.sources, at))


def head(connection: Connection[TupleRow]) -> LedgerHead:
    """The ledger's head."""
    row = connection.execute(HEAD).fetchone()
    assert row is not None
    return LedgerHead(*row)


def position_at(connection: Connection[TupleRow], at: Instant) -> int:
    """The last position recorded up to an instant, 0 before the first."""
    row = connection.execute(_POSITION_AT, (to_datetime(at),)).fetchone()
    assert row is not None
    return int(row[0])


def position_before(connection: Connection[TupleRow], at: datetime) -> int:
    """The last position recorded before an instant, 0 where there is none."""
    row = connection.execute(POSITION_BEFORE, (at,)).fetchone()
    assert row is not None
    return int(row[0])


def recorded_at(connection: Connection[TupleRow], position: int) -> Instant | None:
    """When a position was recorded, None where there is none."""
    row = connection.execute(_RECORDED_AT, {"position": position}).fetchone()
    return None if row is None else int(row[0])


def recorded_after(connection: Connection[TupleRow], at: Instant) -> Instant | None:
    """When the first thing was recorded after an instant, None where nothing was."""
    row = connection.execute(_RECORDED_AFTER, (to_datetime(at),)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def as_of(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    uids: Iterable[str],
    at: Instant,
    position: int,
    folds: RuleFolds | None = None,
) -> PastPresences:
    """What is known of users at an instant from the ledger up to a position.

    Where nothing had been recorded beyond that position by then, that is what was answered then. Else what was recorded
    later is taken for what it says of the instant. Raises UnreadableEvent.
    """
    asked = sorted({uid for uid in uids if can_be_stored(uid)})
    base = min(position, position_at(connection, at))
    rules = rules_at(connection, mapper, base, Hindsight(position, at) if base < position else None, folds)
    presences = presences_at(connection, mapper, asked, base)
    beliefs = {uid: Belief(each, derive(each, rules.sources, at)) for uid, each in presences.items()}
    if base < position:
        beliefs |= _with_hindsight(connection, mapper, asked, presences, rules, at, base, position)
    return PastPresences(beliefs, rules)


def presences_at(
    connection: Connection[TupleRow], mapper: EventMapper, uids: Sequence[str], position: int
) -> dict[str, Presence]:
    """The presences, as of a position, of those users who had one by then. Raises UnreadableEvent."""
    cursor = connection.cursor(binary=True)
    presences: dict[str, Presence] = {}
    after, up_to = [], []
    rows = cursor.execute(_SNAPSHOTS, (texts(uids), position, position)).fetchall()
    for uid, version, state, bound in rows:
        after.append(version or 0)
        up_to.append(bound or UNBOUNDED)
        if state is not None:
            presences[uid] = decode_state(state)
    asked = texts([row[0] for row in rows])
    for uid, placed, kind, payload in cursor.execute(_EVENTS, (asked, bigints(after), bigints(up_to), position)):
        event = _decode_event(mapper, placed, kind, payload)
        presences[uid] = evolve(presences.get(uid) or Presence(uid), event, placed)
    return presences


def rules_at(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    position: int,
    hindsight: Hindsight | None = None,
    folds: RuleFolds | None = None,
) -> Rules:
    """The rules as of a position, or by what is known of it later; `folds`: what was folded of this ledger before."""
    states = (folds or RuleFolds()).at(connection, mapper, position, hindsight)
    return rules_from(states.position, states.by_name)


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
    """What is known of an instant from more than what had been recorded by then."""
    beliefs = {}
    known = dict(presences)
    waiting, page = list(uids), PAGE_EVENTS
    while waiting:
        # What had arrived and was only recorded later; of an imported user that may be the whole history.
        again = []
        following = _later(connection, mapper, _NEXT, waiting, known, position, page)
        for uid in waiting:
            events = following.get(uid, [])
            number = arrived(events, at)
            for each in events[:number]:
                known[uid] = evolve(known.get(uid) or Presence(uid), each.event, each.position)
            if number == page:
                again.append(uid)
        waiting, page = again, max(PAGE_EVENTS, MAX_SHARED_EVENTS // max(1, len(again)))
    bounded = _later(connection, mapper, _BOUNDED, uids, known, position, PAGE_EVENTS)
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
        found.setdefault(uid, []).append(Later(placed, _decode_event(mapper, placed, kind, payload)))
    return found


def _decode_event(mapper: EventMapper, position: int, kind: str, payload: bytes) -> UserEvent:
    # Users' streams hold nothing else; to look at each would cost as much as to fold it.
    return cast(UserEvent, mapper.event_at(position, kind, payload))

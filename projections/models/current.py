"""The inline projection `current`: each user's presence as of their last event, and the one place that knows its table.

It is written in the transaction that appends the events, so readers see their own writes; and it serves as the snapshot
of the aggregate, so that judging a thousand users costs one SELECT.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.crowd import encode_crowd
from ledger.domain.observation import Instant
from ledger.domain.presence import Device, Flip, Presence
from ledger.domain.reconciliation_events import Tier
from ledger.store import seals
from ledger.store.arrays import BigintArray, ByteaArray, TextArray, bigints, byteas, optional_bigints, texts, words
from ledger.working_state import canaries
from projections.models.shown import plain_body

_STATES = "SELECT uid, state FROM current WHERE uid = ANY(%b)"

IN_GRACE: LiteralString = "SELECT state FROM current WHERE status = 'offline' AND since > %s"

_OVERRIDDEN: LiteralString = "SELECT state FROM current WHERE override_until > %s"

_OVER: LiteralString = "SELECT uid FROM current WHERE override_until <= %s ORDER BY override_until LIMIT %s"

_CONNECTED = "SELECT uid FROM current WHERE uid = ANY(%b) AND devices ~ %s"

# By our database's clock, which other instances' are near.
_ONLINE_AFTER: LiteralString = """
SELECT uid FROM current
 WHERE (status = 'online' OR since > (extract(epoch FROM clock_timestamp()) - %s) * 1000000
        OR override_until IS NOT NULL) AND uid > %s
   AND NOT {}
 ORDER BY uid LIMIT %s
""".format(canaries.IS_CANARY.format("current.uid"))

# Walks the primary key, and looks at each row's devices on the way.
_AFTER = "SELECT state FROM current WHERE uid > %s AND devices LIKE ANY(%b) ORDER BY uid LIMIT %s"

_STATES_AFTER = """
SELECT uid, state FROM current WHERE uid > %s AND (status = 'online' OR NOT %s) ORDER BY uid LIMIT %s
"""

_ALL_AFTER = "SELECT state FROM current WHERE uid > %s ORDER BY uid LIMIT %s"

# One snapshot for the head, which is a row of its own, and for the users.
_READ: LiteralString = f"""
SELECT coalesce(max(position), 0), coalesce(max((extract(epoch FROM recorded_at) * 1000000)::bigint), 0),
       coalesce((SELECT max(rules_position) FROM source_states), 0), NULL, NULL, NULL, NULL, NULL
  FROM ({seals.HEAD}) AS last
 UNION ALL
SELECT NULL, NULL, NULL, c.uid, {{}}, c.version, {{}} FROM current AS c WHERE c.uid = ANY(%(uids)b)
"""  # noqa: S608  (of constants)
_LAST_LOOK: LiteralString = "(SELECT max(verified_at) FROM looks WHERE looks.uid = c.uid)"
_IS_OVERRIDDEN: LiteralString = "c.override_until IS NOT NULL"
_IS_DERIVED: LiteralString = f"({_IS_OVERRIDDEN} OR c.devices LIKE ANY(%(derived)b))"
_STATE_IF: LiteralString = "{0}, CASE WHEN {0} THEN c.state ELSE c.body END"
_PLAIN: LiteralString = _STATE_IF.format(_IS_OVERRIDDEN)
_BOTH: LiteralString = _STATE_IF.format(_IS_DERIVED)


class StateQuery(NamedTuple):
    """A query for users' states or bodies. `looks.LAST_VERIFIED` can find the last looks alongside, in half the time.

    Rows: the head, when it was recorded, the position of the rules, in a row of their own; of users the uid, whether
    it is the state, that or the body, the version, and, in `looked`, the last look that agreed.
    """

    looked: LiteralString
    alone: LiteralString


BODIES = StateQuery(_READ.format(_PLAIN, _LAST_LOOK), _READ.format(_PLAIN, "NULL::bigint"))
"""The bodies, but of users whom an operator's word is about the states."""
STATES = StateQuery(_READ.format("true, c.state", _LAST_LOOK), _READ.format("true, c.state", "NULL::bigint"))
BOTH = StateQuery(_READ.format(_BOTH, _LAST_LOOK), _READ.format(_BOTH, "NULL::bigint"))
"""Of users of the sources in `derived`, too, the states, of others the bodies."""

_INSERT: LiteralString = """
INSERT INTO current AS c (uid, version, status, since, devices, state, body, override_until)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::bytea[], %b::bytea[],
                     %b::bigint[])
"""

_REPLACE: LiteralString = """
    ON CONFLICT (uid) DO UPDATE
   SET version = excluded.version, status = excluded.status, since = excluded.since,
       devices = excluded.devices, state = excluded.state, body = excluded.body,
       override_until = excluded.override_until
"""

MAX_STATEMENT_ROWS = 20_000

_FIELDS_BEFORE_OVERRIDE = 8
_WITHOUT_OVERRIDE = bytes([0x90 + _FIELDS_BEFORE_OVERRIDE])
_NEITHER = b"\xc0\xc0"
"""MessagePack: an array of as many, and the two that are left out, null."""


class _Outline(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A presence whose larger parts are left undecoded, field for field."""

    uid: str
    version: int
    flip: Flip | None
    before: msgspec.Raw
    devices: msgspec.Raw
    last_seen_at: Instant | None
    position: int
    tier: Tier | None
    override: msgspec.Raw = msgspec.Raw()
    evident: int | None = None


_encode_whole = msgspec.msgpack.Encoder(enc_hook=encode_crowd).encode
_decode = msgspec.msgpack.Decoder(Presence).decode
_decode_outline = msgspec.msgpack.Decoder(_Outline).decode


class CurrentRows(NamedTuple):
    """Rows of `current` as the packed columns of one statement."""

    uids: TextArray
    versions: BigintArray
    statuses: TextArray
    sinces: BigintArray
    devices: TextArray
    states: ByteaArray
    bodies: ByteaArray
    overrides: BigintArray


def decode_state(state: bytes) -> Presence:
    """The presence in a row's `state`."""
    return _decode(state)


def encode_state(presence: Presence) -> bytes:
    """What a row's `state` holds of a presence."""
    state = _encode_whole(presence)
    if presence.override is None and presence.evident is None:
        # As it was before there were overrides: a rebuild compares rows of then, to the byte.
        return _WITHOUT_OVERRIDE + state[1 : -len(_NEITHER)]
    return state


def can_be_stored(uid: str) -> bool:
    """Whether any user can have this uid: PostgreSQL's text holds neither NUL nor lone surrogates."""
    return "\0" not in uid and (uid.isascii() or not any("\ud800" <= c <= "\udfff" for c in uid))


def to_rows(presences: Iterable[Presence]) -> Iterator[CurrentRows]:
    """The rows of presences, in parts that one statement takes. A presence here has at least one event."""
    waiting = iter(presences)
    while part := list(islice(waiting, MAX_STATEMENT_ROWS)):
        yield CurrentRows(
            texts([presence.uid for presence in part]),
            bigints([presence.version for presence in part]),
            words([presence.status for presence in part]),
            bigints([0 if presence.flip is None else presence.flip.since for presence in part]),
            texts([device_tokens(presence) for presence in part]),
            byteas([encode_state(presence) for presence in part]),
            byteas([plain_body(presence) for presence in part]),
            optional_bigints([_override_until(presence) for presence in part]),
        )


def _override_until(presence: Presence) -> Instant | None:
    return None if presence.override is None else presence.override.expires_at


def device_tokens(presence: Presence) -> str:
    """What lists and counts look for: ` source/flag/on/node source/flag/off/ `, a token for each device."""
    return f" {' '.join([_token(device) for device in presence.devices])} "


def like_tokens(sources: Iterable[str]) -> TextArray:
    """What `device_tokens` is LIKE of users with a device in one of these sources, or with none that could tell."""
    # A name's underscore is like any character: users who are derived without need are shown the same.
    return texts(["  ", *[f"% {source}/%" for source in sources]])


def _token(device: Device) -> str:
    flag = "" if device.device_flag is None else device.device_flag
    if device.sessions:
        return f"{device.source}/{flag}/on/{device.sessions[-1].node}"
    return f"{device.source}/{flag}/off/"


def write(cursor: Cursor[Any], parts: Sequence[CurrentRows]) -> None:
    """Write rows within the append's transaction."""
    for rows in parts:
        cursor.execute(_INSERT + _REPLACE, rows)


def insert(cursor: Cursor[Any], parts: Iterable[CurrentRows]) -> None:
    """Write rows of users who have none yet."""
    for rows in parts:
        cursor.execute(_INSERT, rows)


def load(connection: Connection[TupleRow], uids: Sequence[str]) -> Mapping[str, Presence]:
    """The presences of those users who have one."""
    rows = connection.cursor(binary=True).execute(_STATES, (texts(uids),)).fetchall()
    return {uid: _decode(state) for uid, state in rows}


def load_states(connection: Connection[TupleRow], uids: Sequence[str]) -> dict[str, bytes]:
    """The same undecoded, as `decode_state` takes them."""
    return dict(connection.cursor(binary=True).execute(_STATES, (texts(uids),)).fetchall())


def states_after(
    connection: Connection[TupleRow], uid: str, limit: int, *, online_alone: bool
) -> list[tuple[str, bytes]]:
    """A page of everybody, or of those who have a connection, by uid, undecoded."""
    rows = connection.cursor(binary=True).execute(_STATES_AFTER, (uid, online_alone, limit)).fetchall()
    return [(uid, state) for uid, state in rows]


def load_outlines(connection: Connection[TupleRow], uids: Sequence[str]) -> Mapping[str, Presence]:
    """The same without devices, override and the period before, at a third of the cost: what is left says when the user
    was last seen and how soon they are to be looked at."""
    rows = connection.cursor(binary=True).execute(_STATES, (texts(uids),)).fetchall()
    return {uid: _outline(state) for uid, state in rows}


def _outline(state: bytes) -> Presence:
    known = _decode_outline(state)
    return Presence(
        uid=known.uid,
        version=known.version,
        flip=known.flip,
        last_seen_at=known.last_seen_at,
        position=known.position,
        tier=known.tier,
        evident=known.evident,
    )


def connected_in(connection: Connection[TupleRow], uids: Iterable[str], source: str) -> set[str]:
    """Those of these users who have a connection in a source, as its webhooks and looks told; no grace, no doubt."""
    online = f" {re.escape(source)}/[0-9]*/on/"
    return {uid for (uid,) in connection.cursor(binary=True).execute(_CONNECTED, (texts(sorted(uids)), online))}


def in_grace(connection: Connection[TupleRow], since: Instant) -> list[Presence]:
    """Those who went offline after an instant, so that a grace period may not show it yet."""
    return [_decode(state) for (state,) in connection.cursor(binary=True).execute(IN_GRACE, (since,))]


def overridden(connection: Connection[TupleRow], since: Instant) -> list[Presence]:
    """Those of whom an operator's word held at an instant or holds since: when it is over, time alone changes them."""
    return [_decode(state) for (state,) in connection.cursor(binary=True).execute(_OVERRIDDEN, (since,))]


def over(connection: Connection[TupleRow], at: Instant, limit: int) -> list[str]:
    """Those of whom an operator's word is over by an instant, and no event says so yet."""
    return [uid for (uid,) in connection.cursor(binary=True).execute(_OVER, (at, limit))]


def online_after(connection: Connection[TupleRow], grace_seconds: float, uid: str, limit: int) -> list[str]:
    """A page of the users who are online, or may be by a grace period of so long or an operator's word, by uid.

    No canaries.
    """
    return [uid for (uid,) in connection.cursor(binary=True).execute(_ONLINE_AFTER, (grace_seconds, uid, limit))]


def of_sources_after(connection: Connection[TupleRow], names: Iterable[str], uid: str, limit: int) -> list[Presence]:
    """A page of the users who have, or may have, a device in one of these sources, by uid."""
    rows = connection.cursor(binary=True).execute(_AFTER, (uid, like_tokens(names), limit)).fetchall()
    return [_decode(state) for (state,) in rows]


def all_after(connection: Connection[TupleRow], uid: str, limit: int) -> list[Presence]:
    """A page of everybody, by uid."""
    return [_decode(state) for (state,) in connection.cursor(binary=True).execute(_ALL_AFTER, (uid, limit))]

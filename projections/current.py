"""The inline projection `current`: each user's presence as of his last event, and the one place that knows its table.

It is written in the transaction that appends the events, so a reader sees his own writes; and it serves as the snapshot
of the aggregate, so that judging a thousand users costs one SELECT.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.domain.presence import Presence

_STATES = "SELECT uid, state FROM current WHERE uid = ANY(%b::text[])"

# One snapshot for the head, the position of the rules and the users; a row of NULLs where none of them is known.
READ: LiteralString = """
SELECT place.head, place.rules, c.uid, c.state
  FROM (SELECT coalesce((SELECT position FROM events ORDER BY position DESC LIMIT 1), 0) AS head,
               coalesce((SELECT max(rules_position) FROM source_states), 0) AS rules) AS place
  LEFT JOIN current AS c ON c.uid = ANY(%b::text[])
"""

_WRITE = """
INSERT INTO current AS c (uid, version, status, since, devices, state)
SELECT * FROM unnest(%b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::text[], %b::bytea[])
    ON CONFLICT (uid) DO UPDATE
   SET version = excluded.version, status = excluded.status, since = excluded.since,
       devices = excluded.devices, state = excluded.state
"""

ROWS_A_STATEMENT = 20_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Presence).decode


class CurrentRows(NamedTuple):
    """Rows of `current` as columns, ready to be sent."""

    uids: list[str]
    versions: list[int]
    statuses: list[str]
    sinces: list[Instant]
    devices: list[str]
    states: list[bytes]


def decode_state(state: bytes) -> Presence:
    """The presence in a row's `state`."""
    return _decode(state)


def can_be_stored(uid: str) -> bool:
    """Whether any user can have this uid: PostgreSQL's text holds neither NUL nor lone surrogates."""
    return "\0" not in uid and (uid.isascii() or not any("\ud800" <= c <= "\udfff" for c in uid))


def rows_of(presences: Iterable[Presence]) -> Iterator[CurrentRows]:
    """The rows of presences, in parts that one statement takes. A presence here has at least one event."""
    rows = CurrentRows([], [], [], [], [], [])
    for presence in presences:
        assert presence.flip is not None
        rows.uids.append(presence.uid)
        rows.versions.append(presence.version)
        rows.statuses.append(presence.flip.status)
        rows.sinces.append(presence.flip.since)
        rows.devices.append(device_tokens(presence))
        rows.states.append(_encode(presence))
        if len(rows.uids) == ROWS_A_STATEMENT:
            yield rows
            rows = CurrentRows([], [], [], [], [], [])
    if rows.uids:
        yield rows


def device_tokens(presence: Presence) -> str:
    """What lists and counts look for: ` source/flag/on/node source/flag/off/ `, a token for each device."""
    tokens = []
    for device in presence.devices:
        flag = "" if device.device_flag is None else str(device.device_flag)
        if device.sessions:
            tokens.append(f"{device.source}/{flag}/on/{device.sessions[-1].node}")
        else:
            tokens.append(f"{device.source}/{flag}/off/")
    return f" {' '.join(tokens)} "


def write(cursor: Cursor[Any], parts: Sequence[CurrentRows]) -> None:
    """Write rows within the append's transaction."""
    for rows in parts:
        cursor.execute(_WRITE, rows)


def load(connection: Connection[TupleRow], uids: Sequence[str]) -> Mapping[str, Presence]:
    """The presences of those users who have one."""
    rows = connection.cursor(binary=True).execute(_STATES, (list(uids),)).fetchall()
    return {uid: _decode(state) for uid, state in rows}

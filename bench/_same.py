"""Whether two ledgers tell the same but for the users' names: their tables row by row, explanations word by word."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import msgspec
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.explain import explain
from ledger.domain.instants import from_datetime
from ledger.domain.observation import Claim, Instant, parse_item
from ledger.slices.pseudonyms import Pseudonyms
from ledger.store.mapper import USER_PREFIX, EventMapper
from projections.engine.projector import Projector
from projections.models.registry import FOLLOWING
from projections.queries.evidence import gather
from projections.queries.evidence_rows import RecordedHistory

TABLES = {
    "current": ("uid",),
    "sessions": ("uid", "position", "ordinal"),
    "drifts": ("uid", "source", "disagreed_at"),
    "snapshots": ("uid", "version"),
}
"""Each with its key."""

PACKED = frozenset({"state"})
"""Columns that are MessagePack; other bytes are JSON."""

UNTOLD = frozenset({"body"})
"""What an answer is made of is not whole JSON; the state alongside it says the same."""

_FLIPS = """
SELECT stream, position, recorded_at FROM ledger_events
 WHERE kind IN ('webhook_observed.v2', 'corrected.v1', 'swept.v1')
   AND payload ->> 'status_before' <> payload ->> 'status_after'
 ORDER BY position
"""


class Moment(NamedTuple):
    """A user at an instant, by those who knew the ledger up to a position."""

    uid: str
    at: Instant
    position: int


class Compared(NamedTuple):
    """How many things were held against each other, how many are not the same, and the first of those."""

    things: int
    others: int
    first: str = ""


def project(url: str) -> None:
    """Let all projections follow the ledger to its head."""
    with psycopg.connect(url, autocommit=True) as connection:
        projector = Projector(FOLLOWING)
        while projector.round(connection):
            pass


def tables(
    url: str, other_url: str, names: Pseudonyms | None, only: Sequence[str] = tuple(TABLES)
) -> dict[str, Compared]:
    """Each table of two ledgers; `names` are those of the other one's users."""
    found = {}
    with psycopg.connect(url) as connection, psycopg.connect(other_url) as elsewhere:
        for table in only:
            rows, others = _rows(connection, table), _rows(elsewhere, table)
            first, wrong = "", abs(len(others) - len(rows))
            for key, row in rows.items():
                uid = key[0] if names is None else names.pseudonym(key[0])
                other_row = others.get((uid, *key[1:]))
                if not _same(row, other_row, names):
                    wrong += 1
                    first = first or f"{table}: {row}, there {other_row}"
            found[table] = Compared(len(rows), wrong, first)
    return found


def explanations(url: str, other_url: str, names: Pseudonyms | None, number: int, random: Random) -> Compared:
    """The explanations of so many transitions, of both ledgers."""
    with psycopg.connect(url) as connection, psycopg.connect(other_url) as other:
        moments = list(_moments(connection))
        chosen = random.sample(moments, min(number, len(moments)))
        first, wrong = "", 0
        for moment in chosen:
            uid = moment.uid if names is None else names.pseudonym(moment.uid)
            told, told_there = _explained(connection, moment), _explained(other, moment._replace(uid=uid))
            if not _same(told, told_there, names):
                wrong += 1
                first = first or f"explanation: {told}, there {told_there}"
        return Compared(len(chosen), wrong, first)


def _moments(connection: Connection[TupleRow]) -> Iterator[Moment]:
    for stream, position, recorded_at in connection.execute(_FLIPS).fetchall():
        yield Moment(stream.removeprefix(USER_PREFIX), from_datetime(recorded_at), position)


def _explained(connection: Connection[TupleRow], moment: Moment) -> Any:
    evidence = gather(RecordedHistory(connection, EventMapper()), moment.uid, moment.at, moment.position)
    return msgspec.to_builtins(explain(evidence))


def _rows(connection: Connection[TupleRow], table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    key = TABLES[table]
    cursor = connection.execute(f"SELECT * FROM {table}".encode())
    columns = [column.name for column in cursor.description or ()]
    rows = (dict(zip(columns, row, strict=True)) for row in cursor)
    return {
        tuple(row[name] for name in key): {n: _read(n, v) for n, v in row.items() if n not in UNTOLD} for row in rows
    }


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    return msgspec.msgpack.decode(value) if name in PACKED else msgspec.json.decode(value)


def _same(one: Any, other: Any, names: Pseudonyms | None) -> bool:
    """Whether a value is another, or what stands for it where users have these names."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key], names) for key, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other, [names] * len(one)))
    if names is None or not isinstance(one, str):
        return bool(one == other)
    return other in {one, names.pseudonym(one), names.redacted(one), _item(one, names)}


def _item(text: str, names: Pseudonyms) -> str:
    claim = parse_item(text)
    return names.pseudonym(claim.uid) + text[len(claim.uid) :] if isinstance(claim, Claim) else text

"""Reconciliation runs as they stand: from their events, and while they run from what the leading instance noted."""

from typing import Any, Literal, LiteralString

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ledger.domain.instants import Timestamp, to_text
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import RunCounts, RunEnded, RunScope, RunStarted
from ledger.store.mapper import SOURCE_PREFIX, EventMapper, source_stream

# `kind IN` both, next to the one that is meant, lets the partial indexes serve.
_STARTED: LiteralString = """
SELECT s.position, s.stream, s.payload, e.position, e.payload, p.counts, p.users
  FROM (SELECT position, stream, payload FROM events
         WHERE kind IN ('run_started.v1', 'run_ended.v1') AND kind = 'run_started.v1'{}) AS s
  LEFT JOIN LATERAL end_of_run(payload_json(s.payload) ->> 'run', s.position) AS e ON true
  LEFT JOIN run_progress AS p ON p.run = payload_json(s.payload) ->> 'run'
 ORDER BY s.position
"""

_OF_SOURCE: LiteralString = _STARTED.format(" AND stream = %s AND position > %s ORDER BY position LIMIT %s")

_ONE: LiteralString = _STARTED.format(" AND payload_json(payload) ->> 'run' = %s LIMIT 1")

_NOTE = """
INSERT INTO run_progress AS p (run, source, counts, users) VALUES (%s, %s, %s, %s)
    ON CONFLICT (run) DO UPDATE SET counts = excluded.counts, users = excluded.users
"""

_FORGET = "DELETE FROM run_progress WHERE run = %s"


class RunCountsBody(RunCounts, frozen=True, omit_defaults=False):
    """Users, but for the polls."""


class RunBody(msgspec.Struct, kw_only=True):
    """A reconciliation run; `users` are those to be looked at, where that is known, `failures` the last one by node."""

    run: str
    source: str
    position: int
    scope: RunScope
    node: str | None
    state: Literal["running", "completed", "interrupted"]
    instance: str
    started_at: Timestamp
    ended_at: Timestamp | None
    duration_seconds: float | None
    users: int | None
    counts: RunCountsBody
    failures: dict[str, str]


def page(connection: Connection[TupleRow], mapper: EventMapper, source: str, after: int, limit: int) -> list[RunBody]:
    """A source's runs in the order of their begin, after that position."""
    rows = connection.execute(_OF_SOURCE, (source_stream(source), after, limit)).fetchall()
    return [_run(mapper, row) for row in rows]


def one(connection: Connection[TupleRow], mapper: EventMapper, run: str) -> RunBody | None:
    """One run, if there is one of that id."""
    row = connection.execute(_ONE, (run,)).fetchone()
    return None if row is None else _run(mapper, row)


def note(cursor: Cursor[Any], run: str, source: str, counts: RunCounts, users: int | None) -> None:
    """What a run has come to so far."""
    cursor.execute(_NOTE, (run, source, Jsonb(_all_counts(counts)), users))


def noted(connection: Connection[TupleRow], source: str) -> dict[str, RunCounts]:
    """What a source's runs under way had come to, by id."""
    rows = connection.execute("SELECT run, counts FROM run_progress WHERE source = %s", (source,)).fetchall()
    return {run: RunCounts(**counts) for run, counts in rows}


def forget(cursor: Cursor[Any], run: str) -> None:
    """A run is over: its event says what it came to."""
    cursor.execute(_FORGET, (run,))


def _all_counts(counts: RunCounts) -> dict[str, int]:
    fields: dict[str, int] = msgspec.structs.asdict(counts)
    return fields


def _run(mapper: EventMapper, row: TupleRow) -> RunBody:
    position, stream, started_payload, ended_position, ended_payload, progress, users = row
    started = mapper.event_at(position, "run_started.v1", started_payload)
    assert isinstance(started, RunStarted)
    ended = None if ended_payload is None else mapper.event_at(ended_position, "run_ended.v1", ended_payload)
    assert ended is None or isinstance(ended, RunEnded)
    counts = (progress or {}) if ended is None else _all_counts(ended.counts)
    return RunBody(
        run=started.run,
        source=stream.removeprefix(SOURCE_PREFIX),
        position=position,
        scope=started.scope,
        node=started.node,
        state="running" if ended is None else ended.outcome,
        instance=started.instance,
        started_at=to_text(started.at),
        ended_at=None if ended is None else to_text(ended.at),
        duration_seconds=None if ended is None else round((ended.at - started.at) / SECOND, 6),
        users=started.users if started.users is not None else users,
        counts=RunCountsBody(**counts),
        failures={} if ended is None else ended.failures,
    )

"""Reconciliation runs as they stand: from their events, and while they run from what the leading instance noted."""

from typing import Any, LiteralString

import msgspec
from psycopg import Connection, Cursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from ledger.domain.instants import optional
from ledger.domain.reconciliation_events import RunCounts, RunEnded, RunStarted
from ledger.store.mapper import SOURCE_PREFIX, EventMapper, source_stream

# `kind IN` both, next to the one that is meant, lets the partial indexes serve.
_STARTED: LiteralString = """
SELECT s.position, s.stream, s.payload, e.position, e.payload, p.counts, p.users
  FROM events AS s
  LEFT JOIN LATERAL (
       SELECT position, payload FROM events AS ended
        WHERE ended.kind IN ('run_started.v1', 'run_ended.v1') AND ended.kind = 'run_ended.v1'
          AND payload_json(ended.payload) ->> 'run' = payload_json(s.payload) ->> 'run'
        LIMIT 1) AS e ON true
  LEFT JOIN run_progress AS p ON p.run = payload_json(s.payload) ->> 'run'
 WHERE s.kind IN ('run_started.v1', 'run_ended.v1') AND s.kind = 'run_started.v1'
"""

_OF_SOURCE: LiteralString = _STARTED + " AND s.stream = %s AND s.position > %s ORDER BY s.position LIMIT %s"

_ONE: LiteralString = _STARTED + " AND payload_json(s.payload) ->> 'run' = %s LIMIT 1"

_NOTE = """
INSERT INTO run_progress AS p (run, source, counts, users) VALUES (%s, %s, %s, %s)
    ON CONFLICT (run) DO UPDATE SET counts = excluded.counts, users = excluded.users
"""

_FORGET = "DELETE FROM run_progress WHERE run = %s"


def page(
    connection: Connection[TupleRow], mapper: EventMapper, source: str, after: int, limit: int
) -> list[dict[str, Any]]:
    """A source's runs in the order of their begin, after that position, as the API shows them."""
    rows = connection.execute(_OF_SOURCE, (source_stream(source), after, limit)).fetchall()
    return [_view(mapper, row) for row in rows]


def one(connection: Connection[TupleRow], mapper: EventMapper, run: str) -> dict[str, Any] | None:
    """One run, if there is one of that id."""
    row = connection.execute(_ONE, (run,)).fetchone()
    return None if row is None else _view(mapper, row)


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


def _view(mapper: EventMapper, row: TupleRow) -> dict[str, Any]:
    position, stream, started_payload, ended_position, ended_payload, progress, users = row
    started = mapper.event_at(position, "run_started.v1", started_payload)
    assert isinstance(started, RunStarted)
    ended = None if ended_payload is None else mapper.event_at(ended_position, "run_ended.v1", ended_payload)
    assert ended is None or isinstance(ended, RunEnded)
    counts = _all_counts(RunCounts(**(progress or {})))
    return {
        "run": started.run,
        "source": stream.removeprefix(SOURCE_PREFIX),
        "position": position,
        "scope": started.scope,
        "node": started.node,
        "state": "running" if ended is None else ended.outcome,
        "instance": started.instance,
        "started_at": optional(started.at),
        "ended_at": None if ended is None else optional(ended.at),
        "duration_seconds": None if ended is None else round((ended.at - started.at) / 1_000_000, 6),
        "users": started.users if started.users is not None else users,
        "counts": counts if ended is None else _all_counts(ended.counts),
        "failures": {} if ended is None else ended.failures,
    }

"""The history that an explanation asks, in PostgreSQL: bounded queries over one connection."""

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.as_of import Belief
from ledger.domain.evidence import Placed
from ledger.domain.instants import from_datetime
from ledger.domain.observation import Instant
from ledger.store.mapper import SOURCE_PREFIX, USER_PREFIX, EventMapper, source_stream, user_stream
from projections.models import drifts
from projections.models.current import can_be_stored
from projections.models.shown import Rules
from projections.queries import history
from projections.queries.rule_folds import RuleFolds

MAX_LATER_SOURCE_EVENTS = 20
"""Of a source's events after a position."""

MAX_RUNS = 3

_ROWS: LiteralString = "SELECT position, version, stream, kind, payload, recorded_at FROM events"

_AT: LiteralString = _ROWS + " WHERE position = ANY(%s) ORDER BY position"

_LAST_BEFORE: LiteralString = _ROWS + " WHERE position < %s ORDER BY position DESC LIMIT 1"

# The snapshot after the position bounds how much of a long stream is looked at.
_VERSION_AT = """
SELECT coalesce((
    SELECT version FROM events
     WHERE stream = %(stream)s AND position <= %(position)s
       AND version <= coalesce((SELECT version FROM snapshots WHERE uid = %(uid)s AND position > %(position)s
                                 ORDER BY version LIMIT 1), %(unbounded)s)
     ORDER BY version DESC LIMIT 1),
    (SELECT version - 1 FROM events WHERE stream = %(stream)s ORDER BY version LIMIT 1), 0)
"""

_OF_USER: LiteralString = _ROWS + " WHERE stream = %s AND version > %s AND version <= %s ORDER BY version"

_BOUNDED: LiteralString = (
    _ROWS + " WHERE stream = %s AND version > %s AND kind IN ('corrected.v1', 'swept.v1') ORDER BY version LIMIT %s"
)

_DELIVERY: LiteralString = (
    _ROWS
    + " WHERE payload_json(payload) ->> 'delivery' = %s AND kind IN ('delivery_received.v1', 'body_rejected.v1')"
    + " ORDER BY position LIMIT 1"
)

_REPEATING: LiteralString = (
    _ROWS
    + " WHERE payload_json(payload) ->> 'repeats' = %s"
    + " AND kind = 'delivery_received.v1' AND payload_json(payload) ? 'repeats' ORDER BY position LIMIT 20"
)

_POLL: LiteralString = (
    _ROWS + " WHERE payload_json(payload) ->> 'poll' = %s AND kind = 'poll_observed.v1' ORDER BY position LIMIT 1"
)

# `kind IN` both, next to the one that is meant, lets the partial index serve.
_RUN: LiteralString = (
    _ROWS
    + " WHERE payload_json(payload) ->> 'run' = %s"
    + " AND kind IN ('run_started.v1', 'run_ended.v1') AND kind = 'run_started.v1' LIMIT 1"
)

_RUNS_AFTER: LiteralString = (
    _ROWS
    + " WHERE stream = %s AND position > %s"
    + " AND kind IN ('run_started.v1', 'run_ended.v1') AND kind = 'run_started.v1' ORDER BY position LIMIT %s"
)

_SIGNS: LiteralString = (
    _ROWS
    + " WHERE stream = %s AND kind IN ('node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',"
    + " 'source_lit.v1', 'breaker_opened.v1', 'breaker_closed.v1')"
)
_SERVICES: LiteralString = _ROWS + " WHERE stream = %s AND kind IN ('service_started.v1', 'service_stopped.v1')"
_UP_TO: LiteralString = " AND position <= %s ORDER BY position DESC LIMIT %s"
_BEYOND: LiteralString = " AND position > %s ORDER BY position LIMIT %s"


class RecordedHistory:
    """A ledger of the moment that the connection's transaction sees. Its methods raise UnreadableEvent."""

    def __init__(self, connection: Connection[TupleRow], mapper: EventMapper, folds: RuleFolds | None = None) -> None:
        self._connection = connection
        self._mapper = mapper
        self._folds = folds or RuleFolds()

    def head(self) -> int:
        """The last position, 0 of an empty ledger."""
        return history.head(self._connection).position

    def position_at(self, at: Instant) -> int:
        """The last position recorded up to an instant."""
        return history.position_at(self._connection, at)

    def believed(self, uid: str, at: Instant, position: int) -> tuple[Belief, Rules]:
        """What is known of a user at an instant from the ledger up to a position, and the rules of that."""
        found = history.as_of(self._connection, self._mapper, [uid], at, position, self._folds)
        return found.belief(uid, at), found.rules

    def at(self, positions: Sequence[int]) -> list[Placed]:
        """The events at these positions, those that there are."""
        return self._placed(_AT, list(positions))

    def last_before(self, position: int) -> Placed | None:
        """The last event of the ledger before a position."""
        return self._first(_LAST_BEFORE, position)

    def version_at(self, uid: str, position: int) -> int:
        """Of a user's stream, as of a position; before the first event one less than its: an import begins with any."""
        if not can_be_stored(uid):
            return 0
        asked = {"stream": user_stream(uid), "uid": uid, "position": position, "unbounded": history.UNBOUNDED}
        row = self._connection.execute(_VERSION_AT, asked).fetchone()
        assert row is not None
        return int(row[0])

    def user_events(self, uid: str, after: int, up_to: int) -> list[Placed]:
        """A user's events with versions above `after`, up to `up_to`."""
        return self._placed(_OF_USER, user_stream(uid), after, up_to) if can_be_stored(uid) else []

    def bounded_events(self, uid: str, after: int, limit: int) -> list[Placed]:
        """The first corrections and sweeps of a user with versions above `after`."""
        return self._placed(_BOUNDED, user_stream(uid), after, limit) if can_be_stored(uid) else []

    def delivery(self, delivery: str) -> Placed | None:
        """The event of a delivery."""
        return self._first(_DELIVERY, delivery)

    def repeating(self, delivery: str) -> list[Placed]:
        """The deliveries that were taken for repetitions of that one."""
        return self._placed(_REPEATING, delivery)

    def poll(self, poll: str) -> Placed | None:
        """The event of a poll."""
        return self._first(_POLL, poll)

    def run(self, run: str) -> Placed | None:
        """The event of a run's begin."""
        return self._first(_RUN, run)

    def finding(self, uid: str, at: Instant) -> list[Placed]:
        """The polls that tell of the user's drifts which may have been there at the instant."""
        return self.at(drifts.polls_around(self._connection, uid, at)) if can_be_stored(uid) else []

    def signs(self, sources: Sequence[str], position: int, limit: int) -> list[Placed]:
        """Darkness, nodes down, booted, settled, the breaker: the last up to a position, and the first after it."""
        found = [placed for source in sources for placed in self._around(_SIGNS, source, position, limit)]
        return sorted(found, key=lambda placed: placed.position)

    def services(self, source: str, position: int, limit: int) -> list[Placed]:
        """Starts and stops of instances: the last so many up to a position, and the first after."""
        return self._around(_SERVICES, source, position, limit)

    def runs_after(self, source: str, position: int) -> list[Placed]:
        """The first few runs of a source that began after a position."""
        return self._placed(_RUNS_AFTER, source_stream(source), position, MAX_RUNS)

    def _around(self, query: LiteralString, source: str, position: int, limit: int) -> list[Placed]:
        stream = source_stream(source)
        earlier = self._placed(query + _UP_TO, stream, position, limit)
        return earlier[::-1] + self._placed(query + _BEYOND, stream, position, MAX_LATER_SOURCE_EVENTS)

    def _first(self, query: LiteralString, *params: Any) -> Placed | None:
        return next(iter(self._placed(query, *params)), None)

    def _placed(self, query: LiteralString, *params: Any) -> list[Placed]:
        rows = self._connection.cursor(binary=True).execute(query, params).fetchall()
        return [
            Placed(
                position,
                version,
                from_datetime(recorded_at),
                stream.removeprefix(SOURCE_PREFIX) if stream.startswith(SOURCE_PREFIX) else "",
                stream.removeprefix(USER_PREFIX) if stream.startswith(USER_PREFIX) else "",
                self._mapper.event_at(position, kind, payload),
            )
            for position, version, stream, kind, payload, recorded_at in rows
        ]

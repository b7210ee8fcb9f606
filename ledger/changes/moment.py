"""One moment of the ledger, read in a transaction of its own: head, rules, and the presences that are asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.working_state import looks, sources
from projections.engine import switch
from projections.models import current
from projections.models.shown import AnswerPoint, Rules, rules_from, shown_body, verified
from projections.queries import listing

_ONE_MOMENT = switch.ONE_MOMENT.format("current, snapshots, ONLY events")


class Moment(NamedTuple):
    """Where a moment lies, by which rules users are shown then, and the connection that sees it."""

    made: AnswerPoint
    rules: Rules
    connection: Connection[TupleRow]

    def presences(self, uids: Sequence[str]) -> dict[str, Presence]:
        """The presence of each of these users; of a user who was never observed, one without events."""
        found = current.load(self.connection, [uid for uid in uids if current.can_be_stored(uid)])
        return {uid: found.get(uid) or Presence(uid) for uid in uids}

    def bodies(self, presences: Mapping[str, Presence]) -> Iterator[tuple[str, bytes]]:
        """What is answered of each of these users, but for its `as_of`."""
        looked = looks.last_verified(self.connection, [uid for uid, each in presences.items() if each.version])
        for uid, presence in presences.items():
            body = shown_body(presence, self.rules, self.made.at)
            yield uid, body + verified(looked.get(uid), presence.version)


class Moments:
    """Reads moments for one thread, over one connection at a time; the rules are read where they have changed."""

    def __init__(self, now: Callable[[], Instant]) -> None:
        self._now = now
        self._rules = Rules(-1, {})
        self._open: Moment | None = None

    @contextmanager
    def read(self, connection: Connection[TupleRow]) -> Iterator[Moment]:
        """The moment that the connection sees now; within one that is being read, that one."""
        if self._open is not None:
            yield self._open
            return
        try:
            with self._new(connection) as self._open:
                yield self._open
        finally:
            self._open = None

    @contextmanager
    def _new(self, connection: Connection[TupleRow]) -> Iterator[Moment]:
        with connection.transaction():
            connection.execute(_ONE_MOMENT, prepare=False)
            row = connection.execute(listing.HEAD).fetchone()
            assert row is not None
            head, recorded_at, rules_position = row
            if rules_position != self._rules.position:
                self._rules = _read_rules(connection)
            yield Moment(AnswerPoint(max(self._now(), recorded_at), head), self._rules, connection)


def _read_rules(connection: Connection[TupleRow]) -> Rules:
    rows = connection.cursor(binary=True).execute(sources.READ_ALL).fetchall()
    position = max((rules_position for *_, rules_position in rows), default=0)
    return rules_from(position, {name: sources.shown_by(name, version, state) for name, version, state, _ in rows})

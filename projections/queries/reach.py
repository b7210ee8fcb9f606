"""Whom to send a push notification now: what the rule is given of each user, all of one snapshot."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from ledger.domain.events import WebhookObserved
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.reach import UNMARKED, Mark, Reach, mark_from, reach
from ledger.domain.reach_policy import ReachPolicy
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import USER_PREFIX, UnreadableEvent, user_stream
from ledger.working_state import followers, looks, sources
from projections.engine import switch
from projections.models import current
from projections.models.shown import AnswerPoint, Rules, rules_from
from projections.queries.listing import HEAD, LedgerHead

MAX_UNHEARD = 10_000
"""So many events at most that the agenda has not heard yet are looked through; where there are more, whoever is named
beyond the agenda's position is a suspect."""

_ONE_MOMENT = switch.ONE_MOMENT.format("current")


class Reached(NamedTuple):
    """The answers in the order asked, and what they were made at."""

    made: AnswerPoint
    answers: list[Reach]


class ReachReader:
    """Answers for many users at a time, from a thread. Raises StoreUnavailable and SourceUnreadable."""

    def __init__(
        self,
        pool: ConnectionPool[Connection[TupleRow]],
        ledger: Ledger,
        policy: ReachPolicy,
        now: Callable[[], Instant],
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._policy = policy
        self._now = now

    def with_policy(self, policy: ReachPolicy) -> "ReachReader":
        """One that answers by this policy."""
        return ReachReader(self._pool, self._ledger, policy, self._now)

    def read(self, uids: Sequence[str]) -> Reached:
        """Whether to notify each of these users now."""
        with translated(), self._pool.connection() as connection, connection.transaction():
            connection.execute(_ONE_MOMENT, prepare=False)
            return self.seen_by(connection, uids)

    def seen_by(self, connection: Connection[TupleRow], uids: Sequence[str]) -> Reached:
        """The same, by what a transaction sees in which every statement sees the same."""
        row = connection.execute(HEAD).fetchone()
        assert row is not None
        head = LedgerHead(*row)
        made = AnswerPoint(max(self._now(), head.recorded_at), head.position)
        rules = _read_rules(connection)
        known = [uid for uid in uids if current.can_be_stored(uid)]
        presences = current.load(connection, known)
        marks = self._marks(connection, presences.values(), head.position)
        answers = [
            reach(presences.get(uid) or Presence(uid), rules.sources, marks.get(uid, {}), made.at, self._policy)
            for uid in uids
        ]
        return Reached(made, answers)

    def _marks(
        self, connection: Connection[TupleRow], presences: Collection[Presence], head: int
    ) -> dict[str, dict[str, Mark]]:
        """By uid and source, what looks have left and what the agenda has yet to hear."""
        watches = looks.in_any_source(connection, [presence.uid for presence in presences])
        marks = {
            uid: {source: mark_from(watch) for source, watch in of_user.items()} for uid, of_user in watches.items()
        }
        heard = followers.followed(connection)
        unheard = [presence for presence in presences if presence.position > heard]
        suspects = (
            self._suspects(connection, [presence.uid for presence in unheard], heard)
            if head - heard <= MAX_UNHEARD
            else [(presence.uid, device.source) for presence in unheard for device in presence.devices]
        )
        for uid, source in suspects:
            of_user = marks.setdefault(uid, {})
            of_user[source] = of_user.get(source, UNMARKED)._replace(suspect=True)
        return marks

    def _suspects(self, connection: Connection[TupleRow], uids: Sequence[str], heard: int) -> Iterator[tuple[str, str]]:
        """Whom the agenda is about to hear of as a suspect, and in which source."""
        if not uids:
            return
        streams = [user_stream(uid) for uid in uids]
        for row in self._ledger.events_recorder.ledger_rows(
            after=heard, streams=streams, limit=MAX_UNHEARD, connection=connection
        ):
            try:
                event = self._ledger.event(row)
            except UnreadableEvent:
                # What a newer version put on record is for it to judge.
                continue
            if isinstance(event, WebhookObserved) and event.suspect is not None:
                yield row.stream.removeprefix(USER_PREFIX), event.source


def _read_rules(connection: Connection[TupleRow]) -> Rules:
    rows = connection.cursor(binary=True).execute(sources.READ_ALL).fetchall()
    position = max((rules_position for *_, rules_position in rows), default=0)
    return rules_from(position, {name: sources.shown_by(name, version, state) for name, version, state, _ in rows})

"""The follower: the agenda hears what the ledger says of users, in order, each event once, of any instance.

Of an event that cannot be read it is known at least that there is something to it: its user is looked at in turn.
Whose watch a webhook does not change it remembers (`steady_watches.py`), so that PostgreSQL is asked of few.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.instants import from_datetime
from ledger.domain.look import Watch
from ledger.domain.mismatch import in_sample
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.reschedule import Reschedule, is_steady, reschedule_from, rescheduled
from ledger.domain.source import SourceState
from ledger.reconcile.count_signs import CountSigns
from ledger.reconcile.steady_watches import STEADY, SteadyWatches
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX, UnreadableEvent, user_stream
from ledger.store.recorder import SaidRow
from ledger.working_state import canaries, erasures, followers, looks
from projections.models import current
from projections.queries.listing import HEAD

log = structlog.get_logger()

PAGE, PAGE_BEHIND = 2_000, 8_000
"""Events that are heard at once, and where a page before was full."""

FAR_BEHIND = 200_000
"""So many events behind, everybody known is put on the agenda at once instead of being heard of event by event; so they
are where it was ahead, since the ledger went back."""


_OBSERVED = "webhook_observed.v2"
_ERASED = "user_erased.v1"

_KIND = itemgetter(2)

_UNREADABLE = (UnreadableEvent, msgspec.DecodeError, UnicodeDecodeError)


class _Heard:
    """What a page says that may change watches: by source and uid, in its order."""

    def __init__(self, names: Iterable[str]) -> None:
        self.users: dict[str, dict[str, list[Reschedule]]] = {name: {} for name in names}
        self.unreadable: list[SaidRow] = []
        self.recorded: dict[int, Instant] = {}
        """When events were recorded, by position; read once one of them cannot be."""

    def add(self, stream: str, said: Reschedule) -> None:
        """An event, in its source or in every one, if it is a user's."""
        if not stream.startswith(USER_PREFIX):
            return
        uid = stream.removeprefix(USER_PREFIX)
        for name in self.users if said.source is None else (said.source,):
            if (users := self.users.get(name)) is not None:
                users.setdefault(uid, []).append(said)


class AgendaFollower:
    """Follows the ledger for the agendas of these sources, from where the last leading instance got to."""

    def __init__(self, ledger: Ledger, names: Iterable[str], signs: CountSigns) -> None:
        self._ledger = ledger
        self._signs = signs
        self._names = sorted(set(names))
        self._steady = SteadyWatches(self._names)
        self._limit = PAGE
        mapper = ledger.events_mapper
        self._decode = mapper.decoder(_OBSERVED)
        self._unheard_kinds = mapper.known_kinds - mapper.stored_kinds((_OBSERVED, "tier_set.v1"))
        with ledger.connection() as connection:
            position = followers.followed(connection)
            row = connection.execute(HEAD).fetchone()
            assert row is not None
            head = row[0]
            if not 0 <= head - position <= FAR_BEHIND:
                with connection.transaction():
                    looks.add_everybody(connection.cursor())
                    followers.note_followed(connection.cursor(), head)

    def forget(self, source: str, uids: Iterable[str]) -> None:
        """Their watches are about to be changed, in the thread in which this one follows."""
        self._steady.forget(source, uids)

    def follow(self, states: Mapping[str, SourceState]) -> bool:
        """Hear the next page of events; False once there is none. `states` gives the policies and profiles."""
        limit, lineage = self._limit, self._ledger.lineage
        with self._ledger.connection() as connection, connection.transaction():
            # Read where it is noted, not remembered: the database may have been replaced by an older one.
            following = followers.following(connection)
            self._steady.begin(following, lineage, states)
            rows = self._ledger.events_recorder.said_after(following.position, limit, connection)
            if not rows:
                self._limit = PAGE
                return False
            erases = following.erasing or _ERASED in map(_KIND, rows)
            if erases:
                self._steady.forget_everybody()
            heard = self._hear(connection, rows, [name for name in self._names if name in states])
            steady = self._note(connection, following.position, heard, states)
            position = rows[-1][0]
            followers.note_followed(connection.cursor(), position)
        self._steady.end(position, lineage, {} if erases else steady)
        if heard.unreadable:
            self._complain(heard.unreadable)
        is_full = len(rows) == limit
        self._limit = PAGE_BEHIND if is_full else PAGE
        return is_full

    def _hear(self, connection: Connection[TupleRow], rows: Sequence[SaidRow], names: Sequence[str]) -> _Heard:
        """What a page says of users whose watch it may change."""
        heard = _Heard(names)
        decode, hear, steady = self._decode, self._signs.hear, self._steady.since
        self._signs.begin(len(rows))
        sampled = self._signs.sampled
        for row in rows:
            _, stream, kind, payload = row
            try:
                if kind != _OBSERVED:
                    self._hear_other(row, heard)
                    continue
                said = decode(payload)
            except _UNREADABLE:
                self._hear_unreadable(connection, rows, row, heard)
                continue
            if not sampled or in_sample(stream.removeprefix(USER_PREFIX)):
                hear(said)
            since = steady[said.source].get(stream) if said.source in steady else None
            if since is None or said.suspect is not None or not 0 <= said.received_at - since <= STEADY:
                heard.add(stream, Reschedule(said.received_at, said.source, said.suspect))
        return heard

    def _hear_other(self, row: SaidRow, heard: _Heard) -> None:
        """The same of an event that is no webhook, or one of an older kind. Raises UnreadableEvent."""
        _, stream, kind, payload = row
        if not stream.startswith(USER_PREFIX):
            return
        # It may be a tier, or bring one.
        self._steady.forget_user(stream)
        if kind in self._unheard_kinds:
            return
        event = self._ledger.events_mapper.event(kind, payload)
        if isinstance(event, WebhookObserved) and not self._signs.sampled:
            self._signs.hear(event)
        assert isinstance(event, UserEvent)
        if (said := reschedule_from(event)) is not None:
            heard.add(stream, said)

    def _hear_unreadable(
        self, connection: Connection[TupleRow], rows: Sequence[SaidRow], row: SaidRow, heard: _Heard
    ) -> None:
        """Something was said of this user, when it was recorded."""
        position, stream, _, _ = row
        if not stream.startswith(USER_PREFIX):
            return
        self._steady.forget_user(stream)
        if not heard.recorded:
            again = self._ledger.events_recorder.ledger_rows(
                after=rows[0][0] - 1, limit=len(rows), connection=connection
            )
            heard.recorded = {each.position: from_datetime(each.recorded_at) for each in again}
        # Otherwise they have been erased since.
        if (at := heard.recorded.get(position)) is not None:
            heard.unreadable.append(row)
            heard.add(stream, Reschedule(at))

    def _note(
        self, connection: Connection[TupleRow], position: int, heard: _Heard, states: Mapping[str, SourceState]
    ) -> dict[str, dict[str, Instant]]:
        """Change the watches of these users -> those that are steady then, by source and stream, since when."""
        asked = sorted({uid for users in heard.users.values() for uid in users})
        if not asked:
            return {}
        presences = current.load_outlines(connection, asked)
        left_out = canaries.uids(connection)
        if len(presences) < len(asked) and erasures.last_position(connection) > position:
            # Erased since their events were read.
            left_out |= set(asked) - presences.keys()
        steady: dict[str, dict[str, Instant]] = {}
        for name, users in heard.users.items():
            for uid in left_out & users.keys():
                del users[uid]
            if users:
                steady[name] = _change(connection, states[name], users, presences)
        return steady

    def _complain(self, rows: Sequence[SaidRow]) -> None:
        position, _, kind, payload = rows[0]
        try:
            self._ledger.events_mapper.event_at(position, kind, payload)
        except UnreadableEvent as error:
            log.error("events_unreadable", events=len(rows), reason=str(error))  # noqa: TRY400  (no defect of ours)


def _change(
    connection: Connection[TupleRow],
    source: SourceState,
    users: Mapping[str, Sequence[Reschedule]],
    presences: Mapping[str, Presence],
) -> dict[str, Instant]:
    """Change the watches in a source of users of whom something was heard -> those that are steady then."""
    steady: dict[str, Instant] = {}

    def after(uid: str, watch: Watch | None) -> Watch | None:
        presence = presences.get(uid) or Presence(uid)
        for said in users[uid]:
            watch = rescheduled(watch, said, presence, source)
        stream, since = user_stream(uid), users[uid][-1].at
        if watch is not None and is_steady(watch, presence, source, since):
            steady[stream] = since
        else:
            steady.pop(stream, None)
        return watch

    looks.change(connection, source.name, list(users), after)
    return steady

"""The follower: the agenda hears what the ledger says of users, in order, each event once, of any instance.

Of an event that cannot be read it is known at least that there is something to it: its user is looked at in turn.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.instants import from_datetime
from ledger.domain.look import Watch
from ledger.domain.observation import Claim, parse_item
from ledger.domain.presence import Presence
from ledger.domain.reschedule import Reschedule, reschedule_from, rescheduled
from ledger.domain.source import SourceState
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX, UnreadableEvent
from ledger.store.recorder import StoredRow
from ledger.working_state import canaries, erasures, followers, looks
from projections.models import current
from projections.queries.listing import HEAD

log = structlog.get_logger()

PAGE = 2_000

FAR_BEHIND = 200_000
"""So many events behind, everybody known is put on the agenda at once instead of being heard of event by event; so they
are where it was ahead, since the ledger went back."""


_OBSERVED = "webhook_observed.v2"

Listen = Callable[[str, str, Claim], None]
"""Hears what a node of a source said of a user, once for each item."""

_Users = dict[str, list[Reschedule]]
"""What was heard of users, in its order."""


class AgendaFollower:
    """Follows the ledger for the agendas of these sources, from where the last leading instance got to."""

    def __init__(self, ledger: Ledger, names: list[str], listen: Listen) -> None:
        self._ledger = ledger
        self._listen = listen
        self._names = set(names)
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

    def follow(self, states: Mapping[str, SourceState]) -> bool:
        """Hear the next page of events; False once there is none. `states` gives the policies and profiles."""
        with self._ledger.connection() as connection, connection.transaction():
            # Read where it is noted, not remembered: the database may have been replaced by an older one.
            after = followers.followed(connection)
            rows = self._ledger.events_recorder.ledger_rows(after=after, limit=PAGE, connection=connection)
            if not rows:
                return False
            heard, unreadable = self._heard(rows)
            for uid in canaries.among(connection, heard) if heard else ():
                del heard[uid]
            self._note(connection, heard, states)
            followers.note_followed(connection.cursor(), rows[-1].position)
        if unreadable:
            self._complain(unreadable)
        return len(rows) == PAGE

    def _heard(self, rows: Sequence[StoredRow]) -> tuple[_Users, Sequence[StoredRow]]:
        """What a page says of users, and the events that cannot be read."""
        heard: _Users = {}
        unreadable = []
        for row in rows:
            if not row.stream.startswith(USER_PREFIX):
                continue
            try:
                said = self._heard_in(row)
            except (UnreadableEvent, msgspec.DecodeError, UnicodeDecodeError):
                unreadable.append(row)
                # Something was said of this user.
                said = Reschedule(from_datetime(row.recorded_at))
            if said is not None:
                heard.setdefault(row.stream.removeprefix(USER_PREFIX), []).append(said)
        return heard, unreadable

    def _heard_in(self, row: StoredRow) -> Reschedule | None:
        """What a user's event says to the agenda. Raises UnreadableEvent, or what the decoder does."""
        if row.kind == _OBSERVED:
            return self._heard_from(self._decode(row.payload))
        if row.kind in self._unheard_kinds:
            return None
        event = self._ledger.event(row)
        if isinstance(event, WebhookObserved):
            return self._heard_from(event)
        assert isinstance(event, UserEvent)
        return reschedule_from(event)

    def _heard_from(self, said: WebhookObserved) -> Reschedule:
        if said.source in self._names and not said.repeated and isinstance(claim := parse_item(said.raw), Claim):
            self._listen(said.source, said.node, claim)
        return Reschedule(said.received_at, said.source, said.suspect)

    def _note(self, connection: Connection[TupleRow], heard: _Users, states: Mapping[str, SourceState]) -> None:
        """Change the watches of these users, in each source that events concern."""
        presences = current.load_outlines(connection, list(heard)) if heard else {}
        unknown = heard.keys() - presences.keys()
        if unknown and erasures.last_position(connection) > followers.followed(connection):
            # Erased since their events were read.
            heard = {uid: told for uid, told in heard.items() if uid not in unknown}
        for name in sorted(self._names & states.keys()):
            source = states[name]
            in_source = {uid: [each for each in told if each.source in (None, name)] for uid, told in heard.items()}

            def after(
                uid: str, watch: Watch | None, in_source: _Users = in_source, source: SourceState = source
            ) -> Watch | None:
                presence = presences.get(uid) or Presence(uid)
                for each in in_source[uid]:
                    watch = rescheduled(watch, each, presence, source)
                return watch

            looks.change(connection, name, [uid for uid, told in in_source.items() if told], after)

    def _complain(self, rows: Sequence[StoredRow]) -> None:
        try:
            self._ledger.event(rows[0])
        except UnreadableEvent as error:
            log.error("events_unreadable", events=len(rows), reason=str(error))  # noqa: TRY400  (no defect of ours)

"""The follower: what the ledger says of users reaches the agenda, in order, each event once, whoever wrote it.

Of an event that cannot be read it is known at least that there is something to it: its user is looked at in turn.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from ledger.domain.drift import is_silenced
from ledger.domain.events import Status
from ledger.domain.instants import of_datetime
from ledger.domain.look import SPACING_SECONDS, due_of
from ledger.domain.observation import SECOND, Claim, Instant, parse_item
from ledger.domain.reconciled import TierSet
from ledger.domain.source import SourceState
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX, UnreadableEvent
from ledger.store.recorder import StoredRow
from projections import looks
from projections.listing import HEAD
from projections.looks import Heard

log = structlog.get_logger()

PAGE = 2_000

FAR_BEHIND = 200_000
"""So many events behind, everybody known is put on the agenda at once instead of being heard of event by event; so they
are where it was ahead, since the ledger went back."""

SPACING = round(SPACING_SECONDS * SECOND)


class _Said(msgspec.Struct, gc=False):
    """What reconciliation needs of a webhook's event."""

    source: str
    received_at: Instant
    status_after: Status
    node: str
    raw: str
    suspect: str | None = None
    repeated: bool = False


_decode = msgspec.json.Decoder(_Said).decode

Listen = Callable[[str, str, Claim], None]
"""Hears what a node of a source said of a user, once for each item."""

_Agendas = dict[str, dict[str, Heard]]
"""What was heard of users, by source."""


class Follower:
    """Follows the ledger for the agendas of these sources, from where the last leading instance got to."""

    def __init__(self, ledger: Ledger, names: list[str], listen: Listen) -> None:
        self._ledger = ledger
        self._listen = listen
        self._names = set(names)
        self._known_kinds = ledger.events_mapper.known_kinds
        with ledger.connection() as connection:
            position = looks.followed(connection)
            row = connection.execute(HEAD).fetchone()
            assert row is not None
            head = row[0]
            if not 0 <= head - position <= FAR_BEHIND:
                with connection.transaction():
                    looks.add_everybody(connection.cursor())
                    looks.note_followed(connection.cursor(), head)

    def follow(self, states: Mapping[str, SourceState]) -> bool:
        """Hear the next page of events; False once there is none. `states` gives the policies and profiles."""
        with self._ledger.connection() as connection, connection.transaction():
            # Read where it is noted, not remembered: the database may have been replaced by an older one.
            after = looks.followed(connection)
            rows = self._ledger.events_recorder.ledger_rows(after=after, limit=PAGE, connection=connection)
            if not rows:
                return False
            heard, unreadable = self._heard(rows, states)
            cursor = connection.cursor()
            for name, users in heard.items():
                looks.hear(cursor, name, users, SPACING)
            looks.note_followed(cursor, rows[-1].position)
        if unreadable:
            self._complain(unreadable)
        return len(rows) == PAGE

    def _heard(
        self, rows: Sequence[StoredRow], states: Mapping[str, SourceState]
    ) -> tuple[_Agendas, Sequence[StoredRow]]:
        """What a page says of users, and the events that cannot be read."""
        heard: _Agendas = {name: {} for name in self._names}
        unreadable = []
        for row in rows:
            if not row.stream.startswith(USER_PREFIX):
                continue
            try:
                self._hear(heard, row, states)
            except (UnreadableEvent, msgspec.DecodeError, UnicodeDecodeError):
                unreadable.append(row)
        self._hear_of_unreadable(heard, unreadable, states)
        return heard, unreadable

    def _hear(self, heard: _Agendas, row: StoredRow, states: Mapping[str, SourceState]) -> None:
        """Hear a user's event. Raises UnreadableEvent, or what the decoder does."""
        uid = row.stream.removeprefix(USER_PREFIX)
        if row.kind == "webhook_observed.v1":
            said = _decode(row.payload)
            if said.source in heard:
                _hear_webhook(heard[said.source], uid, said, states.get(said.source))
                if not said.repeated and isinstance(claim := parse_item(said.raw), Claim):
                    self._listen(said.source, said.node, claim)
        elif row.kind == "tier_set.v1":
            event = self._ledger.event(row)
            assert isinstance(event, TierSet)
            for name, source in states.items():
                due_at = due_of(event.tier or "normal", source.policy, event.received_at)
                heard[name][uid] = Heard(event.received_at, due_at, _why(heard[name], uid))
        elif row.kind not in self._known_kinds:
            self._ledger.event(row)

    def _hear_of_unreadable(
        self, heard: _Agendas, rows: Sequence[StoredRow], states: Mapping[str, SourceState]
    ) -> None:
        for row in rows:
            at = of_datetime(row.recorded_at)
            for name, source in states.items():
                due_at = due_of("normal", source.policy, at)
                heard[name].setdefault(row.stream.removeprefix(USER_PREFIX), Heard(at, due_at))

    def _complain(self, rows: Sequence[StoredRow]) -> None:
        try:
            self._ledger.event(rows[0])
        except UnreadableEvent as error:
            log.error("events_unreadable", events=len(rows), reason=str(error))  # noqa: TRY400  (no defect of ours)


def _hear_webhook(users: dict[str, Heard], uid: str, said: _Said, source: SourceState | None) -> None:
    if source is None:
        return
    is_vip = said.status_after == "online" and is_silenced(uid, source.profile)
    due_at = due_of("vip" if is_vip else "normal", source.policy, said.received_at)
    users[uid] = Heard(said.received_at, due_at, said.suspect or _why(users, uid))


def _why(users: Mapping[str, Heard], uid: str) -> str | None:
    """Why the user is to be looked at out of turn anyway, if he is."""
    return users[uid].why if uid in users else None

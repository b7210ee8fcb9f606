"""The follower: what the ledger says of users reaches the agenda, in order, each event once, whoever wrote it."""

from collections.abc import Mapping

import msgspec

from ledger.domain.drift import is_silenced
from ledger.domain.events import Status
from ledger.domain.look import SPACING_SECONDS, due_of
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciled import TierSet
from ledger.domain.source import SourceState
from ledger.store.ledger import Ledger
from ledger.store.mapper import USER_PREFIX
from projections import looks
from projections.looks import Heard

PAGE = 2_000

FAR_BEHIND = 200_000
"""So many events behind, everybody known is put on the agenda at once instead of being heard of event by event."""

SPACING = round(SPACING_SECONDS * SECOND)


class _Said(msgspec.Struct, gc=False):
    """What the agenda needs of a webhook's event."""

    source: str
    received_at: Instant
    status_after: Status
    suspect: str | None = None


_said = msgspec.json.Decoder(_Said).decode


class Follower:
    """Follows the ledger for the agendas of these sources, from where the last leading instance got to."""

    def __init__(self, ledger: Ledger, names: list[str]) -> None:
        self._ledger = ledger
        self._names = set(names)
        with ledger.connection() as connection:
            self.position = looks.followed(connection)
            head = ledger.events_recorder.max_notification_id() or 0
            if head - self.position > FAR_BEHIND:
                with connection.transaction():
                    looks.add_everybody(connection.cursor())
                    looks.note_followed(connection.cursor(), head)
                self.position = head

    def follow(self, states: Mapping[str, SourceState]) -> bool:
        """Hear the next page of events; False once there is none. `states` gives the policies and profiles."""
        rows = self._ledger.events_recorder.ledger_rows(after=self.position, limit=PAGE)
        if not rows:
            return False
        heard: dict[str, dict[str, Heard]] = {name: {} for name in self._names}
        for row in rows:
            if not row.stream.startswith(USER_PREFIX):
                continue
            uid = row.stream.removeprefix(USER_PREFIX)
            if row.kind == "webhook_observed.v1":
                said = _said(row.payload)
                if said.source in heard:
                    _hear(heard[said.source], uid, said, states.get(said.source))
            elif row.kind == "tier_set.v1":
                event = self._ledger.event(row)
                assert isinstance(event, TierSet)
                for name, source in states.items():
                    due_at = due_of(event.tier or "normal", source.policy, event.received_at)
                    heard[name][uid] = Heard(event.received_at, due_at)
        position = rows[-1].position
        with self._ledger.connection() as connection, connection.transaction():
            cursor = connection.cursor()
            for name, users in heard.items():
                looks.hear(cursor, name, users, SPACING)
            looks.note_followed(cursor, position)
        self.position = position
        return len(rows) == PAGE


def _hear(users: dict[str, Heard], uid: str, said: _Said, source: SourceState | None) -> None:
    if source is None:
        return
    is_vip = said.status_after == "online" and is_silenced(uid, source.profile)
    due_at = due_of("vip" if is_vip else "normal", source.policy, said.received_at)
    why = said.suspect or (users[uid].why if uid in users else None)
    users[uid] = Heard(said.received_at, due_at, why)

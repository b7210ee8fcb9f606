"""Whose grace period has ended since a sink was told: what is shown of them changed by time alone."""

from collections.abc import Iterable

from ledger.changes.grace_ends import GraceEnds
from ledger.changes.moment import Moment
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace, next_change_at
from projections.models import current


class Graces:
    """Of one sink: looked for once in all users, from then on among those who are read."""

    def __init__(self) -> None:
        self._ends = GraceEnds()
        self._ended: set[str] = set()
        """Of whom the sink has still to be told."""
        self._complete = False
        """Whether all who were in one at the begin are known."""

    @property
    def next_at(self) -> Instant | None:
        """When the next one ends."""
        return self._ends.next_at

    def note(self, presences: Iterable[Presence], moment: Moment, after: Instant) -> None:
        """Wait for what changes by time after an instant."""
        for presence in presences:
            self._ends.note(presence, moment, after)

    def due(self, moment: Moment, since: Instant) -> dict[str, Presence]:
        """Those who are to be told of, since a sink was told of all whose grace period had ended by then."""
        if not self._complete:
            grace = round(longest_grace(moment.rules.sources) * SECOND)
            if not grace:
                return {}
            self.note(current.in_grace(moment.connection, since - grace), moment, since)
            self._complete = True
        self._ended.update(end.uid for end in self._ends.take(moment.made.at))
        found = moment.presences(sorted(self._ended))
        return {uid: each for uid, each in found.items() if _has_ended(each, moment, since)}

    def told(self) -> None:
        """Of all who were due."""
        self._ended.clear()


def _has_ended(presence: Presence, moment: Moment, since: Instant) -> bool:
    """Unless something else has happened to them meanwhile."""
    end = next_change_at(presence, moment.rules.sources, since)
    return end is not None and end <= moment.made.at

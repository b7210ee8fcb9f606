"""Of whom time alone has changed what is shown since a sink was told: a grace period or an operator's word is over."""

from collections.abc import Iterable

from ledger.changes.moment import Moment
from ledger.changes.timed_ends import TimedEnds
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace, next_change_at
from projections.models import current


class Timed:
    """Of one sink: looked for once in all users, from then on among those who are read."""

    def __init__(self) -> None:
        self._ends = TimedEnds()
        self._ended: set[str] = set()
        """Of whom the sink has still to be told."""
        self._knows_overrides = False
        """Whether all of whom a word held at the begin are known;"""
        self._knows_graces = False
        """whether all who were in a grace period are: nobody is looked for while there is none."""

    @property
    def next_at(self) -> Instant | None:
        """When the next one ends."""
        return self._ends.next_at

    def note(self, presences: Iterable[Presence], moment: Moment, after: Instant) -> None:
        """Wait for what changes by time after an instant."""
        for presence in presences:
            self._ends.note(presence, moment, after)

    def due(self, moment: Moment, since: Instant) -> dict[str, Presence]:
        """Those who are to be told of, since a sink was told of all that had ended by then."""
        if not self._knows_overrides:
            self.note(current.overridden(moment.connection, since), moment, since)
            self._knows_overrides = True
        grace = round(longest_grace(moment.rules.sources) * SECOND)
        if grace and not self._knows_graces:
            self.note(current.in_grace(moment.connection, since - grace), moment, since)
            self._knows_graces = True
        self._ended.update(end.uid for end in self._ends.take(moment.made.at))
        found = moment.presences(sorted(self._ended))
        # Beneath an operator's word that is over a grace period may go on.
        self.note(found.values(), moment, moment.made.at)
        return {uid: each for uid, each in found.items() if _has_ended(each, moment, since)}

    def told(self) -> None:
        """Of all who were due."""
        self._ended.clear()


def _has_ended(presence: Presence, moment: Moment, since: Instant) -> bool:
    """Unless something else has happened to them meanwhile."""
    end = next_change_at(presence, moment.rules.sources, since)
    return end is not None and end <= moment.made.at

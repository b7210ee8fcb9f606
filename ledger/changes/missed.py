"""What whoever comes back has missed: users shown otherwise than at an earlier moment, and by which rules meanwhile.

A reader may know more than their cursor says: it stands before the step that they were being told when they were cut
off. So a user is told of again of whom anything was recorded since, even if the answer is what it was at the cursor.
"""

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from ledger.changes.moment import Moment
from ledger.changes.rules import changed_sources, darkness, is_dark
from ledger.changes.step import Change, Missed, Previous
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace
from ledger.domain.visible import visible_at
from ledger.store.archive import table
from ledger.store.mapper import EventMapper
from ledger.working_state import erasures
from projections.engine import feed
from projections.models import current
from projections.models.shown import AnswerPoint, Rules
from projections.queries import history
from projections.queries.rule_folds import RuleFolds

MAX_RULE_CHANGES = 200
"""Beyond so many changes of the rules, users may have been shown by any."""

MAX_AHEAD_SECONDS = 3600
"""A cursor from further ahead than clocks differ is none of ours."""

_RULE_CHANGES: LiteralString = """
SELECT position FROM events
 WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                'source_lit.v1', 'source_imported.v1')
   AND position > %s AND position <= %s
 ORDER BY position LIMIT %s
"""


class Meanwhile(NamedTuple):
    """The rules at a cursor, and the sources in which they have been others since, for whatever time."""

    before: Rules
    changed: set[str]
    """For another reason than darkness."""
    darkened: set[str]
    """Dark, or dark since another instant."""


class Resuming:
    """Answers whoever comes back; what was folded of the rules of this ledger is kept."""

    def __init__(self, mapper: EventMapper) -> None:
        self._mapper = mapper
        self._folds = RuleFolds()

    def is_known(self, moment: Moment, since: AnswerPoint) -> bool:
        """Whether this ledger has been there: else the cursor is of a later state of it, or nobody's.

        Whoever was there before the last erasure may know of a user of whom nothing tells that they are gone. And of
        what is archived the database no longer tells whom it was about.
        """
        if erasures.last_position(moment.connection) > since.position:
            return False
        if since.position < table.before(moment.connection) - 1:
            return False
        latest: Instant = moment.made.at + MAX_AHEAD_SECONDS * SECOND
        return 0 < since.position <= moment.made.position and since.at <= latest

    def missed(self, moment: Moment, uids: Sequence[str], since: AnswerPoint) -> Missed:
        """What has changed of these users, and which sources are told of."""
        presences = moment.presences(uids)
        before = history.presences_at(moment.connection, self._mapper, list(presences), since.position)
        meanwhile = self.meanwhile(moment, since)
        stirred = meanwhile.changed | meanwhile.darkened
        previous, found = {}, {}
        for uid, presence in presences.items():
            earlier = before.get(uid) or Presence(uid)
            old = visible_at(earlier, meanwhile.before.sources, since.at)
            new = visible_at(presence, moment.rules.sources, moment.made.at)
            moved = presence.version != earlier.version or any(each.source in stirred for each in presence.devices)
            if moved or new != old:
                previous[uid], found[uid] = Previous(old.status, old.since), presence
        changes = [Change(uid, body, previous[uid]) for uid, body in moment.bodies(found)]
        return Missed(moment.made, changes, list(darkness(meanwhile.before, moment.rules, moment.made.at)))

    def users(self, moment: Moment, since: AnswerPoint, limit: int) -> list[str] | None:
        """Who may be shown otherwise than a reader of everybody was told; None where they are too many.

        So they are where the rules changed for everybody in a source, and where one was dark and is no longer: of whom
        the reader was told meanwhile, they would have to be told again.
        """
        meanwhile = self.meanwhile(moment, since)
        if meanwhile.changed:
            return None
        for name in meanwhile.darkened:
            if is_dark(meanwhile.before, name) or not is_dark(moment.rules, name):
                return None
        if moment.made.position - since.position > limit:
            return None
        connection = moment.connection
        moved = feed.users_between(connection.cursor(), since.position, moment.made.position, limit)
        # Those who were in their grace period then, or of whom an operator's word held, are shown otherwise without an
        # event.
        moved |= {each.uid for each in current.overridden(connection, since.at)}
        if grace := round(longest_grace(meanwhile.before.sources) * SECOND):
            moved |= {each.uid for each in current.in_grace(connection, since.at - grace)}
        return sorted(moved)

    def meanwhile(self, moment: Moment, since: AnswerPoint) -> Meanwhile:
        """By which rules users have been shown since."""
        before = self._rules_at(moment, since.position)
        if moment.rules.position <= since.position:
            return Meanwhile(before, set(), set())
        bounds = since.position, moment.made.position, MAX_RULE_CHANGES + 1
        positions = [position for (position,) in moment.connection.execute(_RULE_CHANGES, bounds)]
        if len(positions) > MAX_RULE_CHANGES:
            return Meanwhile(before, set(moment.rules.sources), set(moment.rules.sources))
        changed, darkened = set[str](), set[str]()
        for rules in [self._rules_at(moment, position) for position in positions]:
            changed |= changed_sources(before, rules)
            darkened |= {each.source for each in darkness(before, rules, moment.made.at)}
        return Meanwhile(before, changed, darkened)

    def _rules_at(self, moment: Moment, position: int) -> Rules:
        return history.rules_at(moment.connection, self._mapper, position, folds=self._folds)

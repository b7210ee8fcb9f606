"""The feed: what has become another for whoever watches, stretch by stretch of the ledger and at each instant.

Users are looked at who are named by an event, whose grace period has ended, or whose source's state has changed; they
are shown as of the moment that is read, so of several changes in a stretch the last one is told. What was told last is
remembered of everybody who is watched, and of the others of late; of anybody else it is folded from the ledger.
"""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.moment import Moment, Moments
from ledger.changes.step import Change, Missed, Page, Previous, SourceChange, Step, WentBackError
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace, next_change_at
from ledger.domain.visible import Visible, shown_by, visible_at
from ledger.store.mapper import EventMapper
from projections.engine import feed
from projections.models import current
from projections.models.shown import AnswerPoint, Rules
from projections.queries import history

STRETCH_EVENTS = 10_000
"""So many events are looked through at once."""

REMEMBERED = 100_000
"""Users who are watched by nobody in particular and of whom it is remembered what was told last."""

PAGE_USERS = 2_000
"""Of everybody in a source, looked at in one step."""


class ChangeFeed:
    """What has changed since the step before. For one thread; nothing of it is anywhere else."""

    def __init__(self, now: Callable[[], Instant], mapper: EventMapper | None = None) -> None:
        self._moments = Moments(now)
        self._mapper = mapper or EventMapper()
        self._told = AnswerPoint(0, 0)
        self._rules = Rules(-1, {})
        self._watchers: Counter[str] = Counter()
        self._watched: dict[str, Visible] = {}
        self._everybody = 0
        self._recent: OrderedDict[str, Visible] = OrderedDict()
        self._ends: list[tuple[Instant, str]] = []
        """When grace periods end, the next one first."""
        self._sweeps: list[_Sweep] = []
        self._told_everybody = self._told
        self._told_in_dark: set[str] = set()
        """Users who have been told of to those who watch everybody while a source was dark, whom its end changes."""
        self._everybody_in_dark = False
        """Whether everybody there is was told of meanwhile, or would be shown otherwise than before it."""

    def begin(self, connection: Connection[TupleRow]) -> AnswerPoint:
        """Begin at the ledger's head, over whatever was before; nobody watches yet -> where that is."""
        with self._moments.read(connection) as moment:
            self._told = self._told_everybody = moment.made
            self._rules = moment.rules
        return self._told

    @property
    def told(self) -> AnswerPoint:
        """Up to here those who watch everybody have been told everything."""
        return self._told_everybody

    def next_instant(self) -> Instant | None:
        """When something changes without an event, as far as is known."""
        return self._ends[0][0] if self._ends else None

    def watch_everybody(self, connection: Connection[TupleRow]) -> AnswerPoint:
        """From here on whatever changes is told of -> from where on."""
        if self._everybody == 0:
            with self._moments.read(connection) as moment:
                cutoff = moment.made.at - round(longest_grace(moment.rules.sources) * SECOND)
                if cutoff < moment.made.at:
                    for presence in current.in_grace(connection, cutoff):
                        self._note_end(presence, moment)
        self._everybody += 1
        return self._told_everybody

    def unwatch_everybody(self) -> None:
        """One watcher of everybody less."""
        self._everybody -= 1
        if self._everybody == 0:
            self._recent.clear()
            self._sweeps.clear()
            self._told_everybody = self._told

    def watch(
        self, connection: Connection[TupleRow], uids: Sequence[str]
    ) -> tuple[AnswerPoint, list[tuple[str, bytes]]]:
        """Watch these users, once more where somebody does already -> what is answered of them, and as of when."""
        with self._moments.read(connection) as moment:
            presences = moment.presences(uids)
            for uid, presence in presences.items():
                self._watchers[uid] += 1
                # Whoever watches already has not been told of what has come since.
                if uid not in self._watched:
                    self._watched[uid] = visible_at(presence, moment.rules.sources, moment.made.at)
                self._note_end(presence, moment)
            return moment.made, list(moment.bodies(presences))

    def unwatch(self, uids: Iterable[str]) -> None:
        """One watcher less of each of these users."""
        for uid in uids:
            self._watchers[uid] -= 1
            if self._watchers[uid] <= 0:
                del self._watchers[uid]
                self._watched.pop(uid, None)

    def step(self, connection: Connection[TupleRow]) -> Step:
        """What has changed since the last step. Raises WentBackError."""
        with self._moments.read(connection) as moment:
            made = moment.made
            if made.position < self._told.position:
                raise WentBackError
            up_to = min(made.position, self._told.position + STRETCH_EVENTS)
            changed = _changed(self._rules, moment.rules)
            concerned = self._moved(connection, up_to) | self._ended(made.at)
            sources = list(_darkness(self._rules, moment))
            if changed or sources:
                concerned |= self._watched.keys() | self._told_in_dark
                self._forget(changed, sources)
            changes = list(self._changes(moment, concerned))
            self._note_dark(moment.rules, [each.uid for each in changes] if self._everybody else ())
            self._rules = moment.rules
            swept = self._sweep(moment)
            self._told = AnswerPoint(max(made.at, self._told.at), up_to)
            if not self._sweeps:
                self._told_everybody = self._told
        more = up_to < made.position or bool(self._sweeps)
        return Step(made, changes, swept, sources, self._told, self._told_everybody, more)

    def missed(self, connection: Connection[TupleRow], uids: Sequence[str], since: AnswerPoint) -> Missed:
        """What has changed of users since an earlier moment of the ledger, for whoever was told up to there."""
        with self._moments.read(connection) as moment:
            presences = moment.presences(uids)
            before = history.presences_at(connection, self._mapper, list(presences), since.position)
            rules = history.rules_at(connection, self._mapper, since.position)
            changes, found = {}, {}
            for uid, presence in presences.items():
                old = visible_at(before.get(uid) or Presence(uid), rules.sources, since.at)
                new = visible_at(presence, moment.rules.sources, moment.made.at)
                if new != old:
                    changes[uid], found[uid] = Previous(old.status, old.since), presence
            told = [Change(uid, body, changes[uid]) for uid, body in moment.bodies(found)]
            self._note_dark(moment.rules, found)
            return Missed(moment.made, told, list(_darkness(rules, moment)))

    def page(self, connection: Connection[TupleRow], after: str, limit: int) -> Page:
        """The next users in the order of their uids, whoever watches them."""
        with self._moments.read(connection) as moment:
            presences = {each.uid: each for each in current.all_after(connection, after, limit)}
            for presence in presences.values():
                self._note_end(presence, moment)
            self._everybody_in_dark |= _some_dark(moment.rules)
            last = next(reversed(presences), None) if len(presences) == limit else None
            return Page(moment.made, list(moment.bodies(presences)), last)

    def users_since(self, connection: Connection[TupleRow], since: AnswerPoint, limit: int) -> list[str] | None:
        """Who may be shown otherwise than at an earlier moment; None where they are too many to be told of."""
        with self._moments.read(connection) as moment:
            rules = history.rules_at(connection, self._mapper, since.position)
            # Those who were in their grace period then are shown otherwise without an event.
            grace = round(longest_grace(rules.sources) * SECOND)
            first = history.position_at(connection, since.at - grace) if grace else since.position
            after = min(since.position, first)
            if _changed(rules, moment.rules) or moment.made.position - after > limit:
                return None
            return sorted(feed.users_between(connection.cursor(), after, moment.made.position, limit))

    def _moved(self, connection: Connection[TupleRow], up_to: int) -> set[str]:
        if up_to == self._told.position:
            return set()
        moved = feed.users_between(connection.cursor(), self._told.position, up_to, STRETCH_EVENTS)
        return moved if self._everybody else moved & self._watched.keys()

    def _ended(self, at: Instant) -> set[str]:
        """Those whose grace period has ended by now."""
        ended = set()
        while self._ends and self._ends[0][0] <= at:
            uid = heapq.heappop(self._ends)[1]
            if self._everybody or uid in self._watched:
                ended.add(uid)
        return ended

    def _changes(self, moment: Moment, uids: Iterable[str]) -> Iterator[Change]:
        presences = moment.presences(sorted(uids))
        before = self._shown_before(moment.connection, presences)
        found = {}
        for uid, presence in presences.items():
            new = visible_at(presence, moment.rules.sources, moment.made.at)
            self._note_end(presence, moment)
            if new != before[uid]:
                found[uid] = presence
            self._remember(uid, new)
        for uid, body in moment.bodies(found):
            yield Change(uid, body, Previous(before[uid].status, before[uid].since))

    def _shown_before(self, connection: Connection[TupleRow], uids: Iterable[str]) -> dict[str, Visible]:
        """What was told last of each, or would have been to whoever had asked when the step before was made."""
        known = {uid: self._watched.get(uid) or self._recent.get(uid) for uid in uids}
        unknown = [uid for uid, told in known.items() if told is None]
        folded = history.presences_at(connection, self._mapper, unknown, self._told.position) if unknown else {}
        sources, at = self._rules.sources, self._told.at
        return {
            uid: told if told is not None else visible_at(folded.get(uid) or Presence(uid), sources, at)
            for uid, told in known.items()
        }

    def _remember(self, uid: str, told: Visible) -> None:
        if uid in self._watched:
            self._watched[uid] = told
        if self._everybody:
            self._recent[uid] = told
            self._recent.move_to_end(uid)
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)

    def _note_end(self, presence: Presence, moment: Moment) -> None:
        end = next_change_at(presence, moment.rules.sources, moment.made.at)
        if end is not None:
            heapq.heappush(self._ends, (end, presence.uid))

    def _forget(self, changed: set[str], dark: Sequence[SourceChange]) -> None:
        """What was told of users of a source whose state has changed is as it was by its rules before.

        A source that goes dark or lights up is told of itself; who is in one of the others, one by one. So is everybody
        in one that lights up, where it was dark already when they were told of.
        """
        if not self._everybody:
            return
        self._recent.clear()
        told_otherwise = {each.source for each in dark if each.status == "lit"} if self._everybody_in_dark else set()
        # What changes beside its darkness is seen when that ends.
        self._everybody_in_dark |= bool(changed)
        if one_by_one := changed | told_otherwise:
            self._sweeps.append(_Sweep(sorted(one_by_one), self._rules))

    def _note_dark(self, rules: Rules, told: Iterable[str]) -> None:
        if _some_dark(rules):
            self._told_in_dark.update(told)
        else:
            self._told_in_dark.clear()
            self._everybody_in_dark = False

    def _sweep(self, moment: Moment) -> list[Change]:
        """A page of everybody in a source whose state has changed, held against what was shown before it had."""
        if not self._sweeps:
            return []
        sweep = self._sweeps[0]
        page = current.of_sources_after(moment.connection, sweep.names, sweep.uid, PAGE_USERS)
        if len(page) < PAGE_USERS:
            self._sweeps.pop(0)
        else:
            sweep.uid = page[-1].uid
        at, found, before = moment.made.at, {}, {}
        for presence in page:
            # Whoever has been told of since the state changed is remembered.
            old = self._recent.get(presence.uid) or visible_at(presence, sweep.rules.sources, at)
            new = visible_at(presence, moment.rules.sources, at)
            if new != old:
                found[presence.uid], before[presence.uid] = presence, Previous(old.status, old.since)
            self._remember(presence.uid, new)
            self._note_end(presence, moment)
        return [Change(uid, body, before[uid]) for uid, body in moment.bodies(found)]


class _Sweep:
    """A walk through everybody in some sources, after `uid`; `rules` are those before they changed."""

    def __init__(self, names: Sequence[str], rules: Rules) -> None:
        self.names = names
        self.rules = rules
        self.uid = ""


def _changed(before: Rules, after: Rules) -> set[str]:
    """The sources whose users may be shown otherwise by the later rules, for another reason than darkness."""
    if before.position == after.position:
        return set()
    return {
        name
        for name, source in after.sources.items()
        if name not in before.sources or shown_by(before.sources[name]) != shown_by(source)
    }


def _darkness(before: Rules, moment: Moment) -> Iterator[SourceChange]:
    """The sources that are dark since another instant than by the earlier rules, or no longer."""
    if before.position == moment.rules.position:
        return
    for name, source in moment.rules.sources.items():
        earlier = before.sources.get(name)
        was = None if earlier is None else earlier.dark_since
        if source.dark_since is not None and source.dark_since != was:
            yield SourceChange(name, "dark", source.dark_since)
        elif source.dark_since is None and was is not None:
            yield SourceChange(name, "lit", moment.made.at)


def _some_dark(rules: Rules) -> bool:
    return any(source.dark_since is not None for source in rules.sources.values())

"""The feed: what has become another for whoever watches, stretch by stretch of the ledger and at each instant.

Users are looked at who are named by an event, whose grace period or override has ended, or whose source's state has
changed; they are shown as of the moment that is read, so of several changes in a stretch the last one is told. What was
told last is remembered of everybody who is watched, and of the others of late; of anybody else it is folded from the
ledger.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes.missed import Resuming
from ledger.changes.moment import Moment, Moments
from ledger.changes.remembered import Remembered
from ledger.changes.rules import changed_sources, darkness, some_dark
from ledger.changes.step import Answers, Change, Missed, PresencePage, Previous, SourceChange, Step, WentBackError
from ledger.changes.sweep import Sweep, SweepPage
from ledger.changes.timed_ends import TimedEnd, TimedEnds
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.status import longest_grace
from ledger.domain.visible import Visible, visible_at
from ledger.store.mapper import EventMapper
from ledger.working_state import canaries, erasures
from projections.engine import feed
from projections.models import current
from projections.models.shown import AnswerPoint, Rules
from projections.queries import history

STRETCH_EVENTS = 10_000
"""So many events are looked through at once."""


class ChangeFeed:
    """What has changed since the step before. For one thread; nothing of it is anywhere else."""

    def __init__(self, now: Callable[[], Instant], mapper: EventMapper | None = None) -> None:
        self._moments = Moments(now)
        self._mapper = mapper or EventMapper()
        self._resuming = Resuming(self._mapper)
        self._told = AnswerPoint(0, 0)
        self._is_behind = False
        """Whether the last step ended before the head that its presences were as of."""
        self._rules = Rules(-1, {})
        self._remembered = Remembered()
        self._everybody = 0
        self._ends = TimedEnds()
        self._sweeps: list[Sweep] = []
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

    @contextmanager
    def at_one_moment(self, connection: Connection[TupleRow]) -> Iterator[None]:
        """Whatever is asked within it, a step before that too, is answered as of one moment.

        So nobody is told, beside the steps, of anything between one and the next.
        """
        with self._moments.read(connection):
            yield

    @property
    def is_behind(self) -> bool:
        """Whether more events have been recorded than have been told of: no time for questions."""
        return self._is_behind

    @property
    def told(self) -> AnswerPoint:
        """Up to here those who watch everybody have been told everything."""
        return self._told_everybody

    def next_instant(self) -> Instant | None:
        """When something changes without an event, as far as is known."""
        return self._ends.next_at

    def watch_everybody(self, connection: Connection[TupleRow]) -> AnswerPoint:
        """From here on whatever changes is told of -> from where on."""
        if self._everybody == 0:
            with self._moments.read(connection) as moment:
                cutoff = moment.made.at - round(longest_grace(moment.rules.sources) * SECOND)
                waiting = current.overridden(connection, moment.made.at)
                if cutoff < moment.made.at:
                    waiting += current.in_grace(connection, cutoff)
                for presence in waiting:
                    self._ends.note(presence, moment)
        self._everybody += 1
        return self._told_everybody

    def unwatch_everybody(self) -> None:
        """One watcher of everybody less."""
        self._everybody -= 1
        if self._everybody == 0:
            self._remembered.recent.clear()
            self._sweeps.clear()
            self._told_everybody = self._told

    def answers(self, connection: Connection[TupleRow], uids: Sequence[str]) -> Answers:
        """What is answered of these users."""
        with self._moments.read(connection) as moment:
            return Answers(moment.made, list(moment.bodies(moment.presences(uids))))

    def watch(self, connection: Connection[TupleRow], uids: Sequence[str]) -> Answers:
        """Watch these users, once more where somebody does already -> what is answered of them."""
        with self._moments.read(connection) as moment:
            presences = moment.presences(uids)
            answers = Answers(moment.made, list(moment.bodies(presences)))
            for uid, presence in presences.items():
                # Whoever watches already has not been told of what has come since.
                self._remembered.watch(uid, visible_at(presence, moment.rules.sources, moment.made.at))
                self._ends.note(presence, moment)
            return answers

    def unwatch(self, uids: Iterable[str]) -> None:
        """One watcher less of each of these users."""
        self._remembered.unwatch(uids)

    def step(self, connection: Connection[TupleRow]) -> Step:
        """What has changed since the last step. Raises WentBackError; after any error the next step begins there."""
        ended: list[TimedEnd] = []
        try:
            with self._moments.read(connection) as moment:
                found = self._look(moment, ended)
        except BaseException:  # whatever ends it, the next step finds what this one took
            self._ends.put_back(ended)
            raise
        return self._take(found)

    def _look(self, moment: Moment, ended: list[TimedEnd]) -> "_Found":
        """What has changed; nothing is remembered yet but `ended`, which are no longer waited for."""
        if moment.made.position < self._told.position:
            raise WentBackError
        up_to = min(moment.made.position, self._told.position + STRETCH_EVENTS)
        changed = changed_sources(self._rules, moment.rules)
        sources = list(darkness(self._rules, moment.rules, moment.made.at))
        ended += self._ends.take(moment.made.at)
        erased = self._erased(moment.connection, up_to)
        concerned = self._moved(moment.connection, up_to) | erased | {end.uid for end in ended}
        hidden = canaries.uids(moment.connection) if self._everybody else frozenset[str]()
        if self._everybody:
            concerned -= hidden - self._remembered.watched
        else:
            concerned &= self._remembered.watched
        if changed or sources:
            concerned |= self._remembered.watched | self._told_in_dark
        # What was told of others was by the rules before.
        recent = {} if changed or sources else self._remembered.recent
        changes, told = self._changes(moment, concerned, recent, erased)
        swept = self._sweep(moment, {**recent, **told} if self._sweeps else {})
        return _Found(moment, up_to, changed, sources, changes, told, swept, hidden)

    def _take(self, found: "_Found") -> Step:
        """Remember what has been found, all of it."""
        made = found.moment.made
        if self._sweeps:
            self._sweeps[0].go_on(found.swept.page)
            if self._sweeps[0].is_over:
                self._sweeps.pop(0)
        if found.changed or found.sources:
            self._forget(found.changed, found.sources)
        for told in (found.told, found.swept.told):
            self._remembered.take(told, everybody=self._everybody > 0)
        self._note_dark(found.moment.rules, [each.uid for each in found.changes] if self._everybody else ())
        self._rules = found.moment.rules
        self._told = AnswerPoint(max(made.at, self._told.at), found.up_to)
        self._is_behind = found.up_to < made.position
        if not self._sweeps:
            self._told_everybody = self._told
        more = self._is_behind or bool(self._sweeps)
        return Step(
            made,
            found.changes,
            found.swept.changes,
            found.sources,
            self._told,
            self._told_everybody,
            more,
            found.hidden,
        )

    def is_known(self, connection: Connection[TupleRow], since: AnswerPoint) -> bool:
        """Whether this ledger has been there."""
        with self._moments.read(connection) as moment:
            return self._resuming.is_known(moment, since)

    def missed(self, connection: Connection[TupleRow], uids: Sequence[str], since: AnswerPoint) -> Missed:
        """What has changed of users since an earlier moment of the ledger, for whoever was told up to there."""
        with self._moments.read(connection) as moment:
            missed = self._resuming.missed(moment, uids, since)
            self._note_dark(moment.rules, [each.uid for each in missed.changes])
            return missed

    def page(self, connection: Connection[TupleRow], after: str, limit: int) -> PresencePage:
        """The next users in the order of their uids, whoever watches them."""
        with self._moments.read(connection) as moment:
            presences = {each.uid: each for each in current.all_after(connection, after, limit)}
            for presence in presences.values():
                self._ends.note(presence, moment)
            self._everybody_in_dark |= some_dark(moment.rules)
            last = next(reversed(presences), None) if len(presences) == limit else None
            for uid in canaries.among(connection, presences):
                del presences[uid]
            return PresencePage(moment.made, list(moment.bodies(presences)), last)

    def users_since(self, connection: Connection[TupleRow], since: AnswerPoint, limit: int) -> list[str] | None:
        """Who may be shown otherwise than at an earlier moment; None where they are too many to be told of."""
        with self._moments.read(connection) as moment:
            users = self._resuming.users(moment, since, limit)
            if users:
                hidden = canaries.among(connection, users)
                users = [uid for uid in users if uid not in hidden]
            # Whoever was told of in the dark before is told of again when it ends.
            self._everybody_in_dark |= some_dark(moment.rules)
            return users

    def _moved(self, connection: Connection[TupleRow], up_to: int) -> set[str]:
        if up_to == self._told.position:
            return set()
        return feed.users_between(connection.cursor(), self._told.position, up_to, STRETCH_EVENTS)

    def _erased(self, connection: Connection[TupleRow], up_to: int) -> set[str]:
        """Who was erased meanwhile. Raises WentBackError where that is no longer known."""
        found = erasures.between(connection, self._told.position, up_to) if up_to > self._told.position else []
        if any(row.uid is None for row in found):
            # It was done before this feed came to it: whoever watches has to begin anew.
            raise WentBackError
        return {row.uid for row in found if row.uid is not None}

    def _changes(
        self, moment: Moment, uids: Iterable[str], recent: Mapping[str, Visible], erased: Collection[str]
    ) -> tuple[list[Change], dict[str, Visible]]:
        """Those who are shown otherwise than they were told of -> the changes, and what is shown of all of them."""
        presences = moment.presences(sorted(uids))
        before, unsure = self._shown_before(moment.connection, presences, recent)
        found, told = {}, {}
        for uid, presence in presences.items():
            told[uid] = visible_at(presence, moment.rules.sources, moment.made.at)
            self._ends.note(presence, moment)
            if told[uid] != before[uid] or uid in unsure or uid in erased:
                found[uid] = presence
        bodies = moment.bodies(found)
        return [Change(uid, body, Previous(before[uid].status, before[uid].since)) for uid, body in bodies], told

    def _shown_before(
        self, connection: Connection[TupleRow], uids: Iterable[str], recent: Mapping[str, Visible]
    ) -> tuple[dict[str, Visible], set[str]]:
        """What was told last of each, or would have been to whoever had asked when the step before was made.

        Of some that may not be what they were told: the step before was as of a later moment than it told up to.
        """
        known = {uid: self._remembered.last(uid, recent) for uid in uids}
        unknown = [uid for uid, told in known.items() if told is None]
        folded = history.presences_at(connection, self._mapper, unknown, self._told.position) if unknown else {}
        sources, at = self._rules.sources, self._told.at
        before = {
            uid: told if told is not None else visible_at(folded.get(uid) or Presence(uid), sources, at)
            for uid, told in known.items()
        }
        return before, set(unknown) if self._is_behind else set()

    def _forget(self, changed: set[str], dark: Sequence[SourceChange]) -> None:
        """What was told of users of a source whose state has changed is as it was by its rules before.

        A source that goes dark or lights up is told of itself; who is in one of the others, one by one. So is everybody
        in one that lights up, where it was dark already when they were told of.
        """
        if not self._everybody:
            return
        self._remembered.recent.clear()
        told_otherwise = {each.source for each in dark if each.status == "lit"} if self._everybody_in_dark else set()
        # What changes beside its darkness is seen when that ends.
        self._everybody_in_dark |= bool(changed)
        if one_by_one := changed | told_otherwise:
            self._sweeps.append(Sweep(sorted(one_by_one), self._rules))

    def _note_dark(self, rules: Rules, told: Iterable[str]) -> None:
        if some_dark(rules):
            self._told_in_dark.update(told)
        else:
            self._told_in_dark.clear()
            self._everybody_in_dark = False

    def _sweep(self, moment: Moment, told: Mapping[str, Visible]) -> SweepPage:
        """A page of everybody in a source whose state has changed."""
        if not self._sweeps:
            return SweepPage([], [], {})
        swept = self._sweeps[0].look(moment, told)
        for presence in swept.page:
            self._ends.note(presence, moment)
        return swept


class _Found(NamedTuple):
    """What a step has found out."""

    moment: Moment
    up_to: int
    changed: set[str]
    sources: list[SourceChange]
    changes: list[Change]
    told: dict[str, Visible]
    swept: SweepPage
    hidden: frozenset[str]

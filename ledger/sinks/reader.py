"""Reads for one sink what it is to be told next: from its checkpoint on, at its own pace, each user as they are now.

Nothing waits in memory: what a receiver has not been told stands in the ledger. A user is left out where what is
visible of them is what the sink has been told; wherever that is not certain (after a failed attempt, at the begin of a
term), they are told again.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.changes import stretches
from ledger.changes.missed import Resuming
from ledger.changes.moment import Moment, Moments
from ledger.changes.step import Previous
from ledger.domain.observation import Instant
from ledger.domain.presence import Presence
from ledger.domain.visible import Visible, visible_at
from ledger.sinks import trail
from ledger.sinks.kind import ToldChange
from ledger.sinks.membership import Membership
from ledger.sinks.page import ChangePage, ToTell, told
from ledger.sinks.timed import Timed
from ledger.store import identity
from ledger.store.archive import table
from ledger.store.mapper import EventMapper
from ledger.working_state import erasures
from ledger.working_state.sinks import SinkCheckpoint
from projections.models import current
from projections.models.shown import AnswerPoint, Rules
from projections.queries import history
from projections.queries.rule_folds import RuleFolds

STRETCH_EVENTS = 2_000
"""So many positions are looked through at once, and users told of;"""
MAX_STRETCH_EVENTS = 64_000
"""where few users are found, as in a ledger that is told from the beginning, more and more at once."""

PAGE_USERS = 1_000
"""Of a source whose state has changed, at once."""

REMEMBERED = 20_000
"""Users of whom it is remembered what was told last; of others it is folded from the ledger."""


class _Walk:
    """A walk through everybody in some sources whose state has changed, up to the rules of a position."""

    def __init__(self, names: Sequence[str], rules_position: int, *, certain: bool) -> None:
        self.names = names
        self.rules_position = rules_position
        self.certain = certain
        """Whether those who are shown as before need not be told of."""
        self.uid = ""


class SinkReader:
    """One sink's. For one thread at a time; `take` is told what has become of what was read."""

    def __init__(
        self, mapper: EventMapper, now: Callable[[], Instant], checkpoint: SinkCheckpoint, *, of_list: str = "",
        every: bool = False,
    ) -> None:  # fmt: skip
        self.checkpoint = checkpoint
        self._mapper = mapper
        self._moments = Moments(lambda: max(now(), self.checkpoint.at))
        self._resuming = Resuming(mapper)
        self._folds = RuleFolds()
        self._members = Membership(of_list)
        self._timed = Timed()
        self._every = every
        self._recent: OrderedDict[str, Visible] = OrderedDict()
        self._before = Rules(-1, {})
        """The rules of the checkpoint."""
        self._walk: _Walk | None = None
        self._stretch_events = 0
        self._walked_to: str | None = None
        """Where a page of it ends that is being told."""
        self._certain_from: int | None = None
        """What lies before it may have been told already, by an attempt that failed, or by who led before."""

    def read(self, connection: Connection[TupleRow]) -> ChangePage:
        """What is to be told next. Raises StoreUnavailable."""
        with self._moments.read(connection) as moment:
            self._find_place(moment, identity.epoch(connection))
            if moment.made.position < self.checkpoint.position:
                # It went back, and its epoch is about to become another.
                return ChangePage([], self.checkpoint, moment.made, more=False)
            page = self._page(moment)
            self._certain_from = moment.made.position if self._certain_from is None else self._certain_from
            return page

    def took(self, changes: Sequence[ToTell], checkpoint: SinkCheckpoint) -> None:
        """These have been told."""
        self.checkpoint = checkpoint
        for each in changes:
            self._recent[each.told.uid] = each.visible
            self._recent.move_to_end(each.told.uid)
        while len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def finished(self, page: ChangePage) -> None:
        """All of a page has been told."""
        self.checkpoint = page.checkpoint
        if self._walk is not None and self._walked_to is not None:
            self._walk.uid = self._walked_to
            if not self._walked_to:
                self._walk = None
                self._before = Rules(-1, {})
        self._members.told()
        if self.checkpoint.at == page.made.at:
            self._timed.told()

    def failed(self, changes: Sequence[ToTell], page: ChangePage) -> None:
        """Nobody knows whether these have been told."""
        self._certain_from = max(self._certain_from or 0, page.made.position)
        for each in changes:
            self._recent.pop(each.told.uid, None)

    def is_right(self, connection: Connection[TupleRow], changes: Sequence[ToTell]) -> bool:
        """Whether these are still what is to be told of their users."""
        if self._every:
            return True
        with self._moments.read(connection) as moment:
            if changes and changes[0].told.order.epoch != identity.epoch(connection):
                return False
            presences = moment.presences([each.told.uid for each in changes])
            return all(
                visible_at(presences[each.told.uid], moment.rules.sources, moment.made.at) == each.visible
                for each in changes
            )

    def answers(self, connection: Connection[TupleRow], uids: Sequence[str]) -> list[ToldChange]:
        """What `GET` answers of these users."""
        with self._moments.read(connection) as moment:
            epoch = identity.epoch(connection)
            return [told(uid, body, moment.made, epoch, None) for uid, body in moment.bodies(moment.presences(uids))]

    def _find_place(self, moment: Moment, epoch: str) -> None:
        """In another epoch what was told may be wrong of anybody: everybody is told of again."""
        if epoch == self.checkpoint.epoch:
            if self._before.position < 0:
                self._before = history.rules_at(
                    moment.connection, self._mapper, self.checkpoint.rules_position, folds=self._folds
                )
            return
        self.checkpoint = SinkCheckpoint(epoch, 0, moment.rules.position, self._members.head(moment), moment.made.at)
        self._before, self._walk, self._timed = moment.rules, None, Timed()
        self._members.forget()
        self._recent.clear()
        self._resuming, self._folds = Resuming(self._mapper), RuleFolds()
        self._certain_from = moment.made.position

    def _page(self, moment: Moment) -> ChangePage:
        self._notice_rules(moment)
        self.checkpoint = self._members.notice(moment, self.checkpoint)
        changes: list[ToTell] = []
        self._walked_to = None
        if self._every and not self._is_archived(moment):
            up_to, checkpoint = self._trail(moment, changes)
        else:
            up_to, checkpoint = self._stretch(moment, changes)
        changes = self._with_erased(moment, changes, checkpoint)
        more = up_to < moment.made.position
        if not more:
            checkpoint = self._end_timed(moment, changes, checkpoint)
            checkpoint = self._walk_on(moment, changes, checkpoint)
            checkpoint = self._welcome(moment, changes, checkpoint)
            more = self._walk is not None or self._members.is_waiting
        return ChangePage(changes, checkpoint, moment.made, more, self._timed.next_at)

    def _is_archived(self, moment: Moment) -> bool:
        """Whether what follows the checkpoint is: then each user is told of as they are, in another epoch say."""
        return self.checkpoint.position < table.before(moment.connection) - 1

    def _stretch(self, moment: Moment, changes: list[ToTell]) -> tuple[int, SinkCheckpoint]:
        """The users whose last event lies in the next stretch -> (up to where, the checkpoint after it)"""
        after = self.checkpoint.position
        up_to = min(moment.made.position, after + max(STRETCH_EVENTS, self._stretch_events))
        moved = stretches.moved_last(moment.connection, after, up_to, STRETCH_EVENTS) if up_to > after else []
        if len(moved) == STRETCH_EVENTS:
            up_to = moved[-1].position
        is_thin = len(moved) < STRETCH_EVENTS // 4
        self._stretch_events = min(2 * (up_to - after), MAX_STRETCH_EVENTS) if is_thin else 0
        placed = {each.uid: each.position for each in moved}
        everybody = stretches.presences_in_order(moment, list(placed))
        self._timed.note(everybody.values(), moment, moment.made.at)
        presences = self._members.of(moment, everybody)
        before = self._shown_before(moment, list(presences))
        certain = self._walk is None and self._is_certain()
        found = {}
        for uid, presence in presences.items():
            now = visible_at(presence, moment.rules.sources, moment.made.at)
            if now != before[uid] or not certain:
                found[uid] = now
        for uid, body in moment.bodies({uid: presences[uid] for uid in found}):
            old = Previous(before[uid].status, before[uid].since)
            here = self.checkpoint._replace(position=placed[uid])
            changes.append(ToTell(self._told(moment, uid, body, old), found[uid], here))
        return up_to, self.checkpoint._replace(position=up_to)

    def _trail(self, moment: Moment, changes: list[ToTell]) -> tuple[int, SinkCheckpoint]:
        """Each change of the next stretch, none left out -> (up to where, the checkpoint after it)"""
        found = trail.read(moment, self._mapper, self._folds, self.checkpoint, STRETCH_EVENTS)
        self._timed.note(found.presences.values(), moment, self.checkpoint.at)
        uids = self._members.names(moment, {each.uid for each in found.changes})
        for each in found.changes:
            if each.uid in uids:
                change = told(each.uid, each.body, each.made, self.checkpoint.epoch, each.previous)
                here = self.checkpoint._replace(position=max(self.checkpoint.position, each.made.position))
                changes.append(ToTell(change, each.visible, here))
        return found.up_to, self.checkpoint._replace(position=found.up_to)

    def _with_erased(self, moment: Moment, changes: list[ToTell], checkpoint: SinkCheckpoint) -> list[ToTell]:
        """And those who were erased within the stretch, as they are now: never observed, unless they came again."""
        after, up_to = self.checkpoint.position, checkpoint.position
        found = erasures.between(moment.connection, after, up_to) if up_to > after else []
        uids = self._members.with_former(moment, {row.uid for row in found if row.uid is not None})
        here = checkpoint._replace(rules_position=self.checkpoint.rules_position, at=self.checkpoint.at)
        # What else is told of them on this page is of the same moment.
        rest = [each for each in changes if each.told.uid not in uids]
        presences = moment.presences(sorted(uids))
        for uid, body in moment.bodies(presences):
            last = self._recent.pop(uid, None)
            previous = None if last is None else Previous(last.status, last.since)
            change = told(uid, body, moment.made, self.checkpoint.epoch, previous, erased=True)
            now = visible_at(presences[uid], moment.rules.sources, moment.made.at)
            rest.append(ToTell(change, now, here))
        return rest

    def _end_timed(self, moment: Moment, changes: list[ToTell], checkpoint: SinkCheckpoint) -> SinkCheckpoint:
        """Those of whom time alone has changed what is shown meanwhile."""
        already = {each.told.uid for each in changes} if not self._every else set[str]()
        due = self._timed.due(moment, self.checkpoint.at)
        late = {uid: each for uid, each in due.items() if uid not in already}
        self._add(moment, changes, late, visible_before(late, self._before, self.checkpoint.at), checkpoint)
        return checkpoint._replace(at=moment.made.at)

    def _walk_on(self, moment: Moment, changes: list[ToTell], checkpoint: SinkCheckpoint) -> SinkCheckpoint:
        """A page of everybody in a source whose state has changed."""
        walk = self._walk
        if walk is None:
            return checkpoint
        found = current.of_sources_after(moment.connection, walk.names, walk.uid, PAGE_USERS)
        last = self._walked_to = found[-1].uid if len(found) == PAGE_USERS else ""
        self._timed.note(found, moment, moment.made.at)
        page = {each.uid: each for each in found}
        earlier = visible_before(page, self._before, moment.made.at)
        if walk.certain:
            now = visible_before(page, moment.rules, moment.made.at)
            page = {uid: each for uid, each in page.items() if now[uid] != earlier[uid]}
        self._add(moment, changes, page, earlier, checkpoint)
        return checkpoint if last else checkpoint._replace(rules_position=walk.rules_position)

    def _welcome(self, moment: Moment, changes: list[ToTell], checkpoint: SinkCheckpoint) -> SinkCheckpoint:
        """Those who came to the list, as they are."""
        if not self._members.is_waiting:
            return checkpoint
        self._add(moment, changes, self._members.page(moment), {}, checkpoint)
        return self._members.after_page(checkpoint)

    def _add(
        self, moment: Moment, changes: list[ToTell], presences: Mapping[str, Presence],
        before: Mapping[str, Visible], checkpoint: SinkCheckpoint,
    ) -> None:  # fmt: skip
        """Tell of these users as they are; nothing of it moves the checkpoint before all is told."""
        listed = self._members.of(moment, presences)
        here = checkpoint._replace(rules_position=self.checkpoint.rules_position, at=self.checkpoint.at)
        for uid, body in moment.bodies(listed):
            old = before.get(uid)
            previous = None if old is None else Previous(old.status, old.since)
            now = visible_at(listed[uid], moment.rules.sources, moment.made.at)
            changes.append(ToTell(self._told(moment, uid, body, previous), now, here))

    def _told(self, moment: Moment, uid: str, body: bytes, previous: Previous | None) -> ToldChange:
        return told(uid, body, moment.made, self.checkpoint.epoch, previous)

    def _notice_rules(self, moment: Moment) -> None:
        """Begin to walk through those whom a change of the rules concerns; from the start where they change again."""
        target = moment.rules.position
        if target <= self.checkpoint.rules_position or (self._walk and self._walk.rules_position == target):
            return
        since = AnswerPoint(self.checkpoint.at, self.checkpoint.rules_position)
        meanwhile = self._resuming.meanwhile(moment, since)
        names = sorted(meanwhile.changed | meanwhile.darkened)
        # Some may have been told by the rules in between: by us, or by who led before.
        certain = self._walk is None and self._is_certain() and not self._every
        if names:
            self._walk = _Walk(names, target, certain=certain)
        else:
            self._walk = None
            self.checkpoint = self.checkpoint._replace(rules_position=target)
            self._before = moment.rules

    def _is_certain(self) -> bool:
        """Whether nothing beyond the checkpoint can have been told."""
        return self._certain_from is not None and self.checkpoint.position >= self._certain_from

    def _shown_before(self, moment: Moment, uids: Sequence[str]) -> dict[str, Visible]:
        """What was told of each last, or would have been to whoever had asked at the checkpoint."""
        unknown = [uid for uid in uids if uid not in self._recent]
        position = self.checkpoint.position
        is_at_hand = position and unknown and not self._is_archived(moment)
        folded = history.presences_at(moment.connection, self._mapper, unknown, position) if is_at_hand else {}
        presences = {uid: folded.get(uid) or Presence(uid) for uid in unknown}
        shown = visible_before(presences, self._before, self.checkpoint.at)
        return {uid: shown[uid] if uid in shown else self._recent[uid] for uid in uids}


def visible_before(presences: Mapping[str, Presence], rules: Rules, at: Instant) -> dict[str, Visible]:
    """What is visible of these presences by some rules at an instant."""
    return {uid: visible_at(each, rules.sources, at) for uid, each in presences.items()}

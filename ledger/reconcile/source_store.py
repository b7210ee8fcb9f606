"""What the ledger and the agenda say of one source, and what answers make of it; synchronous, in one thread.

Answers are judged on states read without the lock. Only users who get an event are judged again under it, on states
that nobody else can change then: so a look that agrees costs the writers of webhooks nothing. It leaves the user's
doubt as it was when the question was sent. Where another look has left another one meanwhile, of several that may be
under way at once, this one is judged again under the lock, too.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg import Cursor
from psycopg.rows import TupleRow

from ledger.domain.breaker import Breaker
from ledger.domain.drift import Connection, Poll
from ledger.domain.event_types import Event, SourceEvent
from ledger.domain.look import DUE_SHARE, Watch, made_urgent
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import RunCounts, RunEnded
from ledger.domain.source import SourceState
from ledger.domain.strangers import Strangers
from ledger.errors import LedgerWentBack
from ledger.ingest.append import append
from ledger.ingest.draft import Draft
from ledger.reconcile import judge, plan
from ledger.store.commit import LONG_LOCK_TIMEOUT_SECONDS
from ledger.store.ledger import Ledger
from ledger.store.mapper import Recorded
from ledger.working_state import canaries, erasures, looks, runs, sources
from ledger.working_state.looks import Watches
from projections.models import current
from projections.queries.listing import HEAD

SWEEP_USERS = 2_500
"""Users a commit of a sweep: a quarter of a second in which webhooks wait."""

URGENT_SHARE = 0.8
"""Of what can be asked now, so much goes to looks out of turn at most, while others wait for theirs in turn."""


class DueUsers(NamedTuple):
    """Users whose look is due, those with doubts first; `head` is the fence of what is asked from now on."""

    head: int
    watches: Watches
    overdue: int
    """Those who waited for longer than their bound."""


class SourceStore:
    """One source while this instance leads. `seconds` is a clock that only goes forward.

    `forget` is told of all users whose watches are about to be changed, in the thread in which the agenda is followed:
    what is remembered of their watches holds no longer.
    """

    def __init__(
        self,
        ledger: Ledger,
        name: str,
        now: Callable[[], Instant],
        seconds: Callable[[], float],
        forget: Callable[[Iterable[str]], None],
    ) -> None:
        self.name = name
        self.breaker = Breaker()
        self.strangers = Strangers()
        self._ledger = ledger
        self._now = now
        self._seconds = seconds
        self._forget = forget
        self._lineage = ledger.lineage
        with ledger.reading() as connection:
            self.source = sources.load(connection, ledger, name)

    def append(self, *events: SourceEvent) -> None:
        """Append events of the source."""

        def decide(draft: Draft) -> Iterator[Recorded]:
            for event in events:
                yield draft.append_to_source(self.name, event)

        self._append((), decide, None)

    def noted_counts(self) -> dict[str, RunCounts]:
        """What runs had come to when it was last noted, by id."""
        with self._ledger.connection() as connection:
            return runs.noted(connection, self.name)

    def end_runs(self, *ended: RunEnded) -> None:
        """Put the ends of runs on record; what was noted of their progress is over with that.

        A run that another leading instance has ended has its end already.
        """

        def decide(draft: Draft) -> Iterator[Recorded]:
            for event in ended:
                if event.run in draft.source(self.name).open_runs:
                    yield draft.append_to_source(self.name, event)

        def also(cursor: Cursor[Any], _: list[tuple[int, Event]]) -> None:
            for event in ended:
                runs.forget(cursor, event.run)

        self._append((), decide, also)

    def _append(
        self,
        uids: Sequence[str],
        decide: Callable[[Draft], Iterator[Recorded]],
        in_same_transaction: Callable[[Cursor[Any], list[tuple[int, Event]]], None] | None,
        load: Callable[[psycopg.Connection[TupleRow]], None] | None = None,
    ) -> None:
        # Giving up here ends this leadership, and the next leader looks at all users again.
        known = {self.name: self.source}
        appended = append(
            self._ledger,
            known,
            uids,
            decide,
            in_same_transaction,
            load,
            lock_timeout=LONG_LOCK_TIMEOUT_SECONDS,
            lineage=self._lineage,
        )
        self.source = appended.sources[self.name]

    def follow(self) -> None:
        """Take in what others have appended to the source's stream. Raises SourceUnreadable, LedgerWentBack."""
        self._expect_same_ledger()
        with self._ledger.reading() as connection:
            self.source = sources.follow(connection, self._ledger, self.source)

    def _expect_same_ledger(self) -> None:
        if self._ledger.lineage != self._lineage:
            raise LedgerWentBack

    def head(self) -> int:
        """The ledger's last position: the fence of a question that is sent after this."""
        with self._ledger.reading() as connection:
            row = connection.execute(HEAD).fetchone()
        assert row is not None
        return int(row[0])

    def take_due(self, limit: int, in_flight: set[str], *, in_turn: bool = True, by: Instant | None = None) -> DueUsers:
        """So many users at most whose look is due and not under way, with enough others alongside a second look.

        `in_turn` False: those out of turn alone. `by`: when it was due, now by default.
        """
        now, head = self._now() if by is None else by, self.head()
        with self._ledger.connection() as connection:
            urgent = looks.due(connection, self.name, now, limit + len(in_flight), urgent=True)
            rest = looks.due(connection, self.name, now, limit + len(in_flight), urgent=False) if in_turn else {}
            found = _share_out(_without(urgent, in_flight), _without(rest, in_flight), limit)
            doubted = {uid: watch for uid, watch in found.items() if watch.doubt is not None}

            def online(number: int) -> list[tuple[str, Watch]]:
                return list(looks.soonest_online(connection, self.name, number).items())

            policy = self.source.policy
            sample = judge.second_look_sample(self.breaker, policy, self._seconds(), doubted.values(), online)
            doubted |= _without(dict(sample), in_flight | doubted.keys())
        slack = round((1 - DUE_SHARE) * self.source.policy.tier_normal_seconds * SECOND)
        overdue = sum(watch.urgent is None and 0 < watch.due_at < now - slack for watch in found.values())
        return DueUsers(head, doubted | found, overdue)

    def due_counts(self) -> looks.DueCounts:
        """How many users' looks are due."""
        with self._ledger.connection() as connection:
            return looks.due_counts(connection, self.name, self._now())

    def watches_for(self, uids: Sequence[str]) -> Watches:
        """The watches of these users, new ones of those who have none; canaries are not looked at."""
        stored = [uid for uid in uids if current.can_be_stored(uid)]
        with self._ledger.connection() as connection:
            known = looks.of_users(connection, self.name, stored)
            hidden = canaries.among(connection, stored)
        return {uid: known.get(uid) or Watch(self._now(), "new") for uid in stored if uid not in hidden}

    def online_after(self, uid: str, limit: int) -> list[str]:
        """A page of users known to the source who are online, by uid."""
        with self._ledger.connection() as connection:
            return looks.online_after(connection, self.name, uid, limit)

    def known_after(self, uid: str, limit: int) -> Watches:
        """A page of everybody known to the source, by uid."""
        with self._ledger.connection() as connection:
            return looks.known_after(connection, self.name, uid, limit)

    def put_back(self, watches: Mapping[str, Watch], due_at: Instant) -> None:
        """A look failed: it says nothing, and is made again."""
        self._forget(watches)
        with self._ledger.connection() as connection, connection.transaction():
            looks.postpone(connection.cursor(), self.name, list(watches), due_at)

    def judge_rows(self, poll: Poll, watches: Watches, rows: Mapping[str, Mapping[int, int]]) -> judge.Verdicts:
        """Judge an answer of `/user/onlinestatus` about these users."""

        def found(presence_of: judge.PresenceOf, source: SourceState, wanted: Watches) -> list[judge.Look]:
            return judge.looks_at_rows(presence_of, source, poll.node, wanted, rows)

        return self._judge(poll, watches, found, lambda uids: judge.rows_text(rows, uids))

    def judge_connections(
        self, poll: Poll, watches: Watches, union: Mapping[str, Sequence[Connection]], answered: set[str]
    ) -> judge.Verdicts:
        """Judge the union of the answering nodes' `/connz` as far as it is about these users."""

        def found(presence_of: judge.PresenceOf, source: SourceState, wanted: Watches) -> list[judge.Look]:
            return plan.looks_at_union(presence_of, source, wanted, union, answered)

        return self._judge(poll, watches, found, lambda uids: judge.connections_text(union, uids))

    def _judge(
        self,
        poll: Poll,
        watches: Watches,
        look_at: Callable[[judge.PresenceOf, SourceState, Watches], list[judge.Look]],
        text: Callable[[Sequence[str]], Mapping[str, str]],
    ) -> judge.Verdicts:
        with self._ledger.connection() as connection:
            presences = current.load(connection, list(watches))
            if not self._ledger.events_recorder.lineage.holds(connection):
                # The fence of the question is a position of another ledger.
                raise LedgerWentBack
        self._expect_same_ledger()
        found = look_at(lambda uid: presences.get(uid) or Presence(uid), self.source, watches)
        self.strangers.note(*judge.count_strangers(self.source, poll, found), poll.answered_at)
        opened = judge.open_breaker(self.breaker, self.source, poll, found, self._seconds())
        holding = opened is not None or self.source.breaker_until is not None
        first = judge.judge_all(self.source, poll, found, holding=holding)
        again = {uid for uid, _ in first.news}
        again |= self._note({uid: judged.watch for uid, judged in first.judged if uid not in again})
        quiet = judge.Verdicts([(uid, judged) for uid, judged in first.judged if uid not in again])
        if not again and opened is None:
            return quiet
        verdicts, erased_at = judge.Verdicts([]), 0
        in_force = {uid: watch for uid, watch in watches.items() if uid in again}

        def read(connection: psycopg.Connection[TupleRow]) -> None:
            nonlocal erased_at
            erased_at = erasures.last_position(connection)
            in_force.update(looks.of_users(connection, self.name, list(in_force)))

        def decide(draft: Draft) -> Iterator[Recorded]:
            if opened is not None:
                yield draft.append_to_source(self.name, opened)
            source = draft.source(self.name)
            if poll.head < erased_at:
                # Who was erased since the question was sent is not to come back by its answer.
                for uid in [uid for uid in in_force if not draft.presence(uid).version]:
                    del in_force[uid]
            found = look_at(draft.presence, source, in_force)
            # Another instance may have opened the breaker meanwhile, or closed it.
            is_open = source.breaker_until is not None
            verdicts.judged[:] = judge.judge_all(source, poll, found, holding=is_open).judged
            agreed = quiet.agreed + verdicts.agreed
            rows = text(sorted(in_force))
            yield from judge.record(draft, self.name, poll, len(watches), verdicts, rows, agreed)

        def also(cursor: Cursor[Any], _: list[tuple[int, Event]]) -> None:
            noted = verdicts.watches()
            self._forget(noted)
            looks.write(cursor, self.name, noted)

        self._append(sorted(again), decide, also, read)
        return judge.Verdicts(quiet.judged + verdicts.judged)

    def _note(self, watches: Watches) -> set[str]:
        """Note what looks that leave no event come to -> those whose doubt is no longer the one judged on."""
        self._forget(watches)
        with self._ledger.connection() as connection, connection.transaction():
            return looks.write_unmoved(connection.cursor(), self.name, watches)

    def sweep_page(self, node: str, run: str, after: str, retired: bool, seen: bool) -> tuple[str | None, int]:
        """End what a boot of the node ended, or its retirement, of a page of online users -> (where to go on, swept).

        Users who may have come back, or may not be that node's, are looked at out of turn; `seen`: all connections can
        be, so that no session is ended by who told of it.
        """
        ends = partial(plan.ended_with, node=node, retired=retired, by_sender=not seen)
        page = self.online_after(after, SWEEP_USERS)
        if not page:
            return None, 0
        with self._ledger.connection() as connection:
            presences = current.load(connection, page)
        touched = [uid for uid, presence in presences.items() if any(ends(presence, self.source))]
        swept = 0

        def decide(draft: Draft) -> Iterator[Recorded]:
            nonlocal swept
            source = draft.source(self.name)
            evidence = plan.sweep_evidence(source, node, retired=retired)
            for uid in touched:
                presence = draft.presence(uid)
                ended, _ = ends(presence, source)
                if ended:
                    swept += 1
                    event = plan.swept(presence, source, node, ended, self._now(), run, evidence)
                    yield draft.append_to_user(uid, event)

        def also(cursor: Cursor[Any], _: list[tuple[int, Event]]) -> None:
            now = self._now()

            def at_once(_: str, watch: Watch | None) -> Watch:
                return made_urgent(watch or Watch(now), now, "restart")

            hidden = canaries.among(cursor.connection, touched)
            looked_at = [uid for uid in touched if uid not in hidden]
            self._forget(looked_at)
            looks.change(cursor.connection, self.name, looked_at, at_once, lock=True)

        if touched:
            self._append(touched, decide, also)
        return page[-1], swept


def _without(watches: Watches, uids: set[str]) -> Watches:
    return {uid: watch for uid, watch in watches.items() if uid not in uids}


def _share_out(urgent: Watches, in_turn: Watches, limit: int) -> Watches:
    """Those out of turn first, but not all, while others wait: nobody's turn never comes."""
    most_urgent = limit - min(len(in_turn), round(limit * (1 - URGENT_SHARE)))
    chosen = dict(list(urgent.items())[:most_urgent])
    return chosen | dict(list(in_turn.items())[: limit - len(chosen)])

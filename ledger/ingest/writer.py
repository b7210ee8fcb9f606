"""The writer: one thread judges all webhooks that wait as a group, another commits the group before.

Nothing of the ledger's truth lives here. Judging runs ahead on states that are not yet committed; under the commit
lock a group whose head is not the ledger's (another instance wrote, or a group before it failed) is judged again on
what the database says. A request's answer waits for the commit of its group.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.presence import Presence
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import Webhook, read_webhook
from ledger.ingest.group import Judged, States, judge, write_in_parts
from ledger.ingest.intake import Intake, Ticket
from ledger.ingest.known import KnownUsers
from ledger.ingest.refusals import Refusals
from ledger.ingest.work import Work
from ledger.store.ledger import Ledger, translated
from ledger.store.recorder import Commit
from ledger.store.rows import STATEMENT_BYTES
from ledger.working_state import sources
from ledger.working_state.sources import SourceUnreadable
from projections.models import current

log = structlog.get_logger()

INITIAL_BACKOFF_SECONDS = 0.05
MAX_BACKOFF_SECONDS = 0.5


class Limits(NamedTuple):
    """What bounds a group, and how much of a rejected body is kept."""

    group_items: int
    rejected_bytes: int


class Writer:
    """Commits what the intake holds, group by group, until that is closed and empty."""

    def __init__(self, ledger: Ledger, intake: Intake, limits: Limits) -> None:
        self._ledger = ledger
        self._intake = intake
        self._limits = limits
        self._changed = threading.Condition()
        """Guards what both threads share, which is what follows here."""
        self._in_flight: deque[Work] = deque()
        """On its way from the one thread through the other, oldest first."""
        self._committed: States | None = None
        """The sources as of our last commit, None while they have to be read."""
        self._known = KnownUsers()
        self._refusals = Refusals()
        self._generation = 0
        """Raised whenever what was judged ahead no longer stands."""
        self._handed: queue.Queue[Work | None] = queue.Queue(maxsize=1)
        self._threads = [
            threading.Thread(target=self._judge_all, name="judge", daemon=True),
            threading.Thread(target=self._commit_all, name="commit", daemon=True),
        ]

    def start(self) -> None:
        """Begin to take webhooks."""
        for thread in self._threads:
            thread.start()

    def is_alive(self) -> bool:
        """Whether webhooks are still judged and committed."""
        return all(thread.is_alive() for thread in self._threads)

    def join(self, timeout: float) -> bool:
        """Wait for the end after the intake was closed; False if it did not come within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _judge_all(self) -> None:
        while taken := self._take():
            tickets = self._refuse(taken)
            if not tickets:
                continue
            try:
                work = self._work(tickets)
            except Exception as error:  # a defect must cost this group alone, and be seen, not stop the service
                log.exception("group_not_judged", deliveries=[ticket.delivery for ticket in tickets])
                self._intake.fail(tickets, error)
                continue
            self._handed.put(work)
            judged = work.judged
            if judged is not None:
                # While the other thread has the events written.
                judged.part.current_rows()
        self._handed.put(None)

    def _take(self) -> Sequence[Ticket]:
        """What is to be judged next, taken no sooner than that can begin: until then others may come before it."""
        with self._changed:
            self._changed.wait_for(self._can_judge)
        return self._intake.take(self._limits.group_items, STATEMENT_BYTES)

    def _can_judge(self) -> bool:
        """Judging runs ahead of commits, but not of judgements that are still to be made, or made anew."""
        return all(work.judged is not None for work in self._in_flight)

    def _refuse(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Refuse what a source posted that could not be read just now -> the others."""
        why = {ticket.source: self._refusals.of(ticket.source) for ticket in tickets}
        for name, error in why.items():
            if error is not None:
                self._intake.fail([ticket for ticket in tickets if ticket.source == name], error)
        return [ticket for ticket in tickets if why[ticket.source] is None]

    def _work(self, tickets: Sequence[Ticket]) -> Work:
        """Parse a group and judge it on the states that it will meet, as far as can be known yet."""
        rejected_bytes = self._limits.rejected_bytes
        webhooks = [read_webhook(t.delivery, t.source, t.node, t.received_at, t.body, rejected_bytes) for t in tickets]
        work = Work(tickets, webhooks)
        with self._changed:
            self._changed.wait_for(self._can_judge)
            ahead = [w.judged for w in self._in_flight if w.judged is not None]
            newest = ahead[-1].states if ahead else self._committed
            generation = self._generation
            self._in_flight.append(work)
        if newest is None or work.names - newest.sources.keys() or self._goes_in_parts(work):
            return work
        try:
            states = States(newest.head, newest.sources, self._presences(work, ahead), newest.lineage)
            judged = judge(self._ledger.events_mapper, webhooks, states, rejected_bytes)
        except Exception:  # noqa: BLE001  (the committing thread meets it again, and answers for it)
            return work
        with self._changed:
            if generation == self._generation:
                work.judged = judged
        return work

    def _goes_in_parts(self, work: Work) -> bool:
        return len(work.webhooks) == 1 and work.webhooks[0].items > self._limits.group_items

    def _presences(self, work: Work, ahead: Sequence[Judged]) -> Mapping[str, Presence]:
        """The users' presences after what was judged ahead; of who is not known, as the database has them."""
        uids = work.uids()
        with self._changed:
            presences = self._known.of(uids)
        for judged in ahead:
            later = judged.states.presences
            presences.update({uid: later[uid] for uid in uids if uid in later})
        presences.update(self._load(list(uids - presences.keys())))
        return presences

    def _load(self, uids: Sequence[str]) -> Mapping[str, Presence]:
        if not uids:
            return {}
        with self._ledger.reading() as connection:
            return current.load(connection, uids)

    def _reading_beside(self, work: Work) -> AbstractContextManager[Connection[TupleRow] | None]:
        """Where users are to be read while others are written: a connection more, had before the lock is waited for."""
        return self._ledger.connection() if self._goes_in_parts(work) else nullcontext()

    def _commit_all(self) -> None:
        while (work := self._handed.get()) is not None:
            try:
                self._commit(work)
            except Exception as error:  # as above
                log.exception("group_not_committed", deliveries=[ticket.delivery for ticket in work.tickets])
                self._forget()
                self._intake.fail(work.tickets, error)
            with self._changed:
                self._in_flight.remove(work)
                self._changed.notify_all()

    def _commit(self, work: Work) -> None:
        """Commit a group, again and again while the store is away and somebody still waits for it.

        What a source posted whose state cannot be known is refused, and the others' webhooks are committed without it.
        """
        pause, doubtful = INITIAL_BACKOFF_SECONDS, False
        wanted = self._refuse(work.tickets)
        if len(wanted) < len(work.tickets):
            self._forget()
            work.drop_unwanted(wanted)
        while work.tickets:
            try:
                with translated():
                    self._attempt(work, doubtful)
            except StoreUnavailable as error:
                self._forget()
                # Whether a commit whose answer was lost took place is asked of the ledger at the next attempt.
                doubtful = True
                work.drop_unwanted(self._intake.still_wanted(work.tickets, error))
                time.sleep(pause)
                pause = min(pause * 2, MAX_BACKOFF_SECONDS)
                continue
            except SourceUnreadable as error:
                refused = [ticket for ticket in work.tickets if ticket.source == error.source]
                self._intake.fail(refused, error)
                work.drop_unwanted([ticket for ticket in work.tickets if ticket.source != error.source])
                continue
            except (psycopg.Error, PersistenceError) as error:
                self._refused(work, error)
                return
            self._intake.succeed(work.tickets)
            return

    def _refused(self, work: Work, error: Exception) -> None:
        """What PostgreSQL refuses to store for a reason of these webhooks or of the schema: no attempt more would help,
        and those behind must not wait for it. Their senders are told to try again, as for any trouble of the store."""
        log.error("group_not_committed", deliveries=[each.delivery for each in work.tickets], exc_info=error)
        self._forget()
        refused = StoreUnavailable(f"PostgreSQL refuses what was to be stored: {type(error).__name__}")
        self._intake.failing(refused)
        self._intake.fail(work.tickets, refused)

    def _attempt(self, work: Work, doubtful: bool) -> None:
        if not doubtful and self._goes_in_parts(work):
            self._intake.begun(work.tickets)
        with self._reading_beside(work) as beside, self._ledger.events_recorder.commit() as commit:
            if doubtful and commit.holds_delivery(work.tickets[0].delivery):
                return
            if beside is not None:
                states = self._write_in_parts(work.webhooks[0], commit, beside, doubtful)
            else:
                judged = work.judged
                if judged is None or (judged.head_before, judged.states.lineage) != (commit.head, commit.lineage):
                    judged = self._judge_under_lock(work, commit)
                judged.write(commit)
                states = judged.states
        with self._changed:
            self._committed = States(states.head, states.sources, {}, states.lineage)
            self._known.remember(states.presences)

    def _judge_under_lock(self, work: Work, commit: Commit) -> Judged:
        """Judge on what the database says, which nobody else can change now; what follows is judged on from here."""
        self._forget()
        states = States(
            commit.head,
            self._sources_now(work.names, commit),
            current.load(commit.connection, list(work.uids())),
            commit.lineage,
        )
        judged = judge(self._ledger.events_mapper, work.webhooks, states, self._limits.rejected_bytes)
        with self._changed:
            work.judged = judged
            self._changed.notify_all()
        return judged

    def _write_in_parts(self, webhook: Webhook, commit: Commit, beside: Connection[TupleRow], doubtful: bool) -> States:
        def load(uids: Sequence[str]) -> Mapping[str, Presence]:
            return current.load(beside, uids)

        def written() -> None:
            # At the first attempt alone: a body that is begun again and again gets nowhere.
            if not doubtful:
                self._intake.progressed()

        source = self._sources_now({webhook.source}, commit)[webhook.source]
        self._forget()
        mapper, rejected_bytes = self._ledger.events_mapper, self._limits.rejected_bytes
        return write_in_parts(commit, mapper, webhook, source, load, written, rejected_bytes)

    def _sources_now(self, names: set[str], commit: Commit) -> dict[str, SourceState]:
        """The sources' states as of the database, read under the lock: what we knew, and what came since.

        Raises SourceUnreadable for one of `names`; another that cannot be read is left out, until it is needed.
        """
        committed = self._committed
        # What was known before the ledger went back is nothing to go on from.
        known = {} if committed is None or committed.lineage != commit.lineage else committed.sources
        found = {}
        for name in names | {name for name in known if self._refusals.of(name) is None}:
            try:
                found[name] = sources.bring_up_to_date(commit.connection, self._ledger, name, known.get(name))
            except SourceUnreadable as error:
                self._refusals.remember(error)
                if name in names:
                    raise
        return found

    def _forget(self) -> None:
        """What was judged ahead no longer stands: the database is not what it was judged on."""
        with self._changed:
            self._generation += 1
            self._known.forget()
            for work in self._in_flight:
                work.judged = None

"""The writer: one thread judges all webhooks that wait as a group, another commits the group before.

Nothing of the ledger's truth lives here. Judging runs ahead on states that are not yet committed; under the commit
lock a group whose head is not the ledger's (another instance wrote, or a group before it failed) is judged again on
what the database says. A request's answer waits for the commit of its group.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import NamedTuple

import psycopg
import structlog
from eventsourcing.persistence import PersistenceError
from prometheus_client import CollectorRegistry
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.presence import Presence
from ledger.domain.source import SourceState
from ledger.errors import StoreUnavailable
from ledger.ingest.draft import ParsedWebhook, read_webhook
from ledger.ingest.figures import IngestFigures, Tally
from ledger.ingest.group import Group, GroupPart, GroupStates, JudgedGroup, judge, write_in_parts
from ledger.ingest.intake import Intake
from ledger.ingest.pipeline import Pipeline
from ledger.ingest.ticket import Ticket
from ledger.store.commit import Commit
from ledger.store.ledger import Ledger, translated
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


Committed = Callable[[int, GroupStates, datetime], object]
"""Told of a commit: the head before it, the states after it with the presences of all users whom it names, when it was
recorded. Of a body that is written in parts nobody is told."""


class Writer:
    """Commits what the intake holds, group by group, until that is closed and empty."""

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        limits: Limits,
        figures: IngestFigures | None = None,
        committed: Committed = lambda *_: None,
    ) -> None:
        self._ledger = ledger
        self._figures = figures or IngestFigures(CollectorRegistry())
        self._intake = intake
        self._limits = limits
        self._committed = committed
        self._pipeline = Pipeline()
        self._unreadable = intake.unreadable
        self._handed: queue.Queue[Group | None] = queue.Queue(maxsize=1)
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
                group = self._enter(tickets)
            except Exception as error:  # a defect must cost this group alone, and be seen, not stop the service
                log.exception("group_not_judged", deliveries=[ticket.delivery for ticket in tickets])
                self._intake.fail(tickets, error)
                continue
            self._handed.put(group)
            judged = group.judged
            if judged is not None:
                # While the other thread has the events written, which meets and answers for what is wrong with them.
                with suppress(Exception):
                    judged.part.current_rows()
        self._handed.put(None)

    def _take(self) -> Sequence[Ticket]:
        """What is to be judged next, taken no sooner than that can begin: until then others may come before it."""
        self._pipeline.await_turn()
        return self._intake.take(self._limits.group_items, STATEMENT_BYTES, self._read)

    def _read(self, ticket: Ticket) -> ParsedWebhook:
        webhook = read_webhook(
            ticket.delivery,
            ticket.source,
            ticket.node,
            ticket.received_at,
            ticket.body,
            self._limits.rejected_bytes,
        )
        ticket.is_array = webhook.is_array
        return webhook._replace(spooled=True) if ticket.from_spool else webhook

    def _refuse(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Refuse what a source posted that could not be read just now -> the others, without what goes to the spool."""
        tickets = self._intake.without_diverted(tickets)
        why = {ticket.source: self._unreadable.reason(ticket.source) for ticket in tickets}
        for name, error in why.items():
            if error is not None:
                self._intake.fail([ticket for ticket in tickets if ticket.source == name], error)
        return [ticket for ticket in tickets if why[ticket.source] is None]

    def _enter(self, tickets: Sequence[Ticket]) -> Group:
        """Parse a group and judge it on the states that it will meet, as far as can be known yet."""
        rejected_bytes = self._limits.rejected_bytes
        webhooks = [ticket.parsed or self._read(ticket) for ticket in tickets]
        group = Group(tickets, webhooks)
        basis = self._pipeline.enter(group)
        newest = basis.states
        if newest is None or group.names - newest.sources.keys() or self._goes_in_parts(group):
            return group
        try:
            states = newest._replace(presences=self._presences(group, basis.ahead))
            judged = judge(self._ledger.events_mapper, webhooks, states, rejected_bytes)
        except Exception:  # noqa: BLE001  (the committing thread meets it again, and answers for it)
            return group
        self._pipeline.judged_ahead(group, judged, basis.generation)
        return group

    def _goes_in_parts(self, group: Group) -> bool:
        return group.exceeds(self._limits.group_items)

    def _presences(self, group: Group, ahead: Sequence[JudgedGroup]) -> Mapping[str, Presence]:
        """The users' presences after what was judged ahead; of users who are not known, as the database has them."""
        uids = group.uids()
        presences = self._pipeline.known_users(uids)
        for judged in ahead:
            later = judged.states.presences
            presences.update({uid: later[uid] for uid in uids if uid in later})
        presences.update(self._load(list(uids - presences.keys())))
        return presences

    def _load(self, uids: Sequence[str]) -> Mapping[str, Presence]:
        if not uids:
            return {}
        with self._intake.store.asking(), self._ledger.reading() as connection:
            return current.load(connection, uids)

    def _second_connection(self) -> AbstractContextManager[Connection[TupleRow] | None]:
        """Where users are to be read while others are written: had before the lock is waited for.

        None behind a pooler: whoever holds one of the sessions that it lends, and waits for another, may wait for ever.
        """
        return nullcontext() if self._ledger.is_pooled else self._ledger.connection()

    def _commit_all(self) -> None:
        while (group := self._handed.get()) is not None:
            try:
                self._commit(group)
            except Exception as error:  # as above
                log.exception("group_not_committed", deliveries=[ticket.delivery for ticket in group.tickets])
                self._pipeline.forget()
                self._intake.fail(group.tickets, error)
            self._pipeline.leave(group)

    def _commit(self, group: Group) -> None:
        """Commit a group, again and again while the store is away and a request still waits for it.

        What a source posted whose state cannot be known is refused, and the others' webhooks are committed without it.
        """
        pause = INITIAL_BACKOFF_SECONDS
        wanted = self._refuse(group.tickets)
        if len(wanted) < len(group.tickets):
            self._pipeline.forget()
            group.keep(wanted)
        if self._goes_in_parts(group):
            self._intake.begun(group.tickets)
        while group.tickets:
            began = time.monotonic()
            try:
                with translated(), self._intake.store.asking():
                    tally = self._attempt(group)
            except StoreUnavailable as error:
                self._figures.failed()
                self._pipeline.forget()
                group.keep(self._intake.still_wanted(group.tickets, error))
                time.sleep(pause)
                pause = min(pause * 2, MAX_BACKOFF_SECONDS)
                continue
            except SourceUnreadable as error:
                refused = [ticket for ticket in group.tickets if ticket.source == error.source]
                self._intake.fail(refused, error)
                group.keep([ticket for ticket in group.tickets if ticket.source != error.source])
                continue
            except (psycopg.Error, PersistenceError) as error:
                self._figures.failed()
                self._refused(group, error)
                return
            self._figures.committed(tally, time.monotonic() - began)
            self._intake.succeed(group.tickets)
            return

    def _refused(self, group: Group, error: Exception) -> None:
        """PostgreSQL refuses these webhooks, or the schema is at fault: trying again would not help, and those behind
        must not wait for it. Their senders are told to try again, as for any trouble of the store."""
        log.error("group_not_committed", deliveries=[each.delivery for each in group.tickets], exc_info=error)
        self._pipeline.forget()
        refused = StoreUnavailable(f"PostgreSQL refuses what was to be stored: {type(error).__name__}")
        self._intake.store.failing(refused)
        self._intake.fail(group.tickets, refused)

    def _attempt(self, group: Group) -> Tally:
        """Commit a group -> what it came to; nothing where an attempt before had committed it after all."""
        tally, goes_in_parts, head_before = Tally(), self._goes_in_parts(group), None
        second_connection = self._second_connection() if goes_in_parts else nullcontext()
        with second_connection as second, self._ledger.events_recorder.commit() as commit:
            # From here on it may be committed, though its answer is lost: the ledger is asked at the next attempt.
            is_doubtful, group.is_doubtful = group.is_doubtful, True
            if is_doubtful and (held := commit.held_deliveries([each.delivery for each in group.tickets])):
                self._pipeline.forget()
                if len(held) == len(group.tickets):
                    return tally
                self._intake.succeed([each for each in group.tickets if each.delivery in held])
                group.keep([each for each in group.tickets if each.delivery not in held])
            if goes_in_parts:
                states = self._write_in_parts(group, commit, second or commit.connection, is_doubtful, tally)
            else:
                judged = group.judged
                if judged is None or (judged.head_before, judged.states.lineage) != (commit.head, commit.lineage):
                    judged = self._judge_under_lock(group, commit)
                judged.write(commit)
                head_before, states, tally = judged.head_before, judged.states, judged.part.tally
        self._pipeline.note_commit(states)
        if head_before is not None:
            self._committed(head_before, states, commit.recorded_at)
        return tally

    def _judge_under_lock(self, group: Group, commit: Commit) -> JudgedGroup:
        """Judge on what the database says, which nothing else can change now; what follows is judged on from here."""
        self._pipeline.forget()
        states = GroupStates(
            commit.head,
            self._sources_now(group.names, commit),
            current.load(commit.connection, list(group.uids())),
            commit.lineage,
        )
        judged = judge(self._ledger.events_mapper, group.webhooks, states, self._limits.rejected_bytes)
        self._pipeline.judged_under_lock(group, judged)
        return judged

    def _write_in_parts(
        self, group: Group, commit: Commit, reading: Connection[TupleRow], is_again: bool, tally: Tally
    ) -> GroupStates:
        [webhook], [ticket] = group.webhooks, group.tickets

        def load(uids: Sequence[str]) -> Mapping[str, Presence]:
            return current.load(reading, uids)

        def written(part: GroupPart) -> None:
            tally.update(part.tally)
            # At the first attempt alone: a body that is begun again and again gets nowhere, and ends with its waiters.
            if not is_again:
                self._intake.store.progressed()
            elif not self._intake.is_wanted(ticket):
                raise StoreUnavailable(self._intake.store.reason)

        source = self._sources_now({webhook.source}, commit)[webhook.source]
        self._pipeline.forget()
        mapper, rejected_bytes = self._ledger.events_mapper, self._limits.rejected_bytes
        return write_in_parts(commit, mapper, webhook, source, load, written, rejected_bytes)

    def _sources_now(self, names: set[str], commit: Commit) -> dict[str, SourceState]:
        """The sources' states as of the database, read under the lock: what we knew, and what came since.

        Raises SourceUnreadable for one of `names`; another that cannot be read is left out, until it is needed.
        """
        committed = self._pipeline.committed
        # What was known before the ledger went back is nothing to go on from.
        known = {} if committed is None or committed.lineage != commit.lineage else committed.sources
        found = {}
        for name in names | {name for name in known if self._unreadable.reason(name) is None}:
            try:
                found[name] = sources.bring_up_to_date(commit.connection, self._ledger, name, known.get(name))
            except SourceUnreadable as error:
                self._unreadable.remember(error)
                if name in names:
                    raise
        return found

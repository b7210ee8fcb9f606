"""A group: webhooks that are committed together, and the events they become on given states.

It is judged before the commit lock is taken; under the lock it is written, or first judged again where the ledger's
head is not the one it was judged on. One too large for that is judged part by part under the lock while the part
before is written, so that a reconnect storm takes neither the time nor the memory of both.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import NamedTuple

from ledger.domain.events import WebhookObserved
from ledger.domain.presence import Presence
from ledger.domain.source import SourceState
from ledger.ingest import figures
from ledger.ingest.draft import Draft, ParsedWebhook
from ledger.ingest.figures import Tally
from ledger.ingest.ticket import Ticket
from ledger.store.commit import Commit
from ledger.store.mapper import EventMapper, Recorded
from ledger.store.rows import PackedRows, Rows
from ledger.working_state import sources
from projections.models import current

PART_ITEMS = 5_000
PART_BYTES = 2 * 1_048_576
"""Of payloads: a thousand short elements that are no claims are one event, and those who wait are to see progress."""


class GroupStates(NamedTuple):
    """What a group is judged on: the states of its sources and users when the ledger's head was `head`."""

    head: int
    sources: Mapping[str, SourceState]
    presences: Mapping[str, Presence]
    lineage: int = 0
    """Of the ledger's: under another one, the same head is another ledger's."""


class GroupPart:
    """Events ready to be stored, in their order, with the users' states after them."""

    def __init__(self, events: list[PackedRows], presences: list[Presence], tally: Tally) -> None:
        self.events = events
        self.tally = tally
        self._presences = presences
        self._current_rows: list[current.CurrentRows] | None = None
        self._making = threading.Lock()

    def current_rows(self) -> list[current.CurrentRows]:
        """The users' rows, made by the thread that asks first: there is time while PostgreSQL takes the events."""
        with self._making:
            if self._current_rows is None:
                self._current_rows = list(current.to_rows(self._presences))
            return self._current_rows


class JudgedGroup(NamedTuple):
    """A group with what it becomes; `states` are those after it."""

    head_before: int
    part: GroupPart
    states: GroupStates
    snapshots: list[sources.SourceRow]

    def write(self, commit: Commit) -> None:
        """Append everything in the transaction that holds the lock."""
        _write_part(commit, self.part)
        _finish(commit, self.snapshots)


class Group:
    """Webhooks on their way to the ledger together, each with its ticket.

    `judged` is None until they have been judged, and once that is void.
    """

    def __init__(self, tickets: Sequence[Ticket], webhooks: Sequence[ParsedWebhook]) -> None:
        self.tickets = tickets
        self.webhooks = webhooks
        self.judged: JudgedGroup | None = None
        self.is_doubtful = any(ticket.from_spool for ticket in tickets)
        """Whether any of them may be in the ledger already: a commit's answer was lost, or a spool was read again."""

    @property
    def names(self) -> set[str]:
        """The sources that its webhooks name."""
        return {webhook.source for webhook in self.webhooks}

    def uids(self) -> set[str]:
        """The users that their items name."""
        return {uid for webhook in self.webhooks for uid in webhook.uids()}

    def exceeds(self, max_items: int) -> bool:
        """Whether it is one webhook too large for a group, which is written in parts."""
        return len(self.webhooks) == 1 and self.webhooks[0].items > max_items

    def keep(self, wanted: Sequence[Ticket]) -> None:
        """Go on with those tickets alone, to be judged again."""
        kept = {ticket.delivery for ticket in wanted}
        self.tickets = wanted
        self.webhooks = [webhook for webhook in self.webhooks if webhook.delivery in kept]
        self.judged = None


def judge(
    mapper: EventMapper, webhooks: Sequence[ParsedWebhook], states: GroupStates, rejected_bytes: int
) -> JudgedGroup:
    """What the webhooks become on those states. Pure but for the time it takes."""
    draft = Draft(states.sources, states.presences, states.head, rejected_bytes)
    events = chain.from_iterable(draft.add(webhook) for webhook in webhooks)
    part = _part(mapper, draft, events)
    after = GroupStates(draft.head, {**states.sources, **draft.sources}, draft.presences, states.lineage)
    return JudgedGroup(states.head, part, after, _snapshots_due(states.sources, draft.sources))


def write_in_parts(
    commit: Commit,
    mapper: EventMapper,
    webhook: ParsedWebhook,
    source: SourceState,
    load: Callable[[Sequence[str]], Mapping[str, Presence]],
    written: Callable[[GroupPart], None],
    rejected_bytes: int,
) -> GroupStates:
    """Judge and write one large webhook under the lock, the next part being judged while one is written.

    `load` reads users' presences; it is called from another thread. `written` is told of each part.
    """
    presences: dict[str, Presence] = {}
    draft = Draft({source.name: source}, presences, commit.head, rejected_bytes)
    uids, events = webhook.uids(), draft.add(webhook)

    def parts() -> Iterator[GroupPart]:
        while True:
            # An event of the delivery and of each rejected item comes between, so users are read ahead of their events.
            wanted = [uid for uid in islice(uids, PART_ITEMS) if uid not in draft.presences]
            presences.update(load(wanted))
            part = _part(mapper, draft, islice(events, PART_ITEMS), PART_BYTES)
            if not part.events:
                return
            # Here, not where they are written: two threads that both compute would only take turns.
            part.current_rows()
            yield part
            for uid in presences.keys() & draft.presences.keys():
                del presences[uid]

    judged = parts()
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as judging:
        upcoming = judging.submit(next, judged, None)
        while (part := upcoming.result()) is not None:
            upcoming = judging.submit(next, judged, None)
            _write_part(commit, part)
            written(part)
    _finish(commit, _snapshots_due({source.name: source}, draft.sources))
    return GroupStates(draft.head, draft.sources, {}, commit.lineage)


def _part(mapper: EventMapper, draft: Draft, events: Iterator[Recorded], most_bytes: int | None = None) -> GroupPart:
    """The events, or as many of them as come to so many bytes; the others are left."""
    rows = Rows()
    touched: dict[str, None] = {}
    judged: list[tuple[str, str, str]] = []
    tally, size = Tally(), 0
    for stream, version, event, uid in events:
        # Counted together afterwards: this is the way of every item.
        if isinstance(event, WebhookObserved):
            judged.append((event.source, event.node, event.verdict))
        else:
            figures.note(tally, stream, event)
        kind, payload = mapper.kind_and_payload(event)
        rows.add(stream, version, kind, payload)
        if uid is not None:
            touched[uid] = None
        size += len(payload)
        if most_bytes is not None and size >= most_bytes:
            break
    tally.update(judged)
    return GroupPart(rows.pack(), [draft.presences[uid] for uid in touched], tally)


def _write_part(commit: Commit, part: GroupPart) -> None:
    commit.append(part.events)
    current.write(commit.cursor, part.current_rows())


def _finish(commit: Commit, snapshots: list[sources.SourceRow]) -> None:
    sources.write(commit.cursor, snapshots)
    commit.notify()


def _snapshots_due(before: Mapping[str, SourceState], after: Mapping[str, SourceState]) -> list[sources.SourceRow]:
    return [sources.to_row(source) for name, source in after.items() if sources.snapshot_is_due(before[name], source)]

"""Appending what no webhook brings: events decided under the commit lock, when no other writer can change states."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.event_types import Event
from ledger.domain.source import SourceState
from ledger.errors import LedgerWentBack
from ledger.ingest.draft import Draft
from ledger.store.ledger import Ledger, translated
from ledger.store.mapper import SOURCE_PREFIX, Recorded
from ledger.store.rows import Rows
from ledger.working_state import sources
from projections.models import current


class Appended(NamedTuple):
    """What was appended, each event with its position, and the sources' states after it."""

    events: list[tuple[int, Event]]
    sources: dict[str, SourceState]


def append(
    ledger: Ledger,
    known: Mapping[str, SourceState | None],
    uids: Iterable[str],
    decide: Callable[[Draft], Iterator[Recorded]],
    in_same_transaction: Callable[[Cursor[Any], list[tuple[int, Event]]], None] | None = None,
    load: Callable[[Connection[TupleRow]], None] | None = None,
    *,
    lock_timeout: float | None = None,
    lineage: int | None = None,
) -> Appended:
    """Append the events that `decide` draws from the states of these sources and users, read under the lock.

    `known` gives states to go on from, where there are any; `load` reads what else `decide` is to know as of then.
    `in_same_transaction` writes what belongs to the events; it is called where there are none, too. `lock_timeout` is
    in seconds. `lineage`: of the ledger that what is given was learnt of. Raises LedgerWentBack where it is another one
    by now, StoreUnavailable, SourceUnreadable; nothing is appended then, as far as is known.
    """
    with translated(), ledger.events_recorder.commit(lock_timeout) as commit:
        if lineage not in (None, commit.lineage):
            raise LedgerWentBack
        states = {
            name: sources.bring_up_to_date(commit.connection, ledger, name, state) for name, state in known.items()
        }
        presences = current.load(commit.connection, list(uids))
        if load is not None:
            load(commit.connection)
        draft = Draft(states, presences, commit.head)
        rows, rules_position = Rows(), dict.fromkeys(states, 0)
        events: list[tuple[int, Event]] = []
        for recorded in chain(decide(draft), draft.ends_of_overrides()):
            kind, payload = ledger.events_mapper.kind_and_payload(recorded.event)
            rows.add(recorded.originator_id, recorded.originator_version, kind, payload)
            events.append((draft.head, recorded.event))
            if recorded.uid is None and sources.changes_rules(recorded.event):
                rules_position[recorded.originator_id.removeprefix(SOURCE_PREFIX)] = draft.head
        if events:
            commit.append(rows.pack())
            current.write(commit.cursor, list(current.to_rows(draft.presences.values())))
            due = [
                sources.to_row(draft.source(name), rules_position[name])
                for name, state in states.items()
                if rules_position[name] or sources.snapshot_is_due(state, draft.source(name))
            ]
            sources.write(commit.cursor, due)
            commit.notify()
        if in_same_transaction is not None:
            in_same_transaction(commit.cursor, events)
        return Appended(events, {name: draft.source(name) for name in states})

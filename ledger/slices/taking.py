"""Taking a slice of the ledger: the states where it begins, then its events, read in one snapshot."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from heapq import merge
from itertools import chain, islice
from typing import NamedTuple

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow

from ledger import __version__
from ledger.domain import imported, source
from ledger.domain.event_types import Event, SourceEvent
from ledger.domain.instants import from_datetime
from ledger.domain.policy import RULES_VERSION
from ledger.domain.source import SourceState, evolve_source
from ledger.slices import ledger_rows as slices
from ledger.slices.archived import ArchivePlace, moment
from ledger.slices.cutting import cut, cut_state
from ledger.slices.form import FORMAT, EventLine, RecordedPosition, Slice, SliceHeader, StateLine
from ledger.slices.share import WHOLE, Share
from ledger.store.mapper import EventMapper, source_stream, user_stream
from ledger.store.recorder import StoredRow
from projections.models import current
from projections.queries import history

USERS_AT_A_TIME = 500

Progress = Callable[[int, int], None]
"""Told how many positions are behind, of how many."""


class SliceScope(NamedTuple):
    """Which part of the ledger: of these users, from `since` on and before `until`; None is no bound."""

    users: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None


@contextmanager
def open_slice(
    live: Connection[TupleRow],
    mapper: EventMapper,
    scope: SliceScope,
    progress: Progress,
    archive: ArchivePlace | None = None,
) -> Iterator[Slice]:
    """The slice of the ledger as of now; its lines are there as long as the context is.

    Raises ArchiveDamaged, ArchivedElsewhere, UnreadableEvent.
    """
    users = None if scope.users is None else [uid for uid in dict.fromkeys(scope.users) if current.can_be_stored(uid)]
    with moment(live, scope.since, scope.until, users, archive) as connection:
        bounds = slices.bounds(connection, scope.since, scope.until)
        header = describe(connection, mapper, scope, bounds, users)
        rows = slices.between(connection, bounds.start, bounds.stop, users)
        counted = _counted(rows, bounds.start, bounds.stop, progress)
        events = counted if users is None else _about(counted, mapper, users)
        yield Slice(header, chain(states(connection, mapper, bounds.start, users), map(_event_line, events)))


def describe(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    scope: SliceScope,
    bounds: slices.Bounds,
    users: Sequence[str] | None = None,
) -> SliceHeader:
    """The header of what lies between those bounds. Raises UnreadableEvent."""
    rules = history.rules_at(connection, mapper, bounds.stop)
    return SliceHeader(
        format=FORMAT,
        software_version=__version__,
        rules_version=RULES_VERSION,
        since=scope.since,
        until=scope.until,
        users=None if users is None else tuple(users),
        pseudonymised=False,
        policies={name: source.policy for name, source in rules.sources.items()},
        began=RecordedPosition(bounds.start, slices.recorded_at(connection, bounds.start)),
        head=RecordedPosition(bounds.head, bounds.head_recorded_at),
    )


def _counted(rows: Iterator[StoredRow], start: int, stop: int, progress: Progress) -> Iterator[StoredRow]:
    for row in rows:
        progress(row.position - start, stop - start)
        yield row


def _event_line(row: StoredRow) -> EventLine:
    return EventLine(
        position=row.position,
        stream=row.stream,
        version=row.version,
        event_kind=row.kind,
        recorded_at=row.recorded_at,
        payload=msgspec.Raw(row.payload),
    )


def states(
    connection: Connection[TupleRow],
    mapper: EventMapper,
    start: int,
    users: Sequence[str] | None = None,
    share: Share = WHOLE,
) -> Iterator[StateLine]:
    """What sources and users had come to where the slice begins, in the order of their last events."""
    if not start:
        return iter(())
    names = slices.source_names(connection)
    of_sources = (_source_line(connection, mapper, name, start, users) for name in names)
    placed = sorted((line for line in of_sources if line is not None), key=_position)
    return merge(placed, _user_lines(connection, mapper, start, users, share), key=_position)


def _position(line: StateLine) -> int:
    return line.position


def _source_line(
    connection: Connection[TupleRow], mapper: EventMapper, name: str, start: int, users: Sequence[str] | None
) -> StateLine | None:
    """A source's state, folded from its beginning; None where it began later."""
    state, last = SourceState(name), None
    for last in slices.stream_events(connection, source_stream(name), start):
        event = mapper.event_at(last.position, last.kind, last.payload)
        assert isinstance(event, SourceEvent)
        state = evolve_source(state, event, last.position)
    if last is None:
        return None
    carried = source.as_imported(state)
    if users is not None:
        carried = cut_state(carried, frozenset(users))
    return _state_line(mapper, carried, last.stream, state.version, last.position, last.recorded_at)


def _user_lines(
    connection: Connection[TupleRow], mapper: EventMapper, start: int, users: Sequence[str] | None, share: Share
) -> Iterator[StateLine]:
    lasts = slices.last_events(connection, start, users, share)
    while part := list(islice(lasts, USERS_AT_A_TIME)):
        presences = dict(current.load(connection, [last.uid for last in part]))
        moved = [last.uid for last in part if presences[last.uid].version != last.version]
        presences |= history.presences_at(connection, mapper, moved, start)
        for last in part:
            presence = presences[last.uid]
            event = imported.as_imported(presence, from_datetime(last.recorded_at))
            stream = user_stream(last.uid)
            yield _state_line(mapper, event, stream, presence.version, last.position, last.recorded_at)


def _state_line(
    mapper: EventMapper, event: Event, stream: str, version: int, position: int, recorded_at: datetime
) -> StateLine:
    kind, payload = mapper.kind_and_payload(event)
    return StateLine(
        position=position,
        stream=stream,
        version=version,
        event_kind=kind,
        recorded_at=recorded_at,
        payload=msgspec.Raw(payload),
    )


def _about(rows: Iterator[StoredRow], mapper: EventMapper, users: Sequence[str]) -> Iterator[StoredRow]:
    """The users' events, and what their sources said as far as it is not of others; to the byte where it is not cut."""
    chosen = frozenset(users)
    for row in rows:
        event = mapper.event_at(row.position, row.kind, row.payload)
        kept = cut(event, chosen)
        if kept is event:
            yield row
        elif kept is not None:
            kind, payload = mapper.kind_and_payload(kept)
            yield row._replace(kind=kind, payload=payload)

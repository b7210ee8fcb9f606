"""The states of the sources as of a position, folded from few events: of the many before these the fold is kept.

Events never change, and nothing is put in before one that was seen: so a fold stays right as long as its last event is
there, which is looked at of the one gone on from, since a database may be replaced by an older one while we run.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from threading import Lock
from typing import NamedTuple, cast

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.event_types import SourceEvent
from ledger.domain.imported import SourceImported, without_doubts_after
from ledger.domain.observation import Instant
from ledger.domain.source import SourceState, evolve_source
from ledger.store.mapper import SOURCE_PREFIX, EventMapper

EVENTS_PER_FOLD = 256
"""A fold is kept after so many events: no more than so many have then to be folded for any position."""
MAX_FOLDS = 256
"""So many folds are kept; beyond that every other one is dropped, and from then on half as many are made."""

_EVER = 2**62

_EVENTS = """
SELECT position, stream, kind, payload FROM events
 WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                'source_lit.v1', 'source_imported.v1')
   AND position > %s AND position <= %s
 ORDER BY position
"""


class SourceStates(NamedTuple):
    """The sources' states, and the position of the last event that changed one; 0 where there is none."""

    position: int
    by_name: Mapping[str, SourceState]


class Hindsight(NamedTuple):
    """What was recorded up to a later position and had come about by an instant."""

    position: int
    by: Instant


class _RuleEvent(NamedTuple):
    """A stored event."""

    position: int
    stream: str
    kind: str
    payload: bytes


class _Fold(NamedTuple):
    """Everything up to an event; `earliest`: when the first of the events since the fold before it came about."""

    states: SourceStates
    earliest: Instant
    last: _RuleEvent | None
    """That event."""

    @property
    def position(self) -> int:
        return self.states.position


class _Kept(NamedTuple):
    every: int
    folds: tuple[_Fold, ...]
    """By position; the first one is that of nothing."""


class RuleFolds:
    """The folds of one ledger. They save time and decide nothing; any number of threads may ask at once."""

    def __init__(self, every: int = EVENTS_PER_FOLD, max_folds: int = MAX_FOLDS) -> None:
        self._nothing = self._kept = _Kept(every, (_Fold(SourceStates(0, {}), _EVER, None),))
        self._max_folds = max_folds
        self._changing = Lock()

    def forget(self) -> None:
        """The ledger went back: nothing that is kept may be of it."""
        with self._changing:
            self._kept = self._nothing

    def at(
        self,
        connection: Connection[TupleRow],
        mapper: EventMapper,
        position: int,
        hindsight: Hindsight | None = None,
    ) -> SourceStates:
        """The states as of a position of the ledger that the connection reads, or by what is known of it later.

        The position is not beyond the head that the connection sees. Raises UnreadableEvent.
        """
        if hindsight is None:
            return self._up_to(connection, mapper, position)
        # Before it is asked which of the later events had come about, it is learnt of most that none had.
        self._up_to(connection, mapper, hindsight.position)
        base = self._up_to(connection, mapper, position)
        states, last = dict(base.by_name), base.position
        for after, up_to in self._parts(position, hindsight):
            for row in _rows(connection, after, up_to):
                event = _event(mapper, row)
                if isinstance(event, SourceImported):
                    # It tells of the time before the slice, too.
                    event = without_doubts_after(event, hindsight.by)
                if _came_about(event) <= hindsight.by:
                    _apply(states, row, event)
                    last = row.position
        return SourceStates(last, states)

    def _up_to(self, connection: Connection[TupleRow], mapper: EventMapper, position: int) -> SourceStates:
        """The fold up to a position, from the nearest one that is kept; beyond the last of these new ones are made."""
        kept = self._kept
        nearest = bisect_right(kept.folds, position, key=lambda fold: fold.position) - 1
        base = kept.folds[nearest]
        rows = _rows(connection, max(0, base.position - 1), position)
        if base.last is not None and rows[:1] != [base.last]:
            # Another ledger now: nothing that is kept is of it.
            self._keep(kept, self._nothing)
            return self._up_to(connection, mapper, position)
        last, states = base.position, dict(base.states.by_name)
        new: list[_Fold] = []
        earliest, number = _EVER, 0
        for row in rows[0 if base.last is None else 1 :]:
            event, last = _event(mapper, row), row.position
            _apply(states, row, event)
            earliest, number = min(earliest, _came_about(event)), number + 1
            if number == kept.every:
                new.append(_Fold(SourceStates(last, dict(states)), earliest, row))
                earliest, number = _EVER, 0
        if new and nearest == len(kept.folds) - 1:
            self._keep(kept, self._grown(kept, new))
        return SourceStates(last, states)

    def _keep(self, before: _Kept, after: _Kept) -> None:
        with self._changing:
            # Where another thread was quicker, its are as good.
            if self._kept is before:
                self._kept = after

    def _grown(self, kept: _Kept, new: Sequence[_Fold]) -> _Kept:
        every, folds = kept.every, (*kept.folds, *new)
        while len(folds) > self._max_folds:
            every, folds = 2 * every, _thinned(folds)
        return _Kept(every, folds)

    def _parts(self, position: int, hindsight: Hindsight) -> Iterator[tuple[int, int]]:
        """The stretches between two positions, of which some event may have come about by the instant."""
        _, folds = self._kept
        for before, fold in pairwise(folds):
            if fold.earliest <= hindsight.by:
                yield max(before.position, position), min(fold.position, hindsight.position)
        yield max(folds[-1].position, position), hindsight.position


def _thinned(folds: Sequence[_Fold]) -> tuple[_Fold, ...]:
    """Every other fold, the last one included, each with what the one before it knew of its own events."""
    nothing, *rest = folds
    odd = len(rest) % 2
    pairs = zip(rest[odd::2], rest[odd + 1 :: 2], strict=True)
    merged = (later._replace(earliest=min(earlier.earliest, later.earliest)) for earlier, later in pairs)
    return nothing, *rest[:odd], *merged


def _came_about(event: SourceEvent) -> Instant:
    """When what an event tells came about; what an import brought is known from then on, of whatever instant."""
    at: Instant = getattr(event, "at", -_EVER)
    return at


def _rows(connection: Connection[TupleRow], after: int, up_to: int) -> list[_RuleEvent]:
    """The events between two positions that change rules."""
    if after >= up_to:
        return []
    return [_RuleEvent(*row) for row in connection.cursor(binary=True).execute(_EVENTS, (after, up_to)).fetchall()]


def _event(mapper: EventMapper, row: _RuleEvent) -> SourceEvent:
    return cast(SourceEvent, mapper.event_at(row.position, row.kind, row.payload))


def _apply(states: dict[str, SourceState], row: _RuleEvent, event: SourceEvent) -> None:
    name = row.stream.removeprefix(SOURCE_PREFIX)
    states[name] = evolve_source(states.get(name) or SourceState(name), event, row.position)

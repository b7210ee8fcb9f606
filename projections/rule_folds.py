"""The states of the sources as of a position, folded from few events: of the many before these the fold is kept.

Events never change, and nothing is put in before one that was seen: so a fold up to an event stays right for ever.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from threading import Lock
from typing import NamedTuple, cast

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.domain.history import SourceEvent
from ledger.domain.observation import Instant
from ledger.domain.source import SourceState, evolve_source
from ledger.store.mapper import SOURCE_PREFIX, EventMapper

EVERY = 256
"""A fold is kept after so many events: no more than so many have then to be folded for any position."""
MOST = 256
"""So many folds are kept; beyond that every other one is dropped, and from then on half as many are made."""

EVER = 2**62

_EVENTS = """
SELECT position, stream, kind, payload FROM events
 WHERE kind IN ('configured.v1', 'node_down.v1', 'node_booted.v1', 'node_settled.v1', 'source_dark.v1',
                'source_lit.v1', 'source_imported.v1')
   AND position > %s AND position <= %s
 ORDER BY position
"""


class States(NamedTuple):
    """The sources' states, and the position of the last event that changed one; 0 where there is none."""

    position: int
    of: Mapping[str, SourceState]


class Hindsight(NamedTuple):
    """What was recorded up to a later position and had come about by an instant."""

    position: int
    by: Instant


class _Fold(NamedTuple):
    """Everything up to an event; `earliest`: when the first of the events since the fold before it came about."""

    states: States
    earliest: Instant

    @property
    def position(self) -> int:
        return self.states.position


class _Kept(NamedTuple):
    every: int
    folds: tuple[_Fold, ...]
    """By position; the first one is that of nothing."""


class RuleFolds:
    """The folds of one ledger. They save time and decide nothing; any number of threads may ask at once."""

    def __init__(self, every: int = EVERY, most: int = MOST) -> None:
        self._kept = _Kept(every, (_Fold(States(0, {}), EVER),))
        self._most = most
        self._growing = Lock()

    def at(
        self,
        connection: Connection[TupleRow],
        mapper: EventMapper,
        position: int,
        hindsight: Hindsight | None = None,
    ) -> States:
        """The states as of a position of the ledger that the connection reads, or by what is known of it later.

        The position is not beyond the head that the connection sees. Raises UnreadableEvent.
        """
        if hindsight is None:
            return self._upto(connection, mapper, position)
        # Before it is asked which of the later events had come about, it is learnt of most that none had.
        self._upto(connection, mapper, hindsight.position)
        base = self._upto(connection, mapper, position)
        states, last = dict(base.of), base.position
        for after, upto in self._parts(position, hindsight):
            for place, name, event in _events(connection, mapper, after, upto):
                if _came_about(event) <= hindsight.by:
                    states[name] = evolve_source(states.get(name) or SourceState(name), event, place)
                    last = place
        return States(last, states)

    def _upto(self, connection: Connection[TupleRow], mapper: EventMapper, position: int) -> States:
        """The fold up to a position, from the nearest one that is kept; beyond the last of these new ones are made."""
        every, folds = self._kept
        nearest = bisect_right(folds, position, key=lambda fold: fold.position) - 1
        last, states = folds[nearest].position, dict(folds[nearest].states.of)
        beyond = nearest == len(folds) - 1
        new: list[_Fold] = []
        earliest, number = EVER, 0
        for place, name, event in _events(connection, mapper, last, position):
            states[name] = evolve_source(states.get(name) or SourceState(name), event, place)
            last = place
            earliest, number = min(earliest, _came_about(event)), number + 1
            if beyond and number == every:
                new.append(_Fold(States(last, dict(states)), earliest))
                earliest, number = EVER, 0
        if new:
            self._keep(new)
        return States(last, states)

    def _keep(self, new: Sequence[_Fold]) -> None:
        with self._growing:
            every, folds = self._kept
            # Another thread may have come as far.
            folds += tuple(fold for fold in new if fold.position > folds[-1].position)
            while len(folds) > self._most:
                every, folds = 2 * every, _thinned(folds)
            self._kept = _Kept(every, folds)

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
    at: Instant = getattr(event, "at", -EVER)
    return at


def _events(
    connection: Connection[TupleRow], mapper: EventMapper, after: int, upto: int
) -> Iterator[tuple[int, str, SourceEvent]]:
    """The events that change rules: position, source, event."""
    if after < upto:
        for place, stream, kind, payload in connection.cursor(binary=True).execute(_EVENTS, (after, upto)).fetchall():
            event = cast(SourceEvent, mapper.event_at(place, kind, payload))
            yield place, stream.removeprefix(SOURCE_PREFIX), event

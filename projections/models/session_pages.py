"""Pages of a user's sessions of which those that ended long ago are made of the user's events. Pure.

A session is missing in the table only if it ended before a position, and so began before it; the table has the others.
"""

from bisect import insort
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ledger.domain.event_types import UserEvent
from projections.models.session_bounds import SessionRow
from projections.models.session_rows import UserSessions

Place = tuple[int, int]
"""Of a session: the position of the event that opened it, and its number among those that the event opened."""


class SessionQuery(NamedTuple):
    """A page: beyond a place, in one direction; narrowed to open or ended sessions, and to a source."""

    after: Place | None
    limit: int
    descending: bool = False
    open: bool | None = None
    source: str | None = None
    since: int = 0
    """Without those that ended up to this position."""


def needs_events(wanted: SessionQuery, found: Sequence[SessionRow], trimmed: int) -> bool:
    """Whether sessions may be missing among those of a page from the table, of which those that ended before `trimmed`
    may be gone.
    """
    if not trimmed or wanted.open or wanted.since >= trimmed - 1:
        return False
    if not wanted.descending:
        return wanted.after is None or wanted.after[0] < trimmed
    return len(found) < wanted.limit or found[-1].position < trimmed


def merged(wanted: SessionQuery, found: Iterable[SessionRow], made: Iterable[SessionRow]) -> list[SessionRow]:
    """The page of the rows of the table's page and of those that were made."""
    return sorted([*found, *made], key=_place, reverse=wanted.descending)[: wanted.limit]


class EndedSessions:
    """Makes a user's sessions of their events, from the first on, and keeps those of a page that end.

    It holds a page of them, those that are open, and eight bytes of each that has ended.
    """

    def __init__(self, uid: str, wanted: SessionQuery) -> None:
        self._user = UserSessions(uid)
        self._wanted = wanted
        self._kept: list[SessionRow] = []
        self._open: set[Place] = set()
        """Of those that may still come onto the page."""

    def take(self, event: UserEvent, position: int) -> None:
        """The user's next event."""
        for row in self._user.take(event, position):
            place = _place(row)
            if row.ended_at is None:
                if self._is_asked(place):
                    self._open.add(place)
            else:
                self._open.discard(place)
                if (
                    self._is_asked(place)
                    and self._wanted.source in (None, row.source)
                    and position > self._wanted.since
                ):
                    self._keep(row, place)

    def is_complete(self, position: int) -> bool:
        """Whether no event after a position can change the page."""
        after, kept = self._wanted.after, self._kept
        if self._wanted.descending:
            return after is not None and position >= after[0] and not self._open
        if len(kept) < self._wanted.limit or position < kept[-1].position:
            return False
        last = _place(kept[-1])
        return all(place > last for place in self._open)

    def rows(self) -> Sequence[SessionRow]:
        """Those of the page, of the events so far."""
        return self._kept

    def _is_asked(self, place: Place) -> bool:
        after = self._wanted.after
        return after is None or (place < after if self._wanted.descending else place > after)

    def _keep(self, row: SessionRow, place: Place) -> None:
        kept = self._kept
        if len(kept) < self._wanted.limit:
            insort(kept, row, key=self._in_order)
        elif (place > _place(kept[-1])) == self._wanted.descending:
            insort(kept, row, key=self._in_order)
            kept.pop()

    def _in_order(self, row: SessionRow) -> Place:
        return (-row.position, -row.ordinal) if self._wanted.descending else (row.position, row.ordinal)


def _place(row: SessionRow) -> Place:
    return row.position, row.ordinal

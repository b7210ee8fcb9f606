"""The sessions of users as they come and go: the rows that events make of them, by folding and comparing alone."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence

from ledger.domain.evolve import evolve
from ledger.domain.history import UserEvent
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Device, Presence, Session
from projections.session_bounds import Row, beginning, ends

FLAP_SECONDS = 60
"""A session that begins so soon after another of its device ended may be the same client coming back."""

Place = tuple[str, str, int | None]
"""Source, scope and device flag of a device."""


class User:
    """The open sessions of one user, and when others of his devices ended lately."""

    def __init__(self, uid: str) -> None:
        self._uid = uid
        self._rows: dict[Place, list[Row]] = {}
        self._sessions: dict[Place, tuple[Session, ...]] = {}
        self._presence = Presence(uid)
        self._ends: dict[tuple[str, int | None], list[Instant]] = {}
        self._open = 0

    def restore(self, row: Row) -> None:
        """One of the sessions that are open now; they come in the order in which they were opened."""
        self._rows.setdefault(_place(row), []).append(row)
        self._open += 1

    def note_end(self, source: str, device_flag: int | None, at: Instant) -> None:
        """A session of a device of his ended then."""
        insort(self._ends.setdefault((source, device_flag), []), at)

    def take(self, event: UserEvent, position: int) -> list[Row]:
        """The rows that an event begins, ends or changes."""
        if not self._sessions and self._rows:
            self._settle(list(self._rows))
        self._presence = evolve(self._presence, event, position)
        found = {(d.source, d.scope, d.device_flag): d.sessions for d in self._presence.devices}
        changed, gone = list[Row](), list[Row]()
        new: list[tuple[Place, Session]] = []
        touched = [place for place in self._rows if place not in found]
        for place in touched:
            gone += self._rows.pop(place)
        for place, sessions in found.items():
            if sessions is self._sessions.get(place, ()):
                continue
            touched.append(place)
            kept, missing, added = _compare(self._rows.get(place, []), self._sessions.get(place, ()), sessions)
            self._rows[place] = [row for row, _ in kept]
            changed += [row for row, session in kept if _update(row, session)]
            gone += missing
            new += [(place, session) for session in added]
        if not touched:
            return changed
        going_on = list(self._named(gone, new))
        self._end(gone, event, position)
        begun = self._begin(new, event, position)
        self._settle(touched)
        return [*changed, *going_on, *gone, *begun]

    def _named(self, gone: list[Row], new: list[tuple[Place, Session]]) -> Iterator[Row]:
        """Sessions known from a count or a poll alone that one of the new ones is: they go on under its name."""
        for place, session in list(new):
            row = next((row for row in gone if _is_named_by(row, place, session)), None)
            if row is not None:
                gone.remove(row)
                new.remove((place, session))
                row.source, row.scope, row.device_flag = place
                row.conn_id, row.node, row.held_by = session.conn_id, session.node, session.held_by
                row.seen_at = session.seen_at
                self._rows.setdefault(place, []).append(row)
                yield row

    def _end(self, gone: Sequence[Row], event: UserEvent, position: int) -> None:
        self._open -= len(gone)
        for row, end in zip(gone, ends(gone, event), strict=True):
            row.ended_at, row.ended_by, row.ended_position = end.at, end.by, position
            row.ended_after = end.after if end.after is not None and end.after <= end.at else None
            row.conn_id = end.conn_id
            self.note_end(row.source, row.device_flag, end.at)

    def _begin(self, new: Sequence[tuple[Place, Session]], event: UserEvent, position: int) -> list[Row]:
        begun = []
        for ordinal, (place, session) in enumerate(new):
            source, scope, device_flag = place
            by, after = beginning(session, event)
            self._open += 1
            row = Row(
                self._uid,
                position,
                ordinal,
                source,
                scope,
                device_flag,
                session.conn_id,
                session.node,
                session.held_by,
                session.opened_at,
                after,
                by,
                session.seen_at,
                concurrent=self._open,
                flaps=0 if isinstance(event, PresenceImported) else self._flaps(place, session.opened_at),
            )
            self._rows.setdefault(place, []).append(row)
            begun.append(row)
        return begun

    def _flaps(self, place: Place, at: Instant) -> int:
        ended = self._ends.get((place[0], place[2]), [])
        return bisect_right(ended, at) - bisect_left(ended, at - FLAP_SECONDS * SECOND)

    def _settle(self, places: Iterable[Place]) -> None:
        """Let what is evolved next follow from the rows alone, as it would after they were read back."""
        for place in places:
            rows = self._rows.get(place, [])
            if rows:
                rows.sort(key=_order)
                self._sessions[place] = tuple([row.as_session() for row in rows])
            else:
                self._rows.pop(place, None)
                self._sessions.pop(place, None)
        devices = [Device(*place, 0, sessions) for place, sessions in self._sessions.items()]
        self._presence = Presence(self._uid, devices=tuple(devices))


def _place(row: Row) -> Place:
    return row.source, row.scope, row.device_flag


def _order(row: Row) -> tuple[int, int]:
    return row.position, row.ordinal


def _compare(
    rows: Sequence[Row], before: Sequence[Session], after: Sequence[Session]
) -> tuple[list[tuple[Row, Session]], list[Row], list[Session]]:
    """-> (rows that are still there with their session now, rows that are gone, sessions that are new)"""
    if not before or not after:
        return [], list(rows), list(after)
    waiting = list(zip(rows, before, strict=True))
    found: list[tuple[Row, Session] | None] = []
    for session in after:
        same = next((pair for pair in waiting if pair[1] == session), None)
        found.append(same)
        if same is not None:
            waiting.remove(same)
    kept, new = [], []
    for session, same in zip(after, found, strict=True):
        # Its evidence and its holder may have changed, all else is what it began with.
        pair = same or next((pair for pair in waiting if _is_same(pair[1], session)), None)
        if pair is None:
            new.append(session)
            continue
        if same is None:
            waiting.remove(pair)
        kept.append((pair[0], session))
    return kept, [row for row, _ in waiting], new


def _is_same(before: Session, after: Session) -> bool:
    return (before.conn_id, before.opened_at, before.node) == (after.conn_id, after.opened_at, after.node)


def _update(row: Row, session: Session) -> bool:
    """Whether the session's evidence or its holder is new."""
    if (row.seen_at, row.held_by) == (session.seen_at, session.held_by):
        return False
    row.seen_at, row.held_by = session.seen_at, session.held_by
    return True


def _is_named_by(row: Row, place: Place, session: Session) -> bool:
    """Whether a nameless session that is gone is the one that is new: a connId or a device flag has become known."""
    if row.conn_id is not None or row.source != place[0]:
        return False
    return row.device_flag is None or (row.device_flag == place[2] and session.conn_id is not None)

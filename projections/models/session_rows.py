"""The sessions of users as they come and go: the rows that events make of them, by folding and comparing alone."""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence

from ledger.domain.crowd import Crowd, changes
from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.evolve import evolve
from ledger.domain.imported import PresenceImported
from ledger.domain.observation import SECOND, Instant
from ledger.domain.presence import Device, Presence, Session
from ledger.domain.sessions import with_more
from projections.models.session_bounds import SessionRow, beginning, ends
from projections.models.session_pairing import compare

FLAP_SECONDS = 60
"""A session that begins so soon after another of its device ended may be the same client coming back."""

MANY = 50
"""So many open sessions, or ends of a device, are no longer few."""

DeviceKey = tuple[str, str, int | None]
"""Source, scope and device flag of a device."""


class UserSessions:
    """The open sessions of one user, and when others of their devices ended lately."""

    __slots__ = ("_by_place", "_ends", "_open", "_presence", "_rows", "_sessions", "ends_since", "uid")

    def __init__(self, uid: str, ends_since: Instant = 0) -> None:
        self.uid = uid
        self.ends_since = ends_since
        """From then on all ends are known."""
        self._rows: dict[DeviceKey, list[SessionRow]] = {}
        self._sessions: dict[DeviceKey, tuple[Session, ...]] = {}
        self._by_place: dict[DeviceKey, dict[int, SessionRow]] = {}
        """Instead of `_rows` where the device's sessions are a crowd: each by its session's number in that."""
        self._presence: Presence | None = Presence(uid)
        """None where it is to be made of the sessions first."""
        self._ends: dict[tuple[str, int | None], array[Instant]] = {}
        self._open = 0

    @property
    def is_small(self) -> bool:
        """Whether it is little that is known of them, so that it may be remembered: what is not is read again."""
        return self._open <= MANY and max(map(len, self._ends.values()), default=0) <= MANY

    def restore(self, row: SessionRow) -> None:
        """One of the sessions that are open now; they come in the order in which they were opened."""
        self._rows.setdefault(_device_key(row), []).append(row)
        self._open += 1

    def restore_end(self, source: str, device_flag: int | None, at: Instant) -> None:
        """A session that has ended, of one of the user's devices; they come in the order in which they did."""
        self._ends_of(source, device_flag).append(at)

    def take(self, event: UserEvent, position: int) -> list[SessionRow]:
        """The rows that an event begins, ends or changes."""
        if self._rows and not self._sessions:
            self._settle(list(self._rows))
        if isinstance(event, WebhookObserved) and event.changes_own_alone:
            rows = self._take_usual(event, position)
            if rows is not None:
                return rows
        presence = self._presence = evolve(self._presence or self._of_sessions(), event, position)
        touched: list[tuple[DeviceKey, tuple[Session, ...]]] = []
        found = 0
        for device in presence.devices:
            place = device.source, device.scope, device.device_flag
            before = self._sessions.get(place)
            found += before is not None
            if device.sessions is not (before or ()):
                touched.append((place, device.sessions))
        if found < len(self._sessions):
            there = {(device.source, device.scope, device.device_flag) for device in presence.devices}
            touched += [(place, ()) for place in self._sessions if place not in there]
        if not touched:
            return []
        if len(touched) == 1 and touched[0][0] in self._by_place:
            found_rows = self._take_of_crowd(*touched[0], event, position)
            if found_rows is not None:
                return found_rows
        for place, _ in touched:
            if place in self._by_place:
                self._rows[place] = list(self._by_place.pop(place).values())
        return self._take_all(touched, event, position)

    def _take_usual(self, event: WebhookObserved, position: int) -> list[SessionRow] | None:
        """Most items are a device's only session that begins or ends, or change none; None: it takes more to tell.

        The same rows as by folding and comparing, at a fraction of the cost.
        """
        place = event.source, event.scope, event.device_flag
        if event.verdict == "opened":
            if place in self._sessions:
                return None
            session = Session(event.conn_id, event.node, event.received_at, event.received_at)
            self._sessions[place] = (session,)
            self._presence = None
            return self._begin([(place, session)], event, position)
        if event.verdict == "closed":
            rows = self._rows.get(place, ())
            if len(rows) != 1 or rows[0].conn_id != event.conn_id:
                return None
            del self._sessions[place]
            self._presence = None
            gone = self._rows.pop(place)
            self._end(gone, event, position)
            return gone
        return None if event.verdict == "duplicate" and event.online else []

    def _take_of_crowd(
        self, place: DeviceKey, sessions: tuple[Session, ...], event: UserEvent, position: int
    ) -> list[SessionRow] | None:
        """What has changed of a device with many sessions, without a look at the others; None: that does not do."""
        before = self._sessions[place]
        if not (isinstance(before, Crowd) and isinstance(sessions, Crowd) and before.origin is sessions.origin):
            return None
        was, now = changes(before, sessions)
        gone, new = sorted(was.keys() - now.keys()), sorted(now.keys() - was.keys())
        rows = self._by_place[place]
        if gone and new:
            # One may go on as another, in a place that is not the crowd's.
            return None
        changed = [rows[number] for number in sorted(was.keys() & now.keys()) if _update(rows[number], now[number])]
        ended = [rows.pop(number) for number in gone]
        self._end(ended, event, position)
        begun = self._begin([(place, now[number]) for number in new], event, position)
        self._rows.pop(place, None)
        rows.update(zip(new, begun, strict=True))
        self._sessions[place] = sessions
        self._presence = None
        return changed + ended + begun

    def _take_all(
        self, touched: Sequence[tuple[DeviceKey, tuple[Session, ...]]], event: UserEvent, position: int
    ) -> list[SessionRow]:
        changed, gone = list[SessionRow](), list[SessionRow]()
        new: list[tuple[DeviceKey, Session]] = []
        # The order of the devices tells which was seen first, which has no bearing on sessions.
        touched = sorted(touched, key=_in_order)
        for place, sessions in touched:
            kept, missing, added = compare(self._rows.get(place, []), self._sessions.get(place, ()), sessions)
            self._rows[place] = [row for row, _ in kept]
            changed += [row for row, session in kept if _update(row, session)]
            gone += missing
            new += [(place, session) for session in added]
        if gone and new:
            changed += list(self._named(gone, new))
        self._end(gone, event, position)
        changed += gone
        changed += self._begin(new, event, position)
        self._settle([place for place, _ in touched])
        return changed

    def _named(self, gone: list[SessionRow], new: list[tuple[DeviceKey, Session]]) -> Iterator[SessionRow]:
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

    def _end(self, gone: Sequence[SessionRow], event: UserEvent, position: int) -> None:
        self._open -= len(gone)
        for row, end in zip(gone, ends(gone, event), strict=True):
            row.ended_at, row.ended_by, row.ended_position = end.at, end.by, position
            row.ended_after = end.after if end.after is not None and end.after <= end.at else None
            row.conn_id = end.conn_id
            insort(self._ends_of(row.source, row.device_flag), end.at)

    def _begin(self, new: Sequence[tuple[DeviceKey, Session]], event: UserEvent, position: int) -> list[SessionRow]:
        begun = []
        for ordinal, (place, session) in enumerate(new):
            source, scope, device_flag = place
            opened_by, opened_after = beginning(session, event)
            self._open += 1
            # By place, for speed: each is called like its field, which a test compares.
            row = SessionRow(
                self.uid,
                position,
                ordinal,
                source,
                scope,
                device_flag,
                session.conn_id,
                session.node,
                session.held_by,
                session.opened_at,
                opened_after,
                opened_by,
                session.seen_at,
                concurrent=self._open,
                flaps=0 if isinstance(event, PresenceImported) else self._flaps(place, session.opened_at),
            )
            self._rows.setdefault(place, []).append(row)
            begun.append(row)
        return begun

    def _ends_of(self, source: str, device_flag: int | None) -> "array[Instant]":
        """When sessions of a device ended, in order; of a user's whole life there may be millions."""
        found = self._ends.get((source, device_flag))
        if found is None:
            found = self._ends[source, device_flag] = array("q")
        return found

    def _flaps(self, place: DeviceKey, at: Instant) -> int:
        ended = self._ends.get((place[0], place[2]))
        if ended is None:
            return 0
        return bisect_right(ended, at) - bisect_left(ended, at - FLAP_SECONDS * SECOND)

    def _settle(self, places: Iterable[DeviceKey]) -> None:
        """Let what is evolved next follow from the rows alone, as it would after they were read back."""
        for place in places:
            rows = self._rows.get(place, [])
            if rows:
                rows.sort(key=_order)
                self._sessions[place] = with_more(
                    (), [Session(row.conn_id, row.node, row.opened_at, row.seen_at, row.held_by) for row in rows]
                )
                if isinstance(self._sessions[place], Crowd):
                    self._by_place[place] = dict(enumerate(self._rows.pop(place)))
            else:
                self._rows.pop(place, None)
                self._sessions.pop(place, None)
        self._presence = None

    def _of_sessions(self) -> Presence:
        """The user as the open rows tell of them: all that matters to what sessions become."""
        devices = [Device(source, scope, flag, 0, s) for (source, scope, flag), s in self._sessions.items()]
        return Presence(self.uid, devices=tuple(devices))


def _device_key(row: SessionRow) -> DeviceKey:
    return row.source, row.scope, row.device_flag


def _in_order(touched: tuple[DeviceKey, tuple[Session, ...]]) -> tuple[str, str, int]:
    source, scope, device_flag = touched[0]
    return source, scope, -1 if device_flag is None else device_flag


def _order(row: SessionRow) -> tuple[int, int]:
    return row.position, row.ordinal


def _update(row: SessionRow, session: Session) -> bool:
    """Whether the session's evidence or its holder is new."""
    if (row.seen_at, row.held_by) == (session.seen_at, session.held_by):
        return False
    row.seen_at, row.held_by = session.seen_at, session.held_by
    return True


def _is_named_by(row: SessionRow, place: DeviceKey, session: Session) -> bool:
    """Whether a nameless session that is gone is the one that is new: a connId or a device flag has become known."""
    if row.conn_id is not None or row.source != place[0]:
        return False
    return row.device_flag is None or (row.device_flag == place[2] and session.conn_id is not None)

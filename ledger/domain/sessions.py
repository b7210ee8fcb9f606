"""Sets of sessions and of closed connections, as values: what is taken away, what is remembered."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ledger.domain.crowd import FEW, Edit
from ledger.domain.observation import Instant
from ledger.domain.presence import Closed, Session, alike

REMEMBERED_CLOSED = 8


Sessions = tuple[Session, ...]


def with_more(sessions: Sessions, more: Iterable[Session]) -> Sessions:
    """The sessions and more of them."""
    if len(sessions) <= FEW:
        sessions = (*sessions, *more)
        return sessions if len(sessions) <= FEW else Edit(sessions).done()
    edit = Edit(sessions)
    edit.add(more)
    return edit.done()


def without(sessions: Sessions, conn_id: int | None, number: int) -> Sessions:
    """The sessions but for so many of that connId, or of those without one, the oldest first."""
    if len(sessions) > FEW:
        edit = Edit(sessions)
        edit.remove(conn_id, number)
        return edit.done()
    kept = []
    for session in sessions:
        if number and session.conn_id == conn_id:
            number -= 1
        else:
            kept.append(session)
    return tuple(kept)


def without_each(sessions: Sessions, gone: Iterable[int | None]) -> Sessions:
    """The sessions but for one of each of these connIds, the oldest of those alike first."""
    left = Counter(gone)
    if len(sessions) > FEW:
        edit = Edit(sessions)
        for conn_id, number in left.items():
            edit.remove(conn_id, number)
        return edit.done()
    kept = []
    for session in sessions:
        if left[session.conn_id]:
            left[session.conn_id] -= 1
        else:
            kept.append(session)
    return tuple(kept)


def replaced(sessions: Sessions, before: Session, *after: Session) -> Sessions:
    """The sessions with another one in the place of one of them, or with none."""
    if len(sessions) > FEW:
        edit = Edit(sessions)
        edit.replace(before, *after)
        return edit.done()
    # Sessions that a count proved at once are alike: one of them goes, not all.
    number = sessions.index(before)
    return (*sessions[:number], *after, *sessions[number + 1 :])


def ended_first(sessions: Sequence[Session], conn_id: int | None, node: str) -> Session | None:
    """Of the sessions of one connId, or without one, that which ends with a node: seen there, else the oldest."""
    return min(alike(sessions, conn_id), key=ended_by(node), default=None)


def ended_by(node: str) -> Callable[[Session], tuple[bool, Instant]]:
    """By which of sessions alike ends first with a node."""
    return lambda session: (session.held_by != node, session.seen_at)


def remember(
    closed: tuple[Closed, ...], forgotten: Closed | None, conn_id: int, at: Instant, *, inferred: bool = False
) -> tuple[tuple[Closed, ...], Closed | None]:
    """Remember a closed connId, the newest last, and the highest of those forgotten for it."""
    kept = (*[c for c in closed if c.conn_id != conn_id], Closed(conn_id, at, inferred))
    if len(kept) <= REMEMBERED_CLOSED:
        return kept, forgotten
    oldest = kept[0]
    highest = max(oldest.conn_id, forgotten.conn_id) if forgotten is not None else oldest.conn_id
    return kept[1:], Closed(highest, oldest.at)

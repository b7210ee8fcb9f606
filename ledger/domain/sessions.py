"""Sets of sessions and of closed connections, as values: what is taken away, what is remembered."""

from collections.abc import Iterable

from ledger.domain.observation import Instant
from ledger.domain.presence import Closed, Session

REMEMBERED_CLOSED = 8


def without(sessions: tuple[Session, ...], conn_id: int | None, number: int) -> tuple[Session, ...]:
    """The sessions but for so many of that connId, or of those without one."""
    kept = []
    for session in sessions:
        if number and session.conn_id == conn_id:
            number -= 1
        else:
            kept.append(session)
    return tuple(kept)


def ended_first(sessions: Iterable[Session], conn_id: int | None, node: str) -> Session | None:
    """Of the sessions of one connId, or without one, that which ends with a node: seen there, else the oldest."""
    alike = [session for session in sessions if session.conn_id == conn_id]
    return min(alike, key=lambda session: (session.held_by != node, session.seen_at), default=None)


def remember(
    closed: tuple[Closed, ...], forgotten: Closed | None, conn_id: int, at: Instant, *, by_look: bool = False
) -> tuple[tuple[Closed, ...], Closed | None]:
    """Remember a closed connId, the newest last, and the highest of those forgotten for it."""
    kept = (*[c for c in closed if c.conn_id != conn_id], Closed(conn_id, at, by_look))
    if len(kept) <= REMEMBERED_CLOSED:
        return kept, forgotten
    oldest = kept[0]
    highest = max(oldest.conn_id, forgotten.conn_id) if forgotten is not None else oldest.conn_id
    return kept[1:], Closed(highest, oldest.at)

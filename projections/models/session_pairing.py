"""Which session after an event is which before it: by comparing alone, whatever the event was."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence

from ledger.domain.observation import Instant
from ledger.domain.presence import Session
from projections.models.session_bounds import SessionRow


def compare(
    rows: Sequence[SessionRow], before: Sequence[Session], after: Sequence[Session]
) -> tuple[list[tuple[SessionRow, Session]], list[SessionRow], list[Session]]:
    """-> (rows that are still there with their session now, rows that are gone, sessions that are new)"""
    if not before or not after:
        return [], list(rows), list(after)
    same = _paired(before, after, range(len(before)), _unchanged)
    found = set(same.values())
    rest = [number for number in range(len(before)) if number not in found]
    # Its evidence and its holder may have changed, all else is what it began with.
    unlike = [number for number in range(len(after)) if number not in same]
    changed = _paired(before, [after[number] for number in unlike], rest, _identity)
    same |= {unlike[place]: number for place, number in changed.items()}
    found = set(same.values())
    kept = [(rows[same[number]], session) for number, session in enumerate(after) if number in same]
    missing = [row for number, row in enumerate(rows) if number not in found]
    return kept, missing, [session for number, session in enumerate(after) if number not in same]


def _paired(
    before: Sequence[Session], after: Sequence[Session], among: Iterable[int], key: Callable[[Session], Hashable]
) -> dict[int, int]:
    """The sessions after, by number, that one before is, of those among these numbers: each the first by its key."""
    waiting: dict[Hashable, deque[int]] = {}
    for number in among:
        waiting.setdefault(key(before[number]), deque()).append(number)
    pairs = ((number, waiting.get(key(session))) for number, session in enumerate(after))
    return {number: left.popleft() for number, left in pairs if left}


def _unchanged(session: Session) -> Session:
    return session


def _identity(session: Session) -> tuple[int | None, Instant, str]:
    return session.conn_id, session.opened_at, session.node

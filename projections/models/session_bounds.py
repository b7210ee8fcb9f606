"""A session with its begin and its end: by what rule each is known, within what bounds, and how sure that is."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ledger.domain.event_types import UserEvent
from ledger.domain.events import SessionId, WebhookObserved
from ledger.domain.observation import Instant
from ledger.domain.presence import Session
from ledger.domain.reconciliation_events import Corrected, Swept

Sure: TypeAlias = Literal["exact", "bounded", "implied", "unknown"]
"""A webhook of the session itself says so, at most its way later; between two bounds; by then, since a count says so;
no event says."""

IMPLIED, SWEPT, WITHDRAWN, IMPORTED = "implied", "swept", "withdrawn", "state_before_slice"
"""The effects of an item's counts, and the rule of an import."""

_SURE: dict[str, Sure] = {
    "online_new": "exact",
    "online_names_session": "exact",
    "offline_of_open": "exact",
    "offline_names_session": "exact",
    IMPLIED: "implied",
    WITHDRAWN: "implied",
    IMPORTED: "unknown",
    "node_retired": "unknown",
}


def sureness(rule: str) -> Sure:
    """How sure the instant is at which a session began or ended by that rule."""
    return _SURE.get(rule, "bounded")


class SessionRow(msgspec.Struct, gc=False):
    """A session, as a row of the table."""

    uid: str
    position: int
    ordinal: int
    source: str
    scope: str
    device_flag: int | None
    conn_id: int | None
    node: str
    held_by: str | None
    opened_at: Instant
    opened_after: Instant | None
    opened_by: str
    seen_at: Instant
    ended_at: Instant | None = None
    ended_after: Instant | None = None
    ended_by: str | None = None
    ended_position: int | None = None
    concurrent: int = 0
    flaps: int = 0


class SessionEnd(NamedTuple):
    """It ended after `after`, where that is known, and by `at`."""

    at: Instant
    after: Instant | None
    by: str
    conn_id: int | None
    """Known by now."""


def beginning(session: Session, event: UserEvent) -> tuple[str, Instant | None]:
    """-> (the rule or effect by which a session began, the instant after which it did, where that is known)"""
    if isinstance(event, WebhookObserved):
        own = event.verdict == "opened" and session.conn_id == event.conn_id
        return (event.rule if own else IMPLIED), None
    after = event.agreed_at if isinstance(event, Corrected) else None
    return event.rule, after if after is not None and after <= session.opened_at else None


def ends(gone: Sequence[SessionRow], event: UserEvent) -> Iterator[SessionEnd]:
    """How each of the sessions ended that an event took away."""
    if isinstance(event, WebhookObserved):
        yield from _by_webhook(gone, event)
        return
    for session in gone:
        after, at = session.seen_at, event.received_at
        if isinstance(event, Corrected):
            after, at = event.agreed_at or after, event.disagreed_at or at
        elif isinstance(event, Swept):
            after, at = event.earliest or after, event.latest or at
        yield SessionEnd(at, after, event.rule, session.conn_id)


def _by_webhook(gone: Sequence[SessionRow], event: WebhookObserved) -> Iterator[SessionEnd]:
    swept: dict[SessionId, int] = Counter(event.swept) if event.swept else {}
    own = None
    if event.verdict == "closed":
        own = SessionId(event.scope, event.device_flag, None if event.named else event.conn_id)
    for session in gone:
        name = SessionId(session.scope, session.device_flag, session.conn_id)
        if name == own and session.source == event.source:
            own = None
            yield SessionEnd(event.received_at, None, event.rule, event.conn_id)
        elif swept.get(name):
            swept[name] -= 1
            yield SessionEnd(event.received_at, session.seen_at, SWEPT, session.conn_id)
        else:
            yield SessionEnd(event.received_at, session.seen_at, WITHDRAWN, session.conn_id)

"""Sessions as rows: the same whether a user has been at hand all along or is read back before each event."""

from collections.abc import Sequence

from ledger.domain.events import WebhookObserved
from ledger.domain.history import UserEvent
from ledger.domain.observation import SECOND
from ledger.domain.reconciled import Corrected, OpenedSession
from projections.session_bounds import Row
from projections.session_rows import User

T = 1_800_000_000 * SECOND


def item(seconds: int, *, online: bool) -> WebhookObserved:
    """A connection of device flag 2 comes or goes."""
    before, after = ("offline", "online") if online else ("online", "offline")
    return WebhookObserved(
        source="main",
        node="n1",
        delivery="d",
        item=0,
        raw="u-2-1-1-1-1",
        received_at=T + seconds * SECOND,
        verdict="opened" if online else "closed",
        rule="online_new",
        status_before=before,  # type: ignore[arg-type]
        status_after=after,  # type: ignore[arg-type]
        device_flag=2,
        online=online,
        conn_id=1,
    )


def found(seconds: int, *opened: OpenedSession) -> Corrected:
    """A look that finds these sessions."""
    at = T + seconds * SECOND
    return Corrected(
        source="main",
        node="n1+n2",
        received_at=at,
        rule="connz_missed",
        status_before="offline",
        status_after="online",
        run="r",
        poll="p",
        asked_at=at,
        drift="missed",
        disagreed_at=at,
        opened=opened,
    )


def folded(events: Sequence[UserEvent], *, read_back: bool) -> dict[tuple[int, int], Row]:
    """The rows by place."""
    user, rows = User("u"), dict[tuple[int, int], Row]()
    for position, event in enumerate(events, 1):
        if read_back:
            user = User("u")
            for row in sorted((row for row in rows.values() if row.ended_at is None), key=lambda row: row.position):
                user.restore(row)
        rows |= {(row.position, row.ordinal): row for row in user.take(event, position)}
    return rows


def test_the_sessions_of_one_event_are_numbered_by_what_they_are() -> None:
    both = (OpenedSession("", 1, 5, "n2", "n2"), OpenedSession("", 2, 6, "n1", "n1"))
    events: list[UserEvent] = [item(0, online=True), item(1, online=False), found(90, *both)]
    at_hand, read = (folded(events, read_back=read_back) for read_back in (False, True))
    for rows in (at_hand, read):
        assert [(rows[3, n].device_flag, rows[3, n].conn_id) for n in (0, 1)] == [(1, 5), (2, 6)]

"""Sessions as rows: the same whether a user has been at hand all along or is read back before each event."""

from collections.abc import Sequence

import msgspec
import pytest

from ledger.domain import crowd, presence, sessions
from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from ledger.domain.observation import SECOND
from ledger.domain.reconciliation_events import Corrected, OpenedSession
from projections.models.session_bounds import SessionRow
from projections.models.session_rows import UserSessions
from tests.support.lived import lived

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


def folded(events: Sequence[UserEvent], *, read_back: bool) -> dict[tuple[int, int], SessionRow]:
    """The rows by place."""
    user, rows = UserSessions("u"), dict[tuple[int, int], SessionRow]()
    for position, event in enumerate(events, 1):
        if read_back:
            user = UserSessions("u")
            for row in sorted(
                (row for row in rows.values() if row.ended_at is None), key=lambda row: (row.position, row.ordinal)
            ):
                user.restore(row)
        rows |= {(row.position, row.ordinal): row for row in user.take(event, position)}
    return rows


def test_the_sessions_of_one_event_are_numbered_by_what_they_are() -> None:
    both = (OpenedSession("", 1, 5, "n2", "n2"), OpenedSession("", 2, 6, "n1", "n1"))
    events: list[UserEvent] = [item(0, online=True), item(1, online=False), found(90, *both)]
    at_hand, read = (folded(events, read_back=read_back) for read_back in (False, True))
    for rows in (at_hand, read):
        assert [(rows[3, n].device_flag, rows[3, n].conn_id) for n in (0, 1)] == [(1, 5), (2, 6)]


@pytest.mark.parametrize("seed", range(12))
def test_of_many_sessions_the_rows_are_those_of_a_few(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for which of several that a count told of at once has ended: they are alike."""
    of_users: dict[str, list[UserEvent]] = {}
    for each in lived(seed, 120).ledger.kept:
        if isinstance(each.event, UserEvent):
            assert each.uid is not None
            of_users.setdefault(each.uid, []).append(each.event)

    def told(rows: dict[tuple[int, int], SessionRow]) -> list[str]:
        return sorted(repr(msgspec.structs.replace(row, ordinal=0)) for row in rows.values())

    few = {uid: folded(events, read_back=False) for uid, events in of_users.items()}
    for module in (crowd, presence, sessions):
        monkeypatch.setattr(module, "FEW", 0)
    for uid, events in of_users.items():
        many, read_back = (folded(events, read_back=each) for each in (False, True))
        # What has ended lately is read from elsewhere.
        assert {place: msgspec.structs.replace(row, flaps=0) for place, row in many.items()} == {
            place: msgspec.structs.replace(row, flaps=0) for place, row in read_back.items()
        }
        assert told(many) == told(few[uid])


def test_of_a_crowd_only_what_changes_is_written() -> None:
    """So that the story of 20,000 connections of one user costs about n."""
    user, most = UserSessions("u"), 300

    def takes(conn_id: int, *, online: bool) -> list[SessionRow]:
        event = msgspec.structs.replace(item(conn_id, online=online), conn_id=conn_id)
        return user.take(event, conn_id if online else most + conn_id)

    begun = [takes(conn_id, online=True) for conn_id in range(1, most + 1)]
    assert [[row.conn_id for row in rows] for rows in begun] == [[conn_id] for conn_id in range(1, most + 1)]
    assert begun[-1][0].concurrent == most
    seen = msgspec.structs.replace(item(most + 1, online=True), conn_id=7, verdict="duplicate")
    (again,) = user.take(seen, most + 1)
    assert (again, again.seen_at) == (begun[6][0], seen.received_at)
    ended = [takes(conn_id, online=False) for conn_id in range(most, 0, -1)]
    assert [[row.conn_id for row in rows] for rows in ended] == [[conn_id] for conn_id in range(most, 0, -1)]
    assert all(row.ended_at is not None for rows in begun for row in rows)

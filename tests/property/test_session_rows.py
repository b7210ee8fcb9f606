"""Rows of sessions: of the usual items they are told without folding, and the same as by folding."""

from collections.abc import Sequence
from unittest.mock import PropertyMock, patch

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.domain.event_types import UserEvent
from ledger.domain.events import WebhookObserved
from projections.models.session_bounds import SessionRow
from projections.models.session_rows import UserSessions
from tests.support.lived import lived


def rows(events: Sequence[tuple[str, int, UserEvent]]) -> list[list[SessionRow]]:
    """What each event changes, as it is then."""
    users: dict[str, UserSessions] = {}
    return [
        [replace(row) for row in users.setdefault(uid, UserSessions(uid)).take(event, position)]
        for uid, position, event in events
    ]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_the_usual_items_make_the_rows_that_folding_makes(seed: int) -> None:
    events = [
        (each.uid, each.position, each.event)
        for each in lived(seed, 120).ledger.kept
        if each.uid is not None and isinstance(each.event, UserEvent)
    ]
    told = rows(events)
    with patch.object(WebhookObserved, "changes_own_alone", PropertyMock(return_value=False)):
        folded = rows(events)
    assert told == folded
